"""open_conference, enter_conference, admit_device, admit_as_text, confirm_dialog.

And what commands do to devices.
"""

from __future__ import annotations

import json

import pytest
import redis

from imc_common import keys
from tests.lua.conference import (
    BOBS,
    BOBS_OTHER,
    CAROLS,
    PHONE,
    about,
    accept,
    contents,
    devices,
    dialog,
    events,
    handle,
    named,
    opened,
    report,
    subscribe,
)
from tests.lua.shard import ALICE, BOB, CAROL, DAVE, IN, OUT, ROOM, SHARD, Shard, decoded, heard

EVE = "eve@example.org"
CREATORS_OTHER = f"{ALICE};gr=urn:uuid:other"


@pytest.fixture
def room(shard: Shard) -> Shard:
    """A room that keeps messages, made by Alice's phone; Bob and Carol are asked by INVITE."""
    shard.settings["history_max_messages"] = 500
    opened(shard, BOB, CAROL)
    return shard


def say(shard: Shard, sender: str = ALICE, **fields: str) -> str:
    """A message; its id in the history."""
    handle(shard, "message", sender, **fields)
    return str(decoded(shard.redis.xrevrange(shard.keys.history(SHARD, ROOM), count=1))[0][0])


def catch_up(shard: Shard) -> list[tuple[str, str, str]]:
    """What an edge hands out: recipient, author and kind of client of each message."""
    for entry, fields in decoded(shard.redis.xrange(OUT)):
        if fields["event"] == "catch_up":
            shard.run("hand_out", *shard.call_hand_out(entry, fields["to"]))
    return [(to, more["from"], more.get("client", "")) for to, more in named(shard, "message")]


def come_online(shard: Shard, user: str) -> None:
    entry_id = shard.put("user_online", user, user)
    assert shard.run("call_user_back", *shard.call_online(entry_id, user)) == "done"


def test_a_client_makes_a_private_room_with_its_members(shard: Shard) -> None:
    """It owns the room. Each of the others is asked by INVITE that names the subject and the others."""
    told = opened(shard, BOB, CAROL)
    assert shard.members() == {ALICE: "owner devices", BOB: "member inviting", CAROL: "member inviting"}
    assert [(name, to, more["from"], more["text"], more["list"]) for name, to, more in told] == [
        ("invite", BOB, ALICE, "Lunch", f"{ALICE} {CAROL}"),
        ("invite", CAROL, ALICE, "Lunch", f"{ALICE} {BOB}"),
    ]
    assert devices(shard) == {PHONE: "device"}
    assert shard.redis.hget(shard.keys.room(SHARD, ROOM), "topic") == b"Lunch"
    assert shard.owned_rooms(ALICE) == shard.private_rooms(BOB) == {ROOM}
    assert json.loads(about(shard, "dialog", PHONE) or "")["call_id"] == "alice"


def test_requests_to_a_room_that_is_made_wait_behind_nothing_more(shard: Shard) -> None:
    """An edge has noted who makes it, and takes requests of that user before a worker has made it."""
    shard.redis.set(keys.opening(SHARD, ROOM), "digest")
    opened(shard, BOB)
    assert not shard.redis.exists(keys.opening(SHARD, ROOM))


def test_one_user_takes_few_places_whatever_ports_it_has(shard: Shard) -> None:
    """As with the commands that bring users into a room."""
    at_ports = [f"eve@192.0.2.1:{port}" for port in range(6000, 6100)]
    told = opened(shard, *at_ports, BOB)
    assert [to for _, to, _ in told] == [*at_ports[:8], BOB]


def test_who_is_named_twice_or_is_the_room_is_asked_once_or_not_at_all(shard: Shard) -> None:
    told = opened(shard, BOB, ALICE, ROOM, BOB, BOBS)
    assert [to for _, to, _ in told] == [BOB]


def test_who_has_no_place_is_left_out(shard: Shard) -> None:
    shard.settings["max_members"] = 2
    assert [to for _, to, _ in opened(shard, BOB, CAROL)] == [BOB]


