"""keep_farewell: a device that was away when its user was removed learns it when it is back."""

from __future__ import annotations

import json

import pytest

from imc_common import keys
from imc_common.devices import user_of
from tests.lua.conference import (
    BOBS,
    BOBS_OTHER,
    PHONE,
    about,
    accept,
    call_notify,
    contents,
    devices,
    dialog,
    events,
    handle,
    named,
    notified,
    opened,
    report,
    rosters,
    subscribe,
)
from tests.lua.shard import ALICE, BOB, CAROL, IN, OUT, ROOM, SHARD, Shard, decoded

AWAY = f"{BOBS};aor"


@pytest.fixture
def room(shard: Shard) -> Shard:
    """Bob was removed while his device was off."""
    opened_with(shard, BOBS, CAROL)
    handle(shard, "remove", ALICE, user=BOB)
    found_nobody(shard)
    return shard


def opened_with(shard: Shard, device: str, *invited: str, room: str = ROOM) -> None:
    """Alice's phone makes a room, in which this device is and has missed nothing."""
    shard.settings["history_max_messages"] = 0
    opened(shard, user_of(device), *invited, room=room)
    accept(shard, device, room=room)
    shard.settings["history_max_messages"] = 500


def found_nobody(shard: Shard, **more: str) -> None:
    """All BYE requests of now end so."""
    for to, fields in named(shard, "bye"):
        about = {"event": "bye", "of": fields["id"], "dialog": fields["dialog"], **more}
        report(shard, "keep_farewell", to, "480", **about)


def kept(shard: Shard, user: str = BOB) -> dict[str, str]:
    """Dialogs that are to end, by room and device."""
    found: dict[str, str] = decoded(shard.redis.hgetall(keys.farewells(SHARD, user)))
    return found


def come_online(shard: Shard, user: str = BOB) -> None:
    entry_id = shard.put("user_online", user, user)
    assert shard.run("call_user_back", *shard.call_online(entry_id, user)) == "done"


def go_on(shard: Shard) -> None:
    """The user was found: the request that a script has written takes effect."""
    for entry_id, fields in decoded(shard.redis.xrange(IN)):
        assert (fields["type"], fields["from"], fields["room"]) == ("user_online", BOB, BOB)
        assert shard.run("call_user_back", *shard.call_online(entry_id, BOB)) == "done"


def ended(shard: Shard) -> list[tuple[str, str]]:
    """Device and Call-ID of each BYE."""
    return [(to, json.loads(more["dialog"])["call_id"]) for to, more in named(shard, "bye")]


def probe(shard: Shard, user: str = BOB) -> int:
    shard.redis.zadd(keys.probes(SHARD), {user: 1})
    return int(shard.run("probe_users", *shard.call_probes()))


def test_a_device_that_is_back_gets_the_bye_that_it_has_missed(room: Shard) -> None:
    """Whatever tells that its user is back. Its dialog is in one place at a time."""
    assert list(kept(room)) == [f"{ROOM} {AWAY}"]
    assert room.redis.ttl(keys.farewells(SHARD, BOB)) > 0
    assert decoded(room.redis.zrange(keys.probes(SHARD), 0, -1)) == [BOB]
    come_online(room)
    assert kept(room) == {}
    assert ended(room) == [(AWAY, BOBS)]
    come_online(room)
    assert ended(room) == []


def test_a_bye_that_fails_again_waits_again(room: Shard) -> None:
    for _ in range(3):
        come_online(room)
        found_nobody(room)
        assert list(kept(room)) == [f"{ROOM} {AWAY}"]


def test_a_user_is_probed_with_the_bye(room: Shard) -> None:
    """Each failed probe doubles the wait; an accepted one brings all others."""
    room.redis.hset(keys.farewells(SHARD, BOB), f"{ROOM} {BOBS_OTHER}", dialog("other"))
    waits = []
    for _ in range(3):
        assert probe(room) == 1
        waits.append(int(room.redis.hget(keys.probe_waits(SHARD), BOB) or 0))
        found_nobody(room, catch_up="probe")
    assert waits == [4000, 8000, 16000]
    assert probe(room) == 1
    ((to, more),) = named(room, "bye")
    about = {"event": "bye", "of": more["id"], "dialog": more["dialog"], "catch_up": "probe"}
    report(room, "readmit_device", to, "200", **about)
    go_on(room)
    assert len(ended(room)) == 1
    assert kept(room) == {}
    assert not room.redis.exists(keys.probes(SHARD), keys.probe_waits(SHARD))


