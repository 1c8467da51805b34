"""Who is in a room, as clients of conferences see it: what edges ask of the rooms."""

from __future__ import annotations

from imc_common import keys
from imc_common.keys import Keys
from imc_common.rooms.event import Event
from imc_common.scripts import Command
from imc_common.settings import Settings
from imc_common.store.protocols import ScriptRunner


def notify_devices(scripts: ScriptRunner, settings: Settings, item: Event) -> Command:
    """The command that makes the NOTIFY requests that `item` asks for, an event `roster`.

    The reply is the number of devices, or ``gone`` if that was done before.
    """
    names, shard, room = Keys(settings.rooms_table, settings.members_table), item.shard, item.room
    return scripts.script(
        "notify_devices",
        [keys.events(shard), names.room(shard, room), names.members(shard, room)],
        [item.entry_id, room],
    )
