"""What of a room's history is handed out: edges and workers have to agree on it."""

from __future__ import annotations

from typing import Final, NamedTuple

from imc_common import keys
from imc_common.devices import is_device, user_of
from imc_common.keys import Keys
from imc_common.rooms.event import REPLAY, Event
from imc_common.rooms.spans import DEFAULT_SHOWN, MAX_SHOWN
from imc_common.scripts import Command
from imc_common.settings import Settings
from imc_common.store.protocols import ScriptRunner

CATCH_UP_PART: Final = 10
"""Messages of one part of a catch-up: what an edge has in flight for one member, one after the other."""


_DAY: Final = 24 * 3600.0


class Retention(NamedTuple):
    """How many messages a room keeps, and for how many seconds. 0 messages: none; 0 seconds: no limit."""

    messages: int
    seconds: float


def retention(settings: Settings, wish: bytes) -> Retention:
    """What a room keeps whose owners have set this: ``off``, a number of messages, or of days (``7d``).

    Empty, or anything else: what the operator has set. The owners' wish never exceeds that.
    """
    messages, seconds = settings.history_max_messages, settings.history_max_age
    if wish == b"off":
        return Retention(0, seconds)
    if wish.isdigit():
        return Retention(min(int(wish), messages), seconds)
    days = wish.removesuffix(b"d")
    if wish.endswith(b"d") and days.isdigit():
        return Retention(messages, min(int(days) * _DAY, seconds or int(days) * _DAY))
    return Retention(messages, seconds)


def too_old(max_age: float, now: float) -> tuple[int, int]:
    """What is older than this is not kept: a time in ms since the epoch, and an age in ms; 0 and 0: no limit.

    ``max_age`` and ``now`` are in seconds. Scripts compare the age with Redis's clock, and the time with what
    they find: a message is too old if both say so.
    """
    return (max(0, int((now - max_age) * 1000)), int(max_age * 1000)) if max_age else (0, 0)


def hand_out(scripts: ScriptRunner, settings: Settings, item: Event, *, now: float) -> Command:
    """The command that hands out the part that `item` asks for, an event `catch_up`; or all that the user has
    asked for, if it is a `REPLAY`.

    The reply is the number of messages, or ``gone`` if that was done before. ``now``: seconds since the
    epoch.
    """
    names = Keys(settings.rooms_table, settings.members_table, settings.history_table)
    shard, room, (who,) = item.shard, item.room, item.to
    if item.catch_up == REPLAY:
        of_room = [make(shard, room) for make in (names.room, names.members, names.history)]
        age_ms = int(settings.history_max_age * 1000)
        return scripts.script(
            "show_history", [keys.events(shard), *of_room], [item.entry_id, MAX_SHOWN, DEFAULT_SHOWN, age_ms]
        )
    recipients = keys.devices(shard, room) if is_device(who) else names.members(shard, room)
    return scripts.script(
        "hand_out",
        [
            keys.events(shard),
            names.room(shard, room),
            recipients,
            names.history(shard, room),
            keys.away_rooms(shard, user_of(who)),
            keys.probes(shard),
            keys.probe_waits(shard),
        ],
        [item.entry_id, CATCH_UP_PART, settings.catch_up_max, *too_old(settings.history_max_age, now)],
    )