def test_a_message_that_was_missed_is_the_probe(room: Shard) -> None:
    """One request shows whether the user is back; the BYE follows."""
    other = "chat-001@example.org"
    opened_with(room, BOBS, room=other)
    handle(room, "message", ALICE, other, device=PHONE)
    ((_, more),) = named(room, "message")
    of = more["id"]
    report(room, "mark_away", AWAY, "480", other, event="message", history_id=of, user=ALICE)
    assert probe(room) == 1
    assert ended(room) == []
    report(room, "welcome_back", AWAY, "200", other, event="message", history_id=of, user=ALICE)
    assert ended(room) == [(AWAY, BOBS)]


def test_the_probes_go_on_after_another_device_has_caught_up(room: Shard) -> None:
    """It ends the absence in the last room where its user was away."""
    other = "chat-001@example.org"
    opened_with(room, BOBS_OTHER, room=other)
    handle(room, "message", ALICE, other, device=PHONE)
    ((to, more),) = named(room, "message")
    report(room, "mark_away", to, "480", other, event="message", history_id=more["id"], user=ALICE)
    leading = room.redis.xadd(
        keys.events(SHARD), {"event": "catch_up", "room": other, "to": to, "from": other, "data": ""}
    )
    room.redis.hset(room.keys.room(SHARD, other), f"returning:{to}", leading)
    assert room.run("hand_out", *room.call_hand_out(leading.decode(), to, other)) == 1
    assert decoded(room.redis.zrange(keys.probes(SHARD), 0, -1)) == [BOB]


def test_a_room_that_is_gone_is_no_reason_to_go_on_showing_it(shard: Shard) -> None:
    opened_with(shard, BOBS)
    handle(shard, "destroy", ALICE)
    found_nobody(shard)
    come_online(shard)
    assert ended(shard) == [(AWAY, BOBS)]
    assert not shard.exists()


@pytest.mark.parametrize("how", ["enter_conference", "subscribe", "admit_device"])
def test_a_device_that_has_entered_again_gets_no_bye(room: Shard, how: str) -> None:
    """Before or after the BYE of its former stay has found nobody."""
    about = {"event": "bye", "of": "1-1", "dialog": dialog("late")}
    room.ask("add", ALICE, user=BOB)
    named(room, "invite")
    for _ in range(2):
        if how == "enter_conference":
            handle(room, how, BOB, device=BOBS, dialog=dialog("new"))
        elif how == "subscribe":
            subscribe(room, BOBS)
        else:
            accept(room, BOBS, by=BOBS)
        assert kept(room) == {}
        named(room, "bye")
        report(room, "keep_farewell", AWAY, "480", **about)
        assert kept(room) == {}
        assert len([device for device in devices(room) if device.startswith(BOB)]) == 1


@pytest.mark.parametrize("how", ["enter_conference", "600 0 list", "600 0"])
@pytest.mark.parametrize("name", [AWAY, BOBS])
def test_a_device_that_enters_again_keeps_its_name(shard: Shard, name: str, how: str) -> None:
    """Its own INVITE does not say it, nor does a SUBSCRIBE to several rooms. One to this room does."""
    shard.settings["history_max_messages"] = 500
    opened(shard, BOB, CAROL)
    accept(shard, BOBS, by=BOB if name == AWAY else BOBS)
    handle(shard, "remove", ALICE, user=BOB)
    found_nobody(shard)
    assert list(kept(shard)) == [f"{ROOM} {name}"]
    handle(shard, "add", ALICE, user=BOB)  # by a command, so without an INVITE
    fields = {"device": BOBS, "dialog": dialog("new", remote_uri=f"sip:{BOBS}")}
    if how == "enter_conference":
        handle(shard, how, BOB, **fields)
    else:
        handle(shard, "subscribe", BOB, **fields, detail=how)
    named_itself = how == "600 0"
    assert [device for device in devices(shard) if device.startswith(BOB)] == [BOBS if named_itself else name]
    assert kept(shard) == {}


