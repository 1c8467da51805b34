"""What `imc reshard` moves of the devices in a room: themselves, the roster they see, and which are away.

An interrupted run is started again: everything here can be done twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from imc_cli.moved_history import FIRST_WAIT_MS, PAGE, Run
from imc_common import keys
from imc_common.devices import user_of
from imc_common.presence import note_away
from imc_common.rooms.roles import is_away
from imc_common.scripts import Command

_INVITED: Final = "missed_invite:"


async def copy_devices(run: Run, room: str, about: Mapping[str, bytes], old: int, new: int) -> None:
    """Copy devices and roster. The next probe of a device that is away is due at once. ``about``: the room's
    hash."""
    [flat, roster] = await run(
        [("HGETALL", keys.devices(old, room)), ("ZRANGE", keys.roster(old, room), 0, -1, "WITHSCORES")]
    )
    commands: list[Command] = [("HSET", keys.devices(new, room), *flat)] if flat else []
    changes = list(zip(roster[::2], roster[1::2], strict=True))
    for first in range(0, len(changes), PAGE):
        page = [part for who, score in changes[first : first + PAGE] for part in (score, who)]
        commands.append(("ZADD", keys.roster(new, room), *page))
    for device in _awaited(flat, about):
        user = user_of(device)
        commands += [
            ("SADD", keys.away_rooms(new, user), f"{room} {device}"),
            ("ZADD", keys.probes(new), "NX", 1, user),
            ("HSETNX", keys.probe_waits(new), user, FIRST_WAIT_MS),
            note_away(user, [new]),
        ]
    await run(commands)


async def remove_devices(run: Run, room: str, about: Mapping[str, bytes], old: int) -> None:
    """Remove from the old shard what `copy_devices` has copied."""
    [flat] = await run([("HGETALL", keys.devices(old, room))])
    indexes: list[Command] = [
        ("SREM", keys.away_rooms(old, user_of(device)), f"{room} {device}")
        for device in _awaited(flat, about)
    ]
    await run([*indexes, ("DEL", keys.devices(old, room), keys.roster(old, room))])


def _awaited(flat: list[bytes], about: Mapping[str, bytes]) -> list[str]:
    """The devices that are away, or have missed a NOTIFY or an INVITE.

    See `lua/include/missed_notify.lua` and `lua/include/missed_invite.lua`.
    """
    devices = [(flat[at].decode(), flat[at + 1]) for at in range(0, len(flat), 2)]
    invited = [name.removeprefix(_INVITED) for name in about if name.startswith(_INVITED)]
    return invited + [
        device
        for device, value in devices
        if is_away(value) or b'"missed":' in about.get(f"subscription:{device}", b"")
    ]