def test_a_conference_without_limit_has_a_thousand_invited_at_once(real_shard: Shard) -> None:
    """Each is told of fifty of the others."""
    real_shard.settings["max_members"] = 0
    told = opened(real_shard, *(f"u{number}@example.org" for number in range(1010)))
    assert len(told) == 1000
    assert {len(more["list"].split()) for _, _, more in told} == {50}
    assert not [to for _, to, more in told if to in more["list"].split()]


@pytest.mark.parametrize(("limit", "reason"), [(0, "room_exists"), (1, "too_many_rooms")])
def test_a_room_that_cannot_be_made_ends_the_dialog(shard: Shard, limit: int, reason: str) -> None:
    """The client has had its 200 already: it is told, and gets a BYE."""
    shard.ask("create", ALICE, ROOM if not limit else "other@example.org")
    shard.settings["max_rooms_per_owner"] = limit
    told = opened(shard, BOB)
    assert [(name, to, more.get("reason")) for name, to, more in told] == [
        ("refused", ALICE, reason),
        ("bye", PHONE, None),
    ]
    assert json.loads(told[1][2]["dialog"])["routes"] == []


def test_a_device_that_accepts_gets_what_was_said_since_its_user_is_a_member(room: Shard) -> None:
    """Both devices that answer the same INVITE; later messages come behind."""
    first = say(room, BOB)
    assert [to for to, _ in named(room, "message")] == [PHONE]
    accept(room, BOBS)
    accept(room, BOBS_OTHER)
    assert room.members()[BOB] == "member devices"
    assert devices(room)[f"{BOBS};aor"] == "device away"
    say(room, CAROL, cpim="1")
    got = catch_up(room)
    assert sorted(got) == sorted(
        [(PHONE, CAROL, "device")]
        + [(f"{each};aor", author, "device") for each in (BOBS, BOBS_OTHER) for author in (BOB, CAROL)]
    )
    assert first
    assert set(devices(room).values()) == {"device"}
    assert [about(room, kind, BOB) for kind in ("away", "inviter")] == [None] * 2
    assert not room.redis.exists(keys.away_rooms(SHARD, BOB))


def test_a_room_that_keeps_nothing_admits_at_once(shard: Shard) -> None:
    shard.settings["history_max_messages"] = 0
    opened(shard, BOB)
    accept(shard, BOBS)
    assert devices(shard) == {PHONE: "device", f"{BOBS};aor": "device"}


def test_a_device_invited_by_its_own_name_has_that_name(room: Shard) -> None:
    """Its client keeps the room under the To of the INVITE."""
    accept(room, BOBS, by=BOBS)
    assert BOBS in devices(room)


@pytest.mark.parametrize("first", [(), (BOBS_OTHER,)])
def test_a_device_whose_subscribe_overtakes_the_report_has_the_name_it_was_invited_by(
    room: Shard, first: tuple[str, ...]
) -> None:
    """Its client subscribes under that name, and refuses what comes under another one."""
    for other in first:  # it has accepted the same INVITE, whose event is settled
        accept(room, other)
        catch_up(room)
    events(room)
    say(room, CAROL, cpim="1")
    about_it = dialog("early", remote_uri=f"sip:{BOB}")
    handle(room, "subscribe", BOB, device=BOBS, dialog=about_it, detail="600 0")
    assert (f"{BOBS};aor", CAROL, "device") in catch_up(room)
    accept(room, BOBS)
    assert [name for name in devices(room) if name.startswith(BOBS)] == [f"{BOBS};aor"]
    assert catch_up(room) == []
    assert about(room, "dialog", f"{BOBS};aor")
    assert about(room, "subscription", f"{BOBS};aor")
    assert about(room, "subscription", BOBS) is None


def test_a_report_that_comes_twice_changes_nothing(room: Shard) -> None:
    """After the death of an edge; the place of the device stays."""
    accept(room, BOBS)
    catch_up(room)
    before = devices(room), room.members()
    accept(room, BOBS)
    assert (devices(room), room.members()) == before