def test_a_user_who_was_added_again_gets_the_bye_before_the_invite(room: Shard) -> None:
    """Linphone would end its session, and with it the new stay, if it was invited to a room that it shows."""
    handle(room, "add", ALICE, user=BOB, dialog=dialog("alice"), device=PHONE)
    ((_, bye, missed), (_, to, more)) = [each for each in events(room) if each[0] in {"bye", "invite"}]
    about = {"event": "bye", "of": missed["id"], "dialog": missed["dialog"]}
    report(room, "keep_farewell", bye, "480", **about)
    report(room, "mark_away", to, "480", event="invite", of=more["id"], user=ALICE)
    come_online(room)
    order = [
        fields["event"]
        for _, fields in decoded(room.redis.xrange(keys.events(SHARD)))
        if fields["event"] in {"bye", "catch_up"}
    ]
    assert order == ["bye", "catch_up"]


@pytest.mark.parametrize("device", ["", BOBS, BOBS_OTHER])
def test_a_device_that_missed_its_bye_gets_it_before_it_is_invited_again(room: Shard, device: str) -> None:
    """It may be back without a word, and Linphone leaves a room to which it is invited again."""
    if device:
        handle(room, "add", ALICE, user=BOB)  # by a command, so without an INVITE
        handle(room, "invite_device", BOB, device=device)
    else:
        handle(room, "add", ALICE, user=BOB, dialog=dialog("alice"), device=PHONE)
    found = [(name, to) for name, to, _ in events(room) if name in {"bye", "invite"}]
    bye = [] if device == BOBS_OTHER else [("bye", AWAY)]
    assert found == [*bye, ("invite", device or BOB)]
    assert kept(room) == ({} if bye else {f"{ROOM} {AWAY}": dialog(BOBS)})


def test_a_device_does_not_enter_by_subscribe_while_its_bye_is_on_its_way(room: Shard) -> None:
    """It would be in the room, and would show it no longer. It is invited when it has got the BYE."""
    handle(room, "add", ALICE, user=BOB)
    come_online(room)
    subscribe(room, BOBS)
    assert [device for device in devices(room) if device.startswith(BOB)] == []
    assert ended(room) == [(AWAY, BOBS)]
    report(room, "readmit_device", AWAY, "200", event="bye")
    assert [to for to, _ in named(room, "invite")] == [BOBS]
    subscribe(room, BOBS, call_id="later")
    assert [device for device in devices(room) if device.startswith(BOB)] == [BOBS]


@pytest.mark.parametrize("names_itself", [True, False])
def test_a_bye_in_a_session_that_the_room_has_ended_ends_no_later_stay(
    room: Shard, names_itself: bool
) -> None:
    """The device was off when its user was removed, and leaves when its user is a member again."""
    handle(room, "add", ALICE, user=BOB)
    events(room)
    handle(room, "exit", BOB, dialog=dialog(BOBS), **({"device": BOBS} if names_itself else {}))
    assert BOB in room.members()
    assert kept(room) == {}
    assert invited(room) == [BOBS], "it shows the room no longer"
    handle(room, "exit", BOB, device=BOBS, dialog=dialog("another"))
    assert BOB in room.members(), "no device of bob has this session"


@pytest.fixture
def another(room: Shard) -> Shard:
    """Bob is a member again, and his other device is in the room."""
    handle(room, "add", ALICE, user=BOB)
    accept(room, BOBS_OTHER, by=BOBS_OTHER)
    events(room)
    return room


def invited(shard: Shard) -> list[str]:
    """Who was invited since the last time."""
    return [to for to, _ in named(shard, "invite")]


def got_bye(shard: Shard, device: str = AWAY, status: str = "200", **more: str) -> None:
    report(shard, "readmit_device", device, status, event="bye", of="1-1", dialog=dialog(BOBS), **more)


