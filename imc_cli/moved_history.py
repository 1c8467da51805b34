"""What `imc reshard` moves besides a room and its members: its history, and where its members are away.

An interrupted run is started again: everything here can be done twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from imc_common import keys
from imc_common.keys import Keys
from imc_common.presence import note_away
from imc_common.rooms.roles import is_away
from imc_common.scripts import Command
from imc_common.store import ReplyError, Store

PAGE: Final = 200
FIRST_WAIT_MS: Final = 2000


class Run(Protocol):
    """Runs commands; an error reply ends the run."""

    async def __call__(self, commands: list[Command], /) -> list[Any]: ...


async def copy_history(run: Run, names: Keys, room: str, old: int, new: int) -> None:
    """Copy a room's history with its ids, from which the Call-IDs of its deliveries follow."""
    source, target = names.history(old, room), names.history(new, room)
    await run([("DEL", target)])
    start = "-"
    while True:
        [page] = await run([("XRANGE", source, start, "+", "COUNT", PAGE)])
        if page:
            await run([("XADD", target, entry, *fields) for entry, fields in page])
        if len(page) < PAGE:
            break
        start = f"({page[-1][0].decode()}"
    [ends] = await run([("ZRANGE", keys.expiring(old, room), 0, -1, "WITHSCORES")])
    for at in range(0, len(ends), 2):
        await run([("ZADD", keys.expiring(new, room), ends[at + 1], ends[at])])
    [is_off] = await run([("SISMEMBER", keys.history_off(old), room)])
    if is_off:
        await run([("SADD", keys.history_off(new), room)])


def away_commands(
    room: str, values: Mapping[str, bytes], about: Mapping[str, bytes], new: int
) -> list[Command]:
    """Note in the new shard who is away in this room: its next probe is due at once."""
    users = [user for user, value in values.items() if is_away(value) or f"away:{user}" in about]
    commands: list[Command] = []
    for user in users:
        commands += [
            ("SADD", keys.away_rooms(new, user), room),
            ("ZADD", keys.probes(new), "NX", 1, user),
            ("HSETNX", keys.probe_waits(new), user, FIRST_WAIT_MS),
            note_away(user, [new]),
        ]
    return commands


def leaving_commands(names: Keys, room: str, values: Mapping[str, bytes], old: int) -> list[Command]:
    """Remove from the old shard what `copy_history` and `away_commands` have copied."""
    return [
        *(("SREM", keys.away_rooms(old, user), room) for user in values),
        ("SREM", keys.history_off(old), room),
        ("DEL", names.history(old, room), keys.expiring(old, room)),
    ]


async def raise_ids(store: Store, old_shards: int, new_shards: int) -> None:
    """Make ids in the new shards greater than all in the old ones, whatever the clock says.

    Ids are positions: a message after the run must not be before one that was kept earlier.
    """
    replies = await store.run([("XINFO", "STREAM", keys.events(shard)) for shard in range(old_shards)])
    last = max((_last_id(reply) for reply in replies), default=(0, 0))
    if last == (0, 0):
        return
    entry = f"{last[0]}-{last[1]}"
    # an id that is not greater is an error, and then there is nothing to do
    await store.run([("XADD", keys.events(shard), entry, "", "") for shard in range(new_shards)])
    await store.run([("XDEL", keys.events(shard), entry) for shard in range(new_shards)])


def _last_id(reply: Any) -> tuple[int, int]:
    """The last id of a stream from XINFO STREAM; (0, 0) if there is no stream."""
    if isinstance(reply, ReplyError):
        return 0, 0
    flat = [part for item in reply.items() for part in item] if isinstance(reply, dict) else list(reply)
    about = dict(zip(flat[::2], flat[1::2], strict=True))
    ms, _, number = about[b"last-generated-id"].partition(b"-")
    return int(ms), int(number)