def test_who_has_left_meanwhile_gets_a_bye(room: Shard) -> None:
    room.ask("remove", ALICE, user=BOB)
    accept(room, BOBS)
    ((to, more),) = named(room, "bye")
    assert (to, json.loads(more["dialog"])["call_id"]) == (f"{BOBS};aor", BOBS)
    assert BOB not in room.members()


def test_a_user_has_at_most_eight_devices_in_a_room(room: Shard) -> None:
    room.settings["history_max_messages"] = 0
    for number in range(9):
        accept(room, f"{BOB};gr={number}")
    assert len(devices(room)) == 9
    assert [to for to, _ in named(room, "bye")] == [f"{BOB};gr=8;aor"]


def test_a_ninth_device_takes_the_place_of_the_one_that_was_away_for_longest(room: Shard) -> None:
    """As of a phone that is not used any more."""
    for number in range(8):
        accept(room, f"{BOB};gr={number}")
    room.redis.hset(room.keys.room(SHARD, ROOM), f"away:{BOB};gr=3;aor", "1-1")
    handle(room, "enter_conference", BOB, device=f"{BOB};gr=8", dialog=dialog("d"))
    assert f"{BOB};gr=3;aor" not in devices(room)
    assert len(devices(room)) == 9
    assert [to for to, _ in named(room, "bye")] == [f"{BOB};gr=3;aor"]
    assert about(room, "away", f"{BOB};gr=3;aor") is None


@pytest.mark.parametrize("status", ["480", "408", "486", "603"])
def test_who_is_away_is_asked_again_when_back(room: Shard, status: str) -> None:
    """The INVITE comes before anything else, and what was said waits for the device."""
    of = about(room, "invitation", BOB)
    assert of
    report(room, "mark_away", BOB, status, event="invite", of=of, user=ALICE)
    assert room.members()[BOB] == "member inviting away"
    assert about(room, "away", BOB) == of
    say(room)
    events(room)
    come_online(room, BOB)
    assert catch_up(room) == []
    assert room.members()[BOB] == "member inviting"
    come_online(room, BOB)  # while the INVITE is on its way
    accept(room, BOBS)
    assert catch_up(room) == [(f"{BOBS};aor", ALICE, "device")]


def test_a_second_return_sends_no_second_invite(room: Shard) -> None:
    of = about(room, "invitation", BOB) or ""
    report(room, "mark_away", BOB, "480", event="invite", of=of, user=ALICE)
    for _ in range(2):
        come_online(room, BOB)
        for entry, fields in decoded(room.redis.xrange(OUT)):
            if fields["event"] == "catch_up":
                room.run("hand_out", *room.call_hand_out(entry, BOB))
    assert [(to, more["from"]) for to, more in named(room, "invite")] == [(BOB, ALICE)]


def test_nobody_is_invited_again_while_the_acceptance_waits_for_a_worker(room: Shard) -> None:
    """The edge has settled the event. Linphone would leave the room that it has just entered."""
    of = about(room, "invitation", BOB) or ""
    report(room, "mark_away", BOB, "480", event="invite", of=of, user=ALICE)
    come_online(room, BOB)
    catch_up(room)  # the INVITE is sent, and its event settled
    of = about(room, "invitation", BOB) or ""
    accepted = {"event": "invite", "device": BOBS, "dialog": dialog(BOBS), "user": ALICE, "of": of}
    waiting = room.put("delivery_report", BOB, ROOM, status="200", **accepted)
    assert invited_by_a_return(room, BOB) == []
    room.redis.xdel(IN, waiting)  # as if it had got lost
    assert invited_by_a_return(room, BOB) == [BOB]


def invited_by_a_return(room: Shard, user: str) -> list[str]:
    """Whom an edge invites that hands out what this user has missed."""
    fields = {"event": "catch_up", "room": ROOM, "to": user, "from": ROOM, "data": ""}
    item = room.redis.xadd(OUT, fields).decode()
    room.redis.hset(room.keys.room(SHARD, ROOM), f"returning:{user}", item)
    assert room.run("hand_out", *room.call_hand_out(item, user)) == 0
    return [to for to, _ in named(room, "invite")]