@pytest.mark.parametrize("status", ["200", "481", "403"])
def test_a_device_that_got_the_bye_of_an_earlier_stay_is_invited(another: Shard, status: str) -> None:
    """Its user is a member through another device. No REGISTER is needed, and no sign of the user follows."""
    come_online(another)
    ((to, _),) = ended(another)
    got_bye(another, to, status)
    assert invited(another) == [BOBS]
    assert another.redis.xlen(IN) == 0
    accept(another, BOBS, by=BOBS)
    assert {BOBS, BOBS_OTHER} <= set(devices(another))


def test_a_probe_finds_the_device_that_is_invited(another: Shard) -> None:
    assert probe(another) == 1
    ((to, _),) = ended(another)
    got_bye(another, to, catch_up="probe")
    assert invited(another) == [BOBS]
    go_on(another)
    assert not another.redis.exists(keys.probes(SHARD), keys.probe_waits(SHARD))


def test_a_device_that_got_the_bye_of_the_present_stay_is_not_invited(room: Shard) -> None:
    """Its user is no member, or the room is gone."""
    got_bye(room)
    handle(room, "invite", ALICE, user=BOB)
    events(room)
    got_bye(room)
    handle(room, "destroy", ALICE)
    events(room)
    got_bye(room)
    assert invited(room) == []


@pytest.mark.parametrize("device", [BOBS, BOB])
@pytest.mark.parametrize("is_settled", [False, True])
def test_a_device_that_may_get_another_invite_is_not_invited(
    another: Shard, device: str, is_settled: bool
) -> None:
    """One to it, or to its user. The report of its acceptance may wait, too. Linphone would accept both."""
    if device == BOB:
        handle(another, "remove", ALICE, user=BOB)
        handle(another, "add", ALICE, user=BOB, dialog=dialog("alice"), device=PHONE)
    else:
        handle(another, "invite_device", BOB, device=BOBS)
    if is_settled:
        ((_, invitation),) = named(another, "invite")
        entry = another.put("delivery_report", AWAY)
        another.put("delivery_report", device, of=invitation["id"], dialog=dialog("waits"))
        assert another.run("readmit_device", *another.command("readmit_device", entry, AWAY)) == "done"
    else:
        named_before = about(another, "invitation", device)
        got_bye(another)
        assert about(another, "invitation", device) == named_before
        assert invited(another) == [device]
    assert invited(another) == []


def test_a_device_that_is_in_the_room_or_has_no_place_is_not_invited(another: Shard) -> None:
    """One that had to give way, because its user has eight."""
    for number in range(7):
        name = f"{BOB};gr=urn:uuid:m{number}"
        accept(another, name, by=name)
    events(another)
    got_bye(another)
    got_bye(another, f"{BOB};gr=urn:uuid:m0")
    got_bye(another, BOBS_OTHER)
    assert invited(another) == []


@pytest.mark.parametrize("accepts", [True, False])
def test_a_device_that_has_lost_its_session_is_invited(another: Shard, accepts: bool) -> None:
    """It was started again. It cannot be told of the end in a new session. So there is no BYE before."""
    come_online(another)
    ((_, to, bye),) = [each for each in events(another) if each[0] == "bye"]
    report(another, "keep_farewell", to, "withdrawn", event="bye", of=bye["id"], dialog=bye["dialog"])
    found = events(another)
    assert [(name, who) for name, who, _ in found if name in {"bye", "invite"}] == [("invite", BOBS)]
    assert list(kept(another)) == [f"{ROOM} {AWAY}"]
    if accepts:
        accept(another, BOBS, by=BOBS)
        assert kept(another) == {}
    else:
        handle(another, "remove", ALICE, user=BOB)
        assert AWAY in [to for to, _ in ended(another)]


def lost_its_session(shard: Shard) -> None:
    """Bob is a member again when the BYE of his earlier stay finds a device that has lost its session."""
    handle(shard, "add", ALICE, user=BOB, dialog=dialog("alice"), device=PHONE)
    for to, fields in named(shard, "bye"):
        about = {"event": "bye", "of": fields["id"], "dialog": fields["dialog"]}
        report(shard, "keep_farewell", to, "withdrawn", **about)


