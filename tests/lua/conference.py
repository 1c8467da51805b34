"""Devices in a room under test: what edges write of their dialogs and subscriptions, and what follows."""

from __future__ import annotations

import json
from typing import Any

from imc_common import keys
from imc_common.devices import user_of
from imc_common.rooms.event import ROSTER, Event
from imc_common.rooms.roster import notify_devices
from imc_common.settings import Settings
from tests.lua.shard import ALICE, BOB, CAROL, OUT, ROOM, SCRIPT_OF, SHARD, Shard, decoded

PHONE = f"{ALICE};gr=urn:uuid:phone"
BOBS = f"{BOB};gr=urn:uuid:1"
BOBS_OTHER = f"{BOB};gr=urn:uuid:2"
CAROLS = f"{CAROL};gr=urn:uuid:3"


def dialog(call_id: str, **more: Any) -> str:
    """The text of an edge; an empty route set has to stay a list."""
    return json.dumps({"call_id": call_id, "local_tag": "l", "remote_tag": "r", "routes": [], **more})


def opened(
    shard: Shard, *invited: str, room: str = ROOM, **fields: str
) -> list[tuple[str, str, dict[str, str]]]:
    """Alice's phone creates the room by INVITE; the events."""
    fields = {
        "device": PHONE,
        "dialog": dialog("alice"),
        "text": "Lunch",
        "detail": " ".join(invited),
        **fields,
    }
    handle(shard, "open_conference", ALICE, room, **fields)
    return events(shard)


def handle(shard: Shard, kind: str, sender: str, room: str = ROOM, **fields: str) -> None:
    """A request takes effect; its events stay in the out-stream."""
    entry_id = shard.put(kind, sender, room, **fields)
    command = shard.command(SCRIPT_OF[kind], entry_id, sender, room, fields.get("user", ""))
    assert shard.run(SCRIPT_OF[kind], *command) == "done"
    shard.show()


def report(shard: Shard, script: str, recipient: str, status: str, room: str = ROOM, **fields: str) -> None:
    """A request to this recipient has ended so."""
    entry_id = shard.put("delivery_report", recipient, room, status=status, **fields)
    assert shard.run(script, *shard.command(script, entry_id, recipient, room)) == "done"


def accept(shard: Shard, device: str, by: str = "", room: str = ROOM) -> None:
    """The device has accepted the INVITE to `by`, which is its user unless the device was named."""
    about = {"event": "invite", "device": device, "dialog": dialog(device), "user": ALICE}
    report(shard, "admit_device", by or user_of(device), "200", room, **about)


def subscribe(  # noqa: PLR0917 # all but the first two have defaults
    shard: Shard, device: str, seconds: int = 600, last: int = 0, call_id: str = "s", room: str = ROOM
) -> None:
    fields = {"device": device, "dialog": dialog(f"{call_id} {device}"), "detail": f"{seconds} {last}"}
    handle(shard, "subscribe", user_of(device), room, **fields)


def events(shard: Shard) -> list[tuple[str, str, dict[str, str]]]:
    """Name, recipients and further fields of the events since the last time; they are delivered now."""
    found = []
    for entry, fields in decoded(shard.redis.xrange(OUT)):
        if fields["event"] != ROSTER:
            shard.redis.xdel(OUT, entry)
            more = {
                name: text for name, text in fields.items() if name not in {"event", "to", "room", "data"}
            }
            found.append((fields["event"], fields["to"], more | {"id": entry}))
    return found


def named(shard: Shard, name: str) -> list[tuple[str, dict[str, str]]]:
    """Of these events, those with this name."""
    return [(to, more) for event, to, more in events(shard) if event == name]


def rosters(shard: Shard) -> list[str]:
    """The ids of the events that ask for NOTIFY requests."""
    return [entry for entry, fields in decoded(shard.redis.xrange(OUT)) if fields["event"] == ROSTER]


def notified(shard: Shard, room: str = ROOM) -> list[tuple[str, dict[str, Any]]]:
    """An edge makes the NOTIFY requests that are asked for: device and content."""
    for entry in rosters(shard):
        shard.run("notify_devices", *call_notify(shard, entry, room))
    return contents(shard)


def call_notify(shard: Shard, entry: str, room: str = ROOM) -> tuple[list[str], list[Any]]:
    """KEYS and ARGV of notify_devices, as an edge gives them."""
    item = Event(entry, SHARD, ROSTER, room, ())
    command = notify_devices(shard, Settings(), item)  # type: ignore[arg-type] # only `script` is called
    count = 3 + int(command[2])
    return [str(key) for key in command[3:count]], list(command[count:])


def contents(shard: Shard) -> list[tuple[str, dict[str, Any]]]:
    """Device and content of the NOTIFY requests since the last time."""
    found = []
    for to, more in named(shard, "notify"):
        detail, sent_in = json.loads(more["detail"]), json.loads(more["dialog"])
        assert (sent_in["version"], sent_in["routes"]) == (detail["version"], [])
        found.append((to, detail | {"id": more["id"]}))
    return found


def devices(shard: Shard, room: str = ROOM) -> dict[str, str]:
    """The devices in the room."""
    found: dict[str, str] = decoded(shard.redis.hgetall(keys.devices(SHARD, room)))
    return found


def about(shard: Shard, kind: str, who: str, room: str = ROOM) -> str | None:
    """What the room keeps of a user or a device."""
    value: str | None = decoded(shard.redis.hget(shard.keys.room(SHARD, room), f"{kind}:{who}"))
    return value