def test_who_is_away_is_asked_again_by_a_probe(room: Shard) -> None:
    of = about(room, "invitation", BOB) or ""
    report(room, "mark_away", BOB, "480", event="invite", of=of, user=ALICE)
    room.redis.zadd(keys.probes(SHARD), {BOB: 1})
    assert room.run("probe_users", *room.call_probes()) == 1
    room.redis.zadd(keys.probes(SHARD), {BOB: 1})
    assert room.run("probe_users", *room.call_probes()) == 0  # it is on its way
    assert [to for to, _ in named(room, "invite")] == [BOB]
    assert room.members()[BOB] == "member inviting"


def test_an_invite_in_vain_does_not_move_the_place_of_the_member(room: Shard) -> None:
    """However often it is sent: everything since the joining is still missed."""
    joined = about(room, "joined", BOB)
    for _ in range(3):
        of = about(room, "invitation", BOB) or ""
        report(room, "mark_away", BOB, "480", event="invite", of=of, user=ALICE)
        assert about(room, "away", BOB) == joined
        room.redis.zadd(keys.probes(SHARD), {BOB: 1})
        assert room.run("probe_users", *room.call_probes()) == 1


def test_a_client_without_conferences_gets_texts(room: Shard) -> None:
    """It is told that it was added, and gets what was said since."""
    say(room, CAROL)
    events(room)
    of = about(room, "invitation", BOB) or ""
    report(room, "admit_as_text", BOB, "488", event="invite", of=of, user=ALICE)
    assert room.members()[BOB] == "member away"
    assert [(to, more["from"]) for to, more in named(room, "added")] == [(BOB, ALICE)]


def test_an_older_report_of_an_invite_changes_nothing(room: Shard) -> None:
    for script, status in (("admit_as_text", "488"), ("mark_away", "480")):
        report(room, script, BOB, status, event="invite", of="1-1", user=ALICE)
    assert room.members()[BOB] == "member inviting"


def test_a_member_enters_with_a_device(room: Shard) -> None:
    """Also one that is in the room with a client of texts; from then on the device gets the messages."""
    room.ask("add", ALICE, user=DAVE)
    phone = f"{DAVE};gr=d"
    handle(room, "enter_conference", DAVE, device=phone, dialog=dialog("d1"))
    assert (room.members()[DAVE], devices(room)[phone]) == ("member devices", "device")
    events(room)
    say(room)
    assert ("message", f"{PHONE} {phone}") in [(name, to) for name, to, _ in events(room)]
    handle(room, "enter_conference", DAVE, device=phone, dialog=dialog("d2"))
    assert json.loads(about(room, "dialog", phone) or "")["call_id"] == "d2"


@pytest.mark.parametrize("user", [EVE, DAVE])
def test_others_than_members_do_not_enter(room: Shard, user: str) -> None:
    room.ask("invite", ALICE, user=DAVE)
    handle(room, "enter_conference", user, device=f"{user};gr=d", dialog=dialog("d1"))
    assert [to for to, _ in named(room, "bye")] == [f"{user};gr=d"]
    assert devices(room) == {PHONE: "device"}


def test_nobody_enters_with_the_device_of_another_user(room: Shard) -> None:
    handle(room, "enter_conference", BOB, device=CAROLS, dialog=dialog("d1"))
    assert devices(room) == {PHONE: "device"}


def test_an_ack_confirms_the_dialog_with_its_call_id(room: Shard) -> None:
    """Once; of another dialog it changes nothing."""
    for call_id, state in (("other", None), ("alice", "confirmed"), ("alice", "confirmed")):
        handle(room, "confirm_dialog", ALICE, dialog=dialog(call_id))
        assert json.loads(about(room, "dialog", PHONE) or "").get("state") == state


