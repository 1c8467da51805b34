"""What of a room's history is handed out: edges and workers have to agree on it."""

from __future__ import annotations

from typing import Final

from imc_common import keys
from imc_common.keys import Keys
from imc_common.rooms.event import Event
from imc_common.scripts import Command
from imc_common.settings import Settings
from imc_common.store.protocols import ScriptRunner

CATCH_UP_PART: Final = 10
"""Messages of one part of a catch-up: what an edge has in flight for one member, one after the other."""


def oldest_ms(settings: Settings, now: float) -> int:
    """What is older is not handed out, in ms since the epoch; 0: no limit. ``now``: seconds since it."""
    return max(0, int((now - settings.history_max_age) * 1000)) if settings.history_max_age else 0


def hand_out(scripts: ScriptRunner, settings: Settings, item: Event, *, now: float) -> Command:
    """The command that hands out the part that `item` asks for, an event `catch_up`.

    The reply is the number of messages, or ``gone`` if that was done before. ``now``: seconds since the
    epoch.
    """
    names = Keys(settings.rooms_table, settings.members_table, settings.history_table)
    shard, room, (user,) = item.shard, item.room, item.to
    return scripts.script(
        "hand_out",
        [
            keys.events(shard),
            names.room(shard, room),
            names.members(shard, room),
            names.history(shard, room),
            keys.away_rooms(shard, user),
            keys.probes(shard),
            keys.probe_waits(shard),
        ],
        [item.entry_id, CATCH_UP_PART, settings.catch_up_max, oldest_ms(settings, now)],
    )
