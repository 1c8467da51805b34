"""Every script in a situation where it does all of its work, for the tests that hold for all of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from imc_common import keys
from imc_common.rooms.delivery_reports import AS_TEXT
from imc_common.rooms.event import REPLAY
from imc_common.settings import Settings
from imc_worker.delivery_reports import DeliveryReports
from tests.lua.shard import ALICE, BOB, CAROL, DAVE, IN, OUT, ROOM, SCRIPT_OF, SHARD, Shard, decoded

EVE = "eve@example.org"
NEW_ROOM = "chat-001@example.org"
BANNED = "mallory@example.org"
INVITATION = "1700000000000-0"
LEADING = "1700000000001-0"
"""The event that leads to the next part of what Carol missed."""


class Case(NamedTuple):
    """A prepared run: the script, a function that prepares a shard and gives KEYS and ARGV, and the positions
    of KEYS the script does not come to in this situation."""

    script: str
    prepare: Callable[[Shard], tuple[list[str], list[Any]]]
    untouched: frozenset[int] = frozenset()


def settled_room(shard: Shard) -> None:
    """Alice owns a private room, Bob is admin, Carol member, Dave invited; written by no script."""
    roles = {ALICE: "owner", BOB: "admin", CAROL: "member", DAVE: "invited"}
    about = {"private": "1", "owner": ALICE, "created_at": "1700000000000", f"invitation:{DAVE}": INVITATION}
    about |= {f"ban:{BANNED}": ALICE, f"nick:{BOB}": "Bobby"}
    pipeline = shard.redis.pipeline()
    pipeline.hset(shard.keys.members(SHARD, ROOM), mapping=roles)
    pipeline.hset(shard.keys.room(SHARD, ROOM), mapping=about)
    pipeline.zadd(shard.keys.rooms(SHARD), {ROOM: 1})
    pipeline.sadd(keys.owned_rooms(SHARD, ALICE), ROOM)
    for member in (ALICE, BOB, CAROL):
        pipeline.sadd(keys.private_rooms(SHARD, member), ROOM)
    pipeline.execute()


def _asks(kind: str, sender: str, room: str = ROOM, untouched: tuple[int, ...] = (), **fields: str) -> Case:
    """A request of this type, with the script and the keys that the table of actions has for it."""
    return _runs(SCRIPT_OF[kind], kind, sender, room, untouched, **fields)


def _reports(event: str, recipient: str, status: str = "404", **fields: str) -> Case:
    """The report that a delivery of this event ended so, with the script that a worker runs for it."""
    report = {b"event": event.encode(), b"status": status.encode()}
    action = DeliveryReports(Settings()).action(report)
    assert action is not None
    return _runs(action.script, "delivery_report", recipient, event=event, status=status, **fields)


def _runs(
    script: str, kind: str, sender: str, room: str = ROOM, untouched: tuple[int, ...] = (), **fields: str
) -> Case:
    def prepare(shard: Shard) -> tuple[list[str], list[Any]]:
        settled_room(shard)
        shard.settings |= {"history_max_messages": 500}
        entry_id = shard.put(kind, sender, room, **fields)
        return shard.command(script, entry_id, sender, room, fields.get("user", ""))

    return Case(script, prepare, frozenset(untouched))


def _returns(shard: Shard) -> tuple[list[str], list[Any]]:
    settled_room(shard)
    shard.redis.hset(keys.authors(SHARD, ROOM, "recent"), "m1", BOB)
    entry_id = shard.put("disposition", CAROL, message_id="m1 -")
    return shard.command(SCRIPT_OF["disposition"], entry_id, CAROL, ROOM, "")


def keep_some(shard: Shard) -> None:
    """Carol is away and has missed two messages; written by no script."""
    shard.settings |= {"history_max_messages": 500, "remove_after_days": 1}
    shard.send_away(CAROL)
    shard.redis.hset(shard.keys.room(SHARD, ROOM), f"returning:{CAROL}", LEADING)
    for number in (1, 2):
        shard.redis.xadd(shard.keys.history(SHARD, ROOM), {ALICE: "\x81"}, id=f"1-{number}")
    shard.redis.sadd(keys.away_rooms(SHARD, CAROL), ROOM)
    shard.redis.zadd(keys.probes(SHARD), {CAROL: 1})
    shard.redis.hset(keys.probe_waits(SHARD), CAROL, 2000)


def _away(script: str, **fields: str) -> Case:
    def prepare(shard: Shard) -> tuple[list[str], list[Any]]:
        settled_room(shard)
        keep_some(shard)
        return shard.command(script, shard.put("delivery_report", CAROL, **fields), CAROL)

    return Case(script, prepare)


DEVICE = f"{CAROL};gr=urn:uuid:1"


def show_roster(shard: Shard) -> None:
    """Carol has a device that shows the room as a conference, and has not seen its latest change."""
    subscription = {
        "dialog": '{"call_id":"s"}',
        "expires_at": 2**42,
        "version": 1,
        "rev": 1,
        "pending": "1-1",
    }
    kept = {
        f"dialog:{DEVICE}": '{"call_id":"c"}',
        f"subscription:{DEVICE}": json.dumps(subscription),
        "rev": "2",
    }
    pipeline = shard.redis.pipeline()
    pipeline.hset(shard.keys.members(SHARD, ROOM), CAROL, "member devices")
    pipeline.hset(keys.devices(SHARD, ROOM), DEVICE, "device")
    pipeline.hset(shard.keys.room(SHARD, ROOM), mapping=kept)
    pipeline.zadd(keys.roster(SHARD, ROOM), {BOB: 2})
    pipeline.execute()


def _shows(
    kind: str, sender: str, untouched: tuple[int, ...] = (), *, is_report: bool = False, **fields: str
) -> Case:
    script = kind if is_report else SCRIPT_OF[kind]

    def prepare(shard: Shard) -> tuple[list[str], list[Any]]:
        settled_room(shard)
        show_roster(shard)
        shard.settings |= {"history_max_messages": 500}
        entry_id = shard.put("delivery_report" if is_report else kind, sender, **fields)
        return shard.command(script, entry_id, sender, ROOM, fields.get("user", ""))

    return Case(script, prepare, frozenset(untouched))


def _invited(script: str, **fields: str) -> Case:
    def prepare(shard: Shard) -> tuple[list[str], list[Any]]:
        settled_room(shard)
        shard.settings |= {"history_max_messages": 500}
        shard.redis.hset(shard.keys.members(SHARD, ROOM), CAROL, "member inviting")
        kept = {f"invitation:{CAROL}": INVITATION, f"away:{CAROL}": INVITATION}
        shard.redis.hset(shard.keys.room(SHARD, ROOM), mapping=kept)  # type: ignore[arg-type]
        return shard.command(script, shard.put("delivery_report", CAROL, **fields), CAROL)

    return Case(script, prepare)


def _notifies_devices(shard: Shard) -> tuple[list[str], list[Any]]:
    settled_room(shard)
    show_roster(shard)
    entry = decoded(
        shard.redis.xadd(OUT, {"event": "roster", "room": ROOM, "to": "", "from": ROOM, "data": ""})
    )
    return [OUT, shard.keys.room(SHARD, ROOM), shard.keys.members(SHARD, ROOM)], [entry, ROOM]


def _expires_subscriptions(shard: Shard) -> tuple[list[str], list[Any]]:
    settled_room(shard)
    show_roster(shard)
    over = {"dialog": "{}", "expires_at": 1, "version": 1, "rev": 1, "pending": ""}
    shard.redis.hset(shard.keys.room(SHARD, ROOM), f"subscription:{DEVICE}", json.dumps(over))
    return [OUT, shard.keys.room(SHARD, ROOM), shard.keys.members(SHARD, ROOM)], [ROOM]


def _comes_online(shard: Shard) -> tuple[list[str], list[Any]]:
    settled_room(shard)
    keep_some(shard)
    return shard.call_online(shard.put("user_online", CAROL, CAROL), CAROL)


def _hands_out(shard: Shard) -> tuple[list[str], list[Any]]:
    settled_room(shard)
    keep_some(shard)
    item = {"event": "catch_up", "room": ROOM, "from": ROOM, "to": CAROL, "data": "", "first": "1"}
    shard.redis.xadd(OUT, item, id=LEADING)  # type: ignore[arg-type]
    return shard.call_hand_out(LEADING, CAROL)


def _shows_history(shard: Shard) -> tuple[list[str], list[Any]]:
    settled_room(shard)
    keep_some(shard)
    item = {
        "event": "catch_up",
        "room": ROOM,
        "from": CAROL,
        "to": CAROL,
        "data": "\x81",
        "catch_up": "replay",
    }
    shard.redis.xadd(OUT, item, id=LEADING)  # type: ignore[arg-type]
    return shard.call_hand_out(LEADING, CAROL, catch_up=REPLAY)


def _trims(shard: Shard) -> tuple[list[str], list[Any]]:
    for number in range(1, 4):
        shard.redis.xadd(shard.keys.history(SHARD, ROOM), {ALICE: "x"}, id=f"{number}-1")
    shard.redis.zadd(keys.expiring(SHARD, ROOM), {"3-1": 1})
    return [shard.keys.history(SHARD, ROOM), keys.expiring(SHARD, ROOM)], [2, 1, 500]


def _probes(shard: Shard) -> tuple[list[str], list[Any]]:
    settled_room(shard)
    keep_some(shard)
    return shard.call_probes()


def _notifies(shard: Shard) -> tuple[list[str], list[Any]]:
    settled_room(shard)
    return [IN, OUT], [shard.put("rooms", ALICE), "rooms", "list", f"public:{ROOM}"]


def _discards(shard: Shard) -> tuple[list[str], list[Any]]:
    settled_room(shard)
    return [IN], [shard.put("delivery_report", ALICE)]


def _charges_budget(shard: Shard) -> tuple[list[str], list[Any]]:
    return [keys.budget(SHARD, "message", ALICE)], [5, 3600, 10, 10]


def _charges_invitation(shard: Shard) -> tuple[list[str], list[Any]]:
    targets = (ALICE, f"{ALICE} {BOB}", f"{ALICE} {CAROL}")
    return [keys.budget(SHARD, "invitation", who) for who in targets], ["digest", 30, 3, 1, 2]


def _reads_clock(_: Shard) -> tuple[list[str], list[Any]]:
    return [keys.DIGEST_KEYS], []


def _sends_limit_notice(shard: Shard) -> tuple[list[str], list[Any]]:
    return [keys.limit_notice(SHARD, "messages", ALICE), IN], [60_000, 10, "type", "refused"]


def _moves_to_dead_letters(shard: Shard) -> tuple[list[str], list[Any]]:
    return [IN, keys.dead(SHARD)], [shard.put("message", ALICE), "why", 1]


def _retries_dead_letter(shard: Shard) -> tuple[list[str], list[Any]]:
    shard.run("move_to_dead_letters", *_moves_to_dead_letters(shard))
    [(letter, _)] = shard.redis.xrange(keys.dead(SHARD))
    return [keys.dead(SHARD), IN], [decoded(letter)]


def _settles(complete: int) -> Callable[[Shard], tuple[list[str], list[Any]]]:
    def prepare(shard: Shard) -> tuple[list[str], list[Any]]:
        event = decoded(shard.redis.xadd(OUT, {"event": "invited", "room": ROOM, "from": ALICE, "to": BOB}))
        where = [OUT, IN, keys.settled(SHARD, event), keys.undelivered(SHARD)]
        return where, [event, complete, 60000, 1000, "c1", BOB, "404", 1]

    return prepare


def _settles_delivered(shard: Shard) -> tuple[list[str], list[Any]]:
    return [OUT], [decoded(shard.redis.xadd(OUT, {"event": "message"}))]


def _accepts(shard: Shard) -> tuple[list[str], list[Any]]:
    fields = ["type", "message", "from", ALICE, "room", ROOM]
    return [*keys.accepting(SHARD)], [
        32000,
        100,
        shard.keys.members(SHARD, ""),
        "d1",
        len(fields),
        *fields,
        "d2",
        len(fields),
        *fields,
    ]


def _checks_sequence(_: Shard) -> tuple[list[str], list[Any]]:
    return [keys.sequence(SHARD, "d")], [7, 60_000]


def _finds_duplicate(shard: Shard) -> tuple[list[str], list[Any]]:
    shard.redis.sadd(keys.seen(SHARD, "recent"), "digest")
    return [keys.seen(SHARD, "recent"), keys.seen(SHARD, "older")], ["digest"]


def _broadcasts_many(shard: Shard) -> tuple[list[str], list[Any]]:
    settled_room(shard)
    ids = [shard.put("message", CAROL) for _ in range(2)]
    shard.settings["history_max_messages"] = 500
    return shard.call_together(ids)


NEXT = SHARD + 1


def _accepts_in_two_shards(shard: Shard) -> tuple[list[str], list[Any]]:
    script_keys, args = _accepts(shard)
    request = ["d1", 0, ALICE, ROOM, "\x81"]
    return [*script_keys, *keys.accepting(NEXT)], [*args, "", shard.keys.members(NEXT, ""), *request]


def _broadcasts_in_two_shards(shard: Shard) -> tuple[list[str], list[Any]]:
    script_keys, args = _broadcasts_many(shard)
    shard.redis.hset(shard.keys.members(NEXT, ROOM), mapping={ALICE: "owner", BOB: "member"})
    fields = {"type": "message", "from": ALICE, "room": ROOM, "data": "\x81"}
    entry = decoded(shard.redis.xadd(keys.requests(NEXT), fields))  # type: ignore[arg-type]
    make = (shard.keys.members, shard.keys.history, shard.keys.room)
    prefixes = [*(each(NEXT, "") for each in make), keys.authors_prefix(NEXT)]
    names = [keys.requests(NEXT), keys.events(NEXT), keys.history_off(NEXT)]
    return [*script_keys, *names], [*args, "", *prefixes, entry]


def _lists_acceptances(shard: Shard) -> tuple[list[str], list[Any]]:
    fields = {"status": "200", "of": "1-0", "dialog": '{"call_id":"c"}'}
    shard.put("delivery_report", BOB, ROOM, **fields)
    return [OUT, shard.keys.room(SHARD, ROOM)], ["1-0", ROOM, BOB]


def _looks_up_member(shard: Shard) -> tuple[list[str], list[Any]]:
    settled_room(shard)
    return [shard.keys.room(SHARD, ROOM), shard.keys.members(SHARD, ROOM)], [CAROL]


def _checks_referral(shard: Shard) -> tuple[list[str], list[Any]]:
    return _looks_up_member(shard)[0], ["remove", ALICE, CAROL, ""]


def _finds_rooms(shard: Shard) -> tuple[list[str], list[Any]]:
    settled_room(shard)
    where = [shard.keys.rooms(SHARD), keys.private_rooms(SHARD, CAROL)]
    prefixes = shard.keys.members(SHARD, ""), keys.devices(SHARD, ""), shard.keys.room(SHARD, "")
    return where, [CAROL, DEVICE, 0, 10, *prefixes, 0]


def _records_heartbeat(shard: Shard) -> tuple[list[str], list[Any]]:
    return [keys.WORKERS], ["w1", 3000]


def _acquires_lease(shard: Shard) -> tuple[list[str], list[Any]]:
    return [keys.lease(SHARD, "worker")], ["w1", 3000]


def _releases_lease(shard: Shard) -> tuple[list[str], list[Any]]:
    shard.run("acquire_lease", *_acquires_lease(shard))
    return [keys.lease(SHARD, "worker")], ["w1"]


def _claims_stream(shard: Shard) -> tuple[list[str], list[Any]]:
    shard.redis.delete(IN)
    return [IN, keys.lease(SHARD, "worker")], ["next"]


def _lists_pending(shard: Shard) -> tuple[list[str], list[Any]]:
    return [IN], ["-", 10]


def _imports_room(shard: Shard) -> tuple[list[str], list[Any]]:
    where = [shard.keys.rooms(SHARD), shard.keys.room(SHARD, ROOM), shard.keys.members(SHARD, ROOM), OUT]
    prefixes = [keys.private_rooms(SHARD, ""), keys.owned_rooms(SHARD, "")]
    return where, [ROOM, "1", ALICE, "1700000000000", *prefixes, ALICE, "owner", BOB, "member"]


ROOM_CASES = {
    "create": _asks("create", ALICE, NEW_ROOM, private="1"),
    "create, room there": _asks("create", EVE),
    "join makes a room": _asks("join", ALICE, NEW_ROOM),
    "join of the invited": _asks("join", DAVE),
    "join of a stranger": _asks("join", EVE),
    "join of a member": _asks("join", CAROL),
    "invite": _asks("invite", ALICE, user=EVE),
    "invite refused": _asks("invite", CAROL, user=EVE),
    "accept": _asks("accept", DAVE),
    "deny": _asks("deny", DAVE),
    "remove": _asks("remove", ALICE, user=CAROL),
    "ban": _asks("ban", ALICE, user=CAROL),
    "ban of a stranger": _asks("ban", ALICE, user=EVE),
    "unban": _asks("unban", ALICE, user=BANNED),
    "bans": _asks("bans", BOB),
    "join of a banned user": _asks("join", BANNED),
    "add": _asks("add", ALICE, user=EVE),
    "modify to owner": _asks("modify", ALICE, user=CAROL, role="owner"),
    "modify to admin": _asks("modify", ALICE, user=CAROL, role="admin"),
    "exit": _asks("exit", CAROL),
    "exit of the invited": _asks("exit", DAVE),
    "exit of the last owner": _asks("exit", ALICE, text="confirm"),
    "exit not confirmed": _asks("exit", ALICE),
    "nick": _asks("nick", CAROL, text="Caz"),
    "no nick": _asks("nick", BOB),
    "announce": _asks("announce", ALICE, text="off"),
    "destroy": _asks("destroy", ALICE),
    "list": _asks("list", CAROL),
    "typing": _asks("typing", CAROL),
    "receipt for an author": Case(SCRIPT_OF["disposition"], _returns),
    # of the room itself a member's message reads the members only; what it keeps is no reason to fail
    "message": _asks("message", CAROL, untouched=(2, 3, 5, 7, 8)),
    "message in CPIM": _asks("message", CAROL, untouched=(2, 3, 5, 7, 8), message_id="m1"),
    "answer of a program": _runs("mute_answer", "message", CAROL),
    "refused CPIM": _reports("message", CAROL, AS_TEXT),
    "message refused": _asks("message", EVE, untouched=(5, 6, 7, 8)),
    "invitation failed": _reports("invited", DAVE, "486", user=ALICE, of=INVITATION),
    "member away": _away("mark_away", event="message", status="480", history_id="1-1"),
    "member away for too long": _away("remove_absent"),
    "next part": _away("resume_catch_up", status="200", of=LEADING),
    "probe accepted": _away("welcome_back", status="200", history_id="1-1"),
    "idle accepted": _away("welcome_back", event="idle", status="415", history_id="1-1"),
    "user online": Case("call_user_back", _comes_online),
    "help": Case("notify_sender", _notifies),
    "report of no interest": Case("discard_report", _discards),
}

_DIALOG = '{"call_id":"c","routes":[]}'
_IN_DIALOG = {"device": DEVICE, "dialog": _DIALOG}
_INVITED = {"of": INVITATION, "user": ALICE, "event": "invite"}

ROOM_CASES |= {
    "open a conference": _asks(
        "open_conference",
        ALICE,
        NEW_ROOM,
        **_IN_DIALOG | {"device": f"{ALICE};gr=a"},
        detail=f"{BOB} {CAROL}",
        text="x",
    ),
    "open a conference that exists": _asks("open_conference", ALICE, **_IN_DIALOG, untouched=()),
    "invite a device": _asks("invite_device", CAROL, device=DEVICE),
    "enter a conference": _asks("enter_conference", CAROL, **_IN_DIALOG),
    "enter a conference as a stranger": _asks("enter_conference", EVE, **_IN_DIALOG),
    "confirm a dialog": _shows("confirm_dialog", CAROL, dialog=_DIALOG),
    "subscribe": _shows("subscribe", CAROL, **_IN_DIALOG, detail="600 0"),
    "unsubscribe": _shows("subscribe", CAROL, **_IN_DIALOG, detail="0 0"),
    "subscribe as a stranger": _shows("subscribe", EVE, **_IN_DIALOG, detail="600 0"),
    "add by a device": _shows("add", ALICE, user=EVE, dialog=_DIALOG),
    "remove a user with devices": _shows("remove", ALICE, user=CAROL),
    "ban a user with devices": _shows("ban", ALICE, user=CAROL),
    "exit by BYE": _shows("exit", CAROL, **_IN_DIALOG),
    "exit of the last owner by BYE": _shows("exit", ALICE, dialog=_DIALOG),
    "destroy a conference": _shows("destroy", ALICE),
    "modify in a conference": _shows("modify", ALICE, user=CAROL, role="admin"),
    "subject": _shows("topic", ALICE, text="new"),
    "message to devices": _shows("message", BOB, untouched=(2, 3, 5, 7, 8)),
    "message of a device": _shows("message", CAROL, device=DEVICE, untouched=(2, 3, 5, 7, 8), cpim="1"),
    "list for a device": _shows("list", CAROL, device=DEVICE),
    "device admitted": _away("admit_device", status="200", device=DEVICE, dialog=_DIALOG, **_INVITED),
    "device not admitted": _runs(
        "admit_device", "delivery_report", EVE, device=DEVICE, dialog=_DIALOG, **_INVITED
    ),
    "INVITE refused": _invited("admit_as_text", status="488", **_INVITED),
    "INVITE without response": _invited("mark_away", status="408", **_INVITED),
    "BYE without response": _runs(
        "keep_farewell", "delivery_report", DEVICE, status="408", event="bye", of="1-1", dialog=_DIALOG
    ),
    "BYE accepted": _shows("readmit_device", f"{CAROL};gr=2", status="200", is_report=True),
    "notice of a removal without response": _runs(
        "keep_farewell", "delivery_report", EVE, status="408", event="you_were_dropped", of="1-1"
    ),
    "NOTIFY accepted": _shows("settle_notify", DEVICE, status="200", of="1-1", is_report=True),
    "NOTIFY without subscription": _shows("settle_notify", DEVICE, status="481", of="1-1", is_report=True),
    "NOTIFY without response": _shows("settle_notify", DEVICE, status="408", of="1-1", is_report=True),
    "device away": _shows(
        "mark_away", DEVICE, status="480", history_id="1-1", event="message", is_report=True
    ),
}

ROOM_CASES |= {
    kind: _asks(kind, ALICE, user=EVE, role="member", text="some words")
    for kind, script in SCRIPT_OF.items()
    if script not in {case.script for case in ROOM_CASES.values()}
}
"""A command that has no case above is sent by the owner of the room."""

CASES = ROOM_CASES | {
    "notify devices": Case("notify_devices", _notifies_devices),
    "expire subscriptions": Case("expire_subscriptions", _expires_subscriptions),
    "accept of requests": Case("accept_many", _accepts),
    "accept in two shards": Case("accept_many", _accepts_in_two_shards),
    "duplicate": Case("find_duplicate", _finds_duplicate),
    "CSeq": Case("check_sequence", _checks_sequence),
    "find rooms": Case("find_rooms", _finds_rooms),
    "look up a member": Case("look_up_member", _looks_up_member),
    "acceptances": Case("list_acceptances", _lists_acceptances),
    "check a referral": Case("check_referral", _checks_referral),
    "messages": Case("broadcast_messages", _broadcasts_many),
    "messages in two shards": Case("broadcast_messages", _broadcasts_in_two_shards),
    "charge a budget": Case("charge_budget", _charges_budget),
    "charge an invitation": Case("charge_invitation", _charges_invitation),
    "limit notice": Case("send_limit_notice", _sends_limit_notice),
    "clock": Case("read_clock", _reads_clock),
    "dead letter": Case("move_to_dead_letters", _moves_to_dead_letters),
    "retry of a dead letter": Case("retry_dead_letter", _retries_dead_letter),
    "settle one of many": Case("settle", _settles(0)),
    "settle the last": Case("settle", _settles(1)),
    "settle delivered": Case("settle_delivered", _settles_delivered),
    "heartbeat": Case("record_heartbeat", _records_heartbeat),
    "acquire a lease": Case("acquire_lease", _acquires_lease),
    "release a lease": Case("release_lease", _releases_lease),
    "import": Case("import_room", _imports_room),
    "claim a stream": Case("claim_stream", _claims_stream),
    "list pending": Case("list_pending", _lists_pending),
    "hand out": Case("hand_out", _hands_out),
    "show the history": Case("show_history", _shows_history),
    "probe": Case("probe_users", _probes),
    "trim": Case("trim_history", _trims),
}