def test_a_device_that_shows_an_earlier_stay_is_told_when_its_user_leaves(room: Shard) -> None:
    """It was not told meanwhile, because its user is a member, and its own INVITE has failed."""
    lost_its_session(room)
    come_online(room)
    assert probe(room) == 0
    assert ended(room) == []
    assert decoded(room.redis.zrange(keys.probes(SHARD), 0, -1)) == [BOB], (
        "the room may end, or an edge lose this"
    )
    handle(room, "remove", ALICE, user=BOB)
    ((to, call_id),) = ended(room)
    assert (to, call_id.startswith("gone-")) == (AWAY, True)
    assert kept(room) == {}


def test_a_device_that_shows_an_earlier_stay_of_a_room_that_ends_is_told(room: Shard) -> None:
    """By a sign of its user, or a probe."""
    lost_its_session(room)
    handle(room, "destroy", ALICE)
    assert AWAY not in [to for to, _ in ended(room)]
    assert probe(room) == 1
    assert [to for to, _ in ended(room)] == [AWAY]


def test_a_device_that_shows_an_earlier_stay_and_enters_is_not_told(room: Shard) -> None:
    lost_its_session(room)
    accept(room, BOBS, by=BOBS)
    assert kept(room) == {}


def removed_and_added(shard: Shard, status: str) -> None:
    """Bob's device has subscribed and misses the end of his stay. He is added again, and it accepts."""
    opened_with(shard, BOBS, CAROL)
    subscribe(shard, BOBS)
    contents(shard)
    handle(shard, "remove", ALICE, user=BOB)
    found = events(shard)
    ((_, to, bye),) = [each for each in found if each[0] == "bye"]
    about = {"event": "bye", "of": bye["id"], "dialog": bye["dialog"]}
    ((_, _, last),) = [each for each in found if each[0] == "notify"]
    report(shard, "settle_notify", to, "480", event="notify", of=last["id"])
    if status != "480":
        handle(shard, "add", ALICE, user=BOB, dialog=dialog("alice"), device=PHONE)
    report(shard, "keep_farewell", to, status, **about)
    if status == "480":
        handle(shard, "add", ALICE, user=BOB, dialog=dialog("alice"), device=PHONE)
        report(shard, "keep_farewell", to, status, **about)
    contents(shard)
    shard.settings["history_max_messages"] = 0
    accept(shard, BOBS, by=BOBS)


@pytest.mark.parametrize("status", ["480", "withdrawn"])
def test_a_device_that_has_missed_the_end_of_its_subscription_goes_on_with_it(
    shard: Shard, status: str
) -> None:
    """It does not subscribe again. Its next NOTIFY has the whole roster, and a later version."""
    removed_and_added(shard, status)
    ((to, content),) = notified(shard)
    assert (to, content["full"], content["version"]) == (BOBS, True, 3)
    report(shard, "settle_notify", BOBS, "200", event="notify", of=content["id"])
    handle(shard, "topic", ALICE, text="Dinner")
    assert [to for to, _ in notified(shard)] == [BOBS]


def added_again(shard: Shard) -> None:
    """Bob's device has subscribed, and misses the end of his stay. He is added again."""
    opened_with(shard, BOBS, CAROL)
    subscribe(shard, BOBS)
    contents(shard)
    handle(shard, "remove", ALICE, user=BOB)
    found_nobody(shard)
    handle(shard, "add", ALICE, user=BOB)


@pytest.mark.parametrize("status", ["withdrawn", "481", "480", "200"])
def test_a_device_that_accepts_before_it_gets_the_bye_goes_on_with_its_subscription(
    shard: Shard, status: str
) -> None:
    """It was not there when the BYE was sent, and the INVITE to its user was. It knows the session no more.

    If it knows it, it has left.
    """
    added_again(shard)
    come_online(shard)
    ((to, bye),) = named(shard, "bye")
    shard.settings["history_max_messages"] = 0
    accept(shard, BOBS, by=BOBS)
    about = {"event": "bye", "of": bye["id"], "dialog": bye["dialog"]}
    script = "readmit_device" if status in {"200", "481"} else "keep_farewell"
    contents(shard)
    for entry in rosters(shard):
        shard.redis.xdel(OUT, entry)
    report(shard, script, to, status, **about)
    found = [(to, content["full"]) for to, content in notified(shard)]
    assert found == ([] if status == "200" else [(BOBS, True)])