def test_a_device_adds_users_by_invite(room: Shard) -> None:
    """REFER: nobody is told in words. A command that was typed adds by text."""
    room.ask("add", ALICE, user=EVE)
    events(room)
    handle(room, "add", ALICE, user=DAVE, dialog=dialog("alice"), device=PHONE)
    told = [(name, to) for name, to, _ in events(room)]
    assert told == [("invite", DAVE), ("added", EVE)]
    assert room.members()[DAVE] == "member inviting"
    assert about(room, "joined", DAVE) == about(room, "away", DAVE) == about(room, "invitation", DAVE)


def test_a_device_that_is_removed_is_notified_and_gets_a_bye(room: Shard) -> None:
    """Nothing is left of it; the others see it in the roster."""
    accept(room, BOBS)
    subscribe(room, BOBS)
    ((_, first),) = contents(room)
    report(room, "settle_notify", f"{BOBS};aor", "200", event="notify", of=first["id"])
    room.settings["announce_joins"] = True
    handle(room, "remove", ALICE, user=BOB)
    notice, bye = [each for each in events(room) if each[1] == f"{BOBS};aor"]
    detail = json.loads(notice[2]["detail"])
    assert (detail["terminated"], detail["users"]) == ("noresource", [[BOB, "deleted", [], []]])
    assert (bye[0], json.loads(bye[2]["dialog"])["call_id"]) == ("bye", BOBS)
    kept = decoded(room.redis.hkeys(room.keys.room(SHARD, ROOM)))
    assert [field for field in kept if BOB in field] == []
    assert devices(room) == {PHONE: "device"}


def test_a_device_that_lacks_the_last_roster_is_told_of_its_end_by_an_empty_one(room: Shard) -> None:
    """A partial one would be of no use: RFC 4575 §4.4 has each follow the one before."""
    accept(room, BOBS)
    subscribe(room, BOBS)
    contents(room)
    handle(room, "remove", ALICE, user=BOB)
    ((to, content),) = contents(room)
    assert (to, content["terminated"], content["full"], content["version"], content["users"]) == (
        f"{BOBS};aor",
        "noresource",
        True,
        2,
        [],
    )


def test_a_device_without_a_session_gets_a_bye_all_the_same(room: Shard) -> None:
    """It was started again, and has come by SUBSCRIBE. An edge makes a session to end it (RFC 4579)."""
    accept(room, BOBS)
    room.redis.hdel(room.keys.room(SHARD, ROOM), f"dialog:{BOBS};aor")
    subscribe(room, BOBS)
    contents(room)
    handle(room, "remove", ALICE, user=BOB)
    ((to, more),) = named(room, "bye")
    assert to == f"{BOBS};aor"
    assert json.loads(more["dialog"])["call_id"].startswith("gone-")


def test_a_later_device_of_the_creator_gets_all_that_was_said(shard: Shard) -> None:
    """Others get what was said since they joined."""
    shard.settings["history_max_messages"] = 500
    opened(shard, BOB)
    handle(shard, "message", ALICE, device=PHONE)
    accept(shard, CREATORS_OTHER, by=CREATORS_OTHER)
    assert about(shard, "away", CREATORS_OTHER) == about(shard, "joined", ALICE)
    assert devices(shard)[CREATORS_OTHER] == "device away"


def test_a_device_that_leaves_by_bye_gets_none(room: Shard) -> None:
    """The other devices of its user do; nobody is told in words."""
    accept(room, BOBS)
    accept(room, BOBS_OTHER)
    events(room)
    handle(room, "exit", BOB, device=BOBS, dialog=dialog(BOBS))
    assert [(name, to) for name, to, _ in events(room)] == [("bye", f"{BOBS_OTHER};aor")]
    assert BOB not in room.members()


def test_a_dialog_that_ends_is_found_by_its_call_id(room: Shard) -> None:
    accept(room, BOBS)
    events(room)
    handle(room, "exit", BOB, dialog=dialog(BOBS))
    assert events(room) == []