def subscribed_and_away(shard: Shard) -> str:
    """As `added_again`; gives the dialog of the BYE that the device has not got."""
    added_again(shard)
    events(shard)
    shard.settings["history_max_messages"] = 0
    return kept(shard)[f"{ROOM} {AWAY}"]


def resumed(shard: Shard) -> list[tuple[str, bool]]:
    """Who gets a NOTIFY in the dialog of its earlier subscription, and whether that is full."""
    return [
        (to, json.loads(more["detail"])["full"])
        for to, more in named_after_rosters(shard)
        if json.loads(more["dialog"])["call_id"] == f"s {BOBS}"
    ]


def named_after_rosters(shard: Shard) -> list[tuple[str, dict[str, str]]]:
    for entry in rosters(shard):
        shard.run("notify_devices", *call_notify(shard, entry))
    return named(shard, "notify")


@pytest.mark.parametrize("by", ["", BOBS])
@pytest.mark.parametrize("how", ["bye", "481"])
def test_a_device_that_accepts_goes_on_with_its_subscription_whatever_comes_first(
    shard: Shard, how: str, by: str
) -> None:
    """It accepts an INVITE. Before the report, it ends its earlier session by BYE, or refuses ours."""
    of_bye = subscribed_and_away(shard)
    if by:
        handle(shard, "invite_device", BOB, device=BOBS)
    if how == "bye":
        shard.redis.hset(keys.farewells(SHARD, BOB), f"{ROOM} {AWAY}", of_bye)
        handle(shard, "exit", BOB, dialog=dialog(BOBS))
    else:
        come_online(shard)
        report(shard, "readmit_device", AWAY, "481", event="bye", of="1-1", dialog=of_bye)
    assert BOB in shard.members()
    assert kept(shard) == {}
    assert resumed(shard) == [], "it is not in the room yet"
    accept(shard, BOBS, by=by)
    name = by or AWAY
    assert resumed(shard) == [(name, True)]
    report(shard, "settle_notify", name, "200", event="notify", of=pending(shard, name))
    handle(shard, "topic", ALICE, text="Dinner")
    assert resumed(shard) == [(name, False)]


def pending(shard: Shard, name: str) -> str:
    return str(json.loads(about(shard, "subscription", name) or "")["pending"])


@pytest.mark.parametrize("how", ["bye", "481"])
def test_a_device_of_a_user_who_is_no_member_keeps_no_subscription(shard: Shard, how: str) -> None:
    of_bye = subscribed_and_away(shard)
    handle(shard, "remove", ALICE, user=BOB)
    events(shard)
    shard.redis.hset(keys.farewells(SHARD, BOB), f"{ROOM} {AWAY}", of_bye)
    if how == "bye":
        handle(shard, "exit", BOB, dialog=dialog(BOBS))
    else:
        report(shard, "readmit_device", AWAY, "481", event="bye", of="1-1", dialog=of_bye)
    assert about(shard, "subscription", BOBS) is None


@pytest.mark.parametrize("is_before", [False, True])
def test_a_subscription_that_its_device_has_ended_does_not_go_on(shard: Shard, is_before: bool) -> None:
    """When its user leaves, the device ends it before its session; if that got no ACK, after it."""
    subscribed_and_away(shard)
    if is_before:
        subscribe(shard, BOBS, seconds=0)
    handle(shard, "exit", BOB, dialog=dialog(BOBS))
    assert (about(shard, "subscription", BOBS) is None) is is_before
    if not is_before:
        subscribe(shard, BOBS, seconds=0)
    events(shard)
    accept(shard, BOBS, by=BOBS)
    assert resumed(shard) == []


def test_the_bye_of_a_later_session_keeps_the_subscription_of_an_earlier_one(shard: Shard) -> None:
    """The device has accepted an INVITE that counts no more, and misses the BYE of both sessions."""
    subscribed_and_away(shard)
    report(shard, "keep_farewell", AWAY, "480", event="bye", of="1-1", dialog=dialog("later"))
    of_bye = json.loads(kept(shard)[f"{ROOM} {AWAY}"])
    assert (of_bye["call_id"], of_bye["routes"]) == ("later", [])
    accept(shard, BOBS)
    assert resumed(shard) == [(AWAY, True)]


def test_a_device_whose_notify_has_found_nobody_before_it_was_let_in_is_there(shard: Shard) -> None:
    """It has subscribed before the report of its acceptance, and lost its network for a moment."""
    opened_with(shard, BOBS_OTHER, CAROL)
    handle(shard, "remove", ALICE, user=BOB)
    handle(shard, "add", ALICE, user=BOB, dialog=dialog("alice"), device=PHONE)
    subscribe(shard, BOBS)
    content = dict(contents(shard))[BOBS]
    report(shard, "settle_notify", BOBS, "480", event="notify", of=content["id"])
    shard.settings["history_max_messages"] = 0  # it has missed nothing
    accept(shard, BOBS)
    assert [(to, content["full"]) for to, content in notified(shard)] == [(AWAY, True)]


@pytest.mark.parametrize("status", ["480", "withdrawn"])
def test_a_user_who_leaves_before_the_subscription_goes_on_leaves_an_empty_roster(
    shard: Shard, status: str
) -> None:
    """The device has missed the NOTIFY before. RFC 4575 §4.4: it cannot apply a change."""
    removed_and_added(shard, status)
    handle(shard, "remove", ALICE, user=BOB)
    ((to, content),) = contents(shard)
    assert (to, content["full"], content["users"], content["terminated"]) == (BOBS, True, [], "noresource")


def test_a_subscription_that_the_device_has_ended_after_all_ends(shard: Shard) -> None:
    """It says so; and if it has subscribed before it was let in, that subscription counts."""
    removed_and_added(shard, "480")
    ((_, content),) = notified(shard)
    report(shard, "settle_notify", BOBS, "481", event="notify", of=content["id"])
    handle(shard, "topic", ALICE, text="Dinner")
    assert notified(shard) == []


def test_a_subscription_that_was_refused_is_resumed_when_its_device_did_not_hear_of_that(
    shard: Shard,
) -> None:
    """It asks for its rosters when its user is no member, and is away when it is told so."""
    opened_with(shard, BOBS, CAROL)
    handle(shard, "remove", ALICE, user=BOB)
    events(shard)
    fields = {"device": BOBS, "dialog": dialog("asked"), "detail": "600 0 list"}
    handle(shard, "subscribe", BOB, **fields)
    for _ in range(2):
        found_nobody(shard)
        handle(shard, "add", ALICE, user=BOB, dialog=dialog("alice"), device=PHONE)
    shard.settings["history_max_messages"] = 0
    accept(shard, BOBS, by=BOBS)
    subscription = json.loads(about(shard, "subscription", BOBS) or "{}")
    assert json.loads(subscription["dialog"])["call_id"] == "asked"
    assert [to for to, _ in notified(shard)] == [BOBS]


def test_a_new_subscription_counts_and_not_the_one_before(shard: Shard) -> None:
    removed_and_added(shard, "480")
    subscribe(shard, BOBS, call_id="new")
    ((_, content),) = contents(shard)
    assert content["full"] is True
    assert about(shard, "subscription", BOBS) != ""
    assert (
        json.loads(json.loads(about(shard, "subscription", BOBS) or "")["dialog"])["call_id"] == f"new {BOBS}"
    )


def test_the_farewells_of_one_user_are_few(room: Shard) -> None:
    """A further device learns it when it asks for its rosters."""
    for number in range(120):
        about = {"event": "bye", "of": "1-1", "dialog": dialog("d")}
        report(room, "keep_farewell", f"{BOB};gr={number}", "480", **about)
    assert len(kept(room)) == 100


def test_the_bye_of_a_forgotten_user_is_not_kept(shard: Shard) -> None:
    """Nor is the user probed for it."""
    opened_with(shard, BOBS, CAROL)
    handle(shard, "remove", ALICE, user=BOB)
    shard.redis.set(keys.forgotten(SHARD, BOB), 1)
    found_nobody(shard)
    assert kept(shard) == {}
    assert not shard.redis.exists(keys.probes(SHARD))