def test_devices_that_have_accepted_one_invite_differ_in_their_tags(room: Shard) -> None:
    """A proxy has forked the INVITE, so the dialogs have one Call-ID. Such a BYE names no device."""
    for device, tag in ((BOBS, "phone"), (BOBS_OTHER, "tablet")):
        accept(room, device)
        made = json.dumps({"call_id": "forked", "remote_tag": tag})
        room.redis.hset(room.keys.room(SHARD, ROOM), f"dialog:{device};aor", made)
    events(room)
    handle(room, "exit", BOB, dialog=json.dumps({"call_id": "forked", "remote_tag": "tablet"}))
    assert [(name, to) for name, to, _ in events(room)] == [("bye", f"{BOBS};aor")]


@pytest.mark.parametrize(("role", "heir"), [("admin", CAROL), ("member", BOB)])
def test_the_last_owner_who_leaves_by_bye_has_an_heir(room: Shard, role: str, heir: str) -> None:
    """A client that leaves cannot be asked who. Admins come first."""
    if role == "admin":
        room.ask("modify", ALICE, user=CAROL, role="admin")
    handle(room, "exit", ALICE, device=PHONE, dialog=dialog("alice"))
    assert room.members()[heir] == "owner inviting"
    assert (room.owned_rooms(ALICE), room.owned_rooms(heir)) == (set(), {ROOM})


def test_the_last_member_who_leaves_by_bye_ends_the_room(shard: Shard) -> None:
    opened(shard)
    handle(shard, "exit", ALICE, device=PHONE, dialog=dialog("alice"))
    assert not shard.exists()
    assert not shard.redis.exists(keys.devices(SHARD, ROOM), keys.roster(SHARD, ROOM))
    assert shard.owned_rooms(ALICE) == shard.private_rooms(ALICE) == set()


def test_a_room_that_ends_ends_all_dialogs(room: Shard) -> None:
    """Whoever destroys it; members without devices are told in words."""
    room.ask("add", ALICE, user=DAVE)
    accept(room, BOBS)
    events(room)
    handle(room, "destroy", ALICE)
    told = [(name, to) for name, to, _ in events(room)]
    assert told == [("bye", PHONE), ("bye", f"{BOBS};aor"), ("destroyed", ALICE), ("destroyed", DAVE)]
    assert not room.redis.exists(keys.devices(SHARD, ROOM), keys.roster(SHARD, ROOM))


@pytest.mark.parametrize("kind", ["remove", "ban"])
def test_notices_do_not_go_to_members_with_devices(room: Shard, kind: str) -> None:
    """They have the roster. An answer goes to the device that has typed the command."""
    accept(room, BOBS)
    events(room)
    told = {each.event: each.to for each in room.ask(kind, ALICE, user=CAROL, device=PHONE)}
    assert list(told.values()) == [("",), (CAROL,), (PHONE,)]
    answers = room.ask("list", BOB, device=BOBS)
    assert [(each.to, each.more["client"]) for each in answers if each.event == "members"] == [
        ((f"{BOBS};aor",), "device")
    ]


def test_an_answer_to_a_client_of_texts_goes_to_its_user(room: Shard) -> None:
    """Also if the request names a device that is not in the room."""
    assert room.ask("list", BOB, device=BOBS)[0].to == (BOB,)
    assert heard("refused", EVE, by=EVE, reason="unknown_room", command="list") in room.ask(
        "list", EVE, device=f"{EVE};gr=1"
    )


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("add", {"user": EVE}),
        ("remove", {"user": CAROL}),
        ("exit", {}),
        ("topic", {"text": "x"}),
        ("modify", {"user": BOB, "role": "admin"}),
        ("destroy", {}),
        ("ban", {"user": CAROL}),
    ],
)
@pytest.mark.parametrize("key", [keys.devices(SHARD, ROOM), keys.roster(SHARD, ROOM)])
def test_devices_of_a_wrong_type_change_nothing(
    room: Shard, kind: str, fields: dict[str, str], key: str
) -> None:
    """These keys are not among KEYS of the scripts."""
    room.redis.delete(key)
    room.redis.set(key, "planted")
    before = room.dump()
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        handle(room, kind, ALICE, **fields)
    after = room.dump()
    assert after | {"imc:{3}:in": before.get("imc:{3}:in")} == before | {
        "imc:{3}:in": before.get("imc:{3}:in")
    }
