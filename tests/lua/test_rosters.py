"""subscribe, notify_devices, settle_notify: what devices see of the members.

Covers roster.py.
"""

from __future__ import annotations

import json

import pytest

from imc_common import keys
from tests.lua.conference import (
    BOBS,
    CAROLS,
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
from tests.lua.shard import ALICE, BOB, CAROL, DAVE, OUT, ROOM, SHARD, Shard

EVE = "eve@example.org"


@pytest.fixture
def room(shard: Shard) -> Shard:
    """A room made by Alice's phone, which sees the roster; Bob was asked by INVITE."""
    opened(shard, BOB)
    subscribe(shard, PHONE)
    ((_, first),) = contents(shard)
    settled(shard, PHONE, first["id"])
    return shard


def settled(shard: Shard, device: str, of: str, status: str = "200") -> None:
    """The NOTIFY has ended so."""
    report(shard, "settle_notify", device, status, event="notify", of=of)


def add(shard: Shard, *users: str) -> None:
    for user in users:
        handle(shard, "add", ALICE, user=user)


def test_a_subscriber_gets_the_whole_roster_at_once(shard: Shard) -> None:
    """Users with roles and devices, the subject, and when the room was made."""
    opened(shard, BOB)
    accept(shard, BOBS)
    events(shard)
    subscribe(shard, PHONE)
    ((device, content),) = contents(shard)
    created = int(shard.redis.hget(shard.keys.room(SHARD, ROOM), "created_at") or 0)
    del content["id"]
    assert (device, content) == (
        PHONE,
        {
            "full": True,
            "version": 1,
            "subject": "Lunch",
            "created_at": created,
            "users": [[ALICE, "owner", [PHONE], []], [BOB, "member", [BOBS], []]],
            "terminated": "",
        },
    )


def test_changes_of_a_moment_are_one_notify(room: Shard) -> None:
    """The next version; who was added and removed again is not told of: nobody has seen that user."""
    add(room, CAROL, DAVE, EVE)
    handle(room, "remove", ALICE, user=EVE)
    handle(room, "topic", ALICE, text="Dinner")
    handle(room, "modify", ALICE, user=CAROL, role="admin")
    assert len(rosters(room)) == 1
    ((device, content),) = notified(room)
    users = [[CAROL, "admin", [], []], [DAVE, "member", [], []]]
    assert (device, content["full"], content["version"]) == (PHONE, False, 2)
    assert (content["users"], content["subject"]) == (users, "Dinner")
    assert rosters(room) == []


def test_only_what_a_subscriber_has_seen_is_told_as_deleted(room: Shard) -> None:
    """RFC 4575 §4.6. Whoever comes back and leaves again is told once to those who have seen it before."""
    handle(room, "remove", ALICE, user=BOB)
    ((device, content),) = notified(room)
    assert content["users"] == [[BOB, "deleted", [], []]]
    settled(room, device, content["id"])
    add(room, BOB)
    accept(room, BOBS)
    handle(room, "remove", ALICE, user=BOB)
    assert [content["users"] for _, content in notified(room)] == [[]]


def test_a_notify_tells_what_has_changed_since_the_last(room: Shard) -> None:
    add(room, CAROL)
    ((_, content),) = notified(room)
    settled(room, PHONE, content["id"])
    add(room, DAVE)
    ((_, content),) = notified(room)
    assert (content["version"], [user for user, *_ in content["users"]]) == (3, [DAVE])
    assert "subject" not in content


def test_while_a_notify_is_in_flight_the_next_one_waits_for_its_report(room: Shard) -> None:
    """Also if the change came first."""
    add(room, CAROL)
    (entry,) = rosters(room)
    assert room.run("notify_devices", *call_notify(room, entry)) == 1
    add(room, DAVE)
    (entry,) = rosters(room)
    assert room.run("notify_devices", *call_notify(room, entry)) == 0
    ((_, content),) = contents(room)
    settled(room, PHONE, content["id"])
    ((_, content),) = notified(room)
    assert (content["version"], [user for user, *_ in content["users"]]) == (3, [DAVE])
    settled(room, PHONE, content["id"])
    assert rosters(room) == []


@pytest.mark.parametrize(("status", "full"), [("200", False), ("403", True)])
def test_while_the_report_of_a_notify_waits_for_a_worker_the_next_one_waits(
    room: Shard, status: str, *, full: bool
) -> None:
    """It says whether the device has seen that version. If not, a partial roster would skip one."""
    add(room, CAROL)
    ((_, content),) = notified(room)
    add(room, DAVE)
    about = {"status": status, "event": "notify", "of": content["id"]}
    entry_id = room.put("delivery_report", PHONE, ROOM, **about)
    assert notified(room) == []
    assert room.run("settle_notify", *room.command("settle_notify", entry_id, PHONE, ROOM)) == "done"
    if full:
        add(room, EVE)
    ((_, content),) = notified(room)
    assert (content["version"], content["full"]) == (3, full)
    assert DAVE in [user for user, *_ in content["users"]]


def test_after_a_notify_that_got_lost_the_whole_roster_follows(room: Shard) -> None:
    """An edge could not read its event, and put it among the dead letters."""
    add(room, CAROL)
    notified(room)
    add(room, DAVE)
    ((_, content),) = notified(room)
    assert (content["version"], content["full"], len(content["users"])) == (3, True, 4)


def test_a_late_report_of_an_older_notify_does_not_hide_that_the_last_one_has_failed(room: Shard) -> None:
    """Reports may come in another order after an outage of Redis."""
    accept(room, BOBS, by=BOBS)
    subscribe(room, BOBS)
    older = contents(room)[-1][1]
    subscribe(room, BOBS, last=1)
    ((_, last),) = contents(room)
    settled(room, BOBS, last["id"], "403")
    settled(room, BOBS, older["id"])
    handle(room, "remove", ALICE, user=BOB)
    content = dict(contents(room))[BOBS]
    assert (content["version"], content["full"], content["terminated"]) == (3, True, "noresource")


def test_an_event_is_handled_once(room: Shard) -> None:
    add(room, CAROL)
    (entry,) = rosters(room)
    assert room.run("notify_devices", *call_notify(room, entry)) == 1
    before = room.dump()
    assert room.run("notify_devices", *call_notify(room, entry)) == "gone"
    assert room.dump() == before


def test_devices_that_come_and_go_are_changes_of_their_user(room: Shard) -> None:
    accept(room, BOBS)
    ((_, content),) = notified(room)
    assert content["users"] == [[BOB, "member", [BOBS], []]]


@pytest.mark.parametrize("status", ["403", "603"])
def test_who_has_refused_gets_the_whole_roster_next(room: Shard, status: str) -> None:
    """And the version goes on by one. Who was not reached is in test_missed_notify.py."""
    add(room, CAROL)
    ((_, content),) = notified(room)
    settled(room, PHONE, content["id"], status)
    assert rosters(room) == []
    add(room, DAVE)
    ((_, content),) = notified(room)
    assert (content["version"], content["full"], len(content["users"])) == (3, True, 4)


def notify_events(room: Shard) -> list[dict[str, str]]:
    return [fields for name, _, fields in events(room) if name == "notify"]


def test_after_a_500_it_is_tried_with_higher_numbers(room: Shard) -> None:
    """An edge whose clock was ahead has sent before. The numbers stay high, also after a refresh."""
    add(room, CAROL)
    for version, lift in enumerate((0, 1000, 10_000), 2):
        for entry in rosters(room):
            room.run("notify_devices", *call_notify(room, entry))
        (sent,) = notify_events(room)
        assert (json.loads(sent["detail"])["version"], json.loads(sent["dialog"])["lift"]) == (version, lift)
        settled(room, PHONE, sent["id"], "500" if lift < 10_000 else "200")
    assert notified(room) == []
    subscribe(room, PHONE, last=4)
    (sent,) = notify_events(room)
    assert json.loads(sent["dialog"])["lift"] == 10_000
    subscribe(room, PHONE, last=5, call_id="another")
    (sent,) = notify_events(room)
    assert json.loads(sent["dialog"])["lift"] == 0


def test_a_client_that_responds_500_to_everything_is_tried_six_times(room: Shard) -> None:
    """And once for each later change."""
    add(room, CAROL)
    for _ in range(6):
        ((_, content),) = notified(room)
        settled(room, PHONE, content["id"], "500")
    assert notified(room) == []
    add(room, DAVE)
    ((_, content),) = notified(room)
    settled(room, PHONE, content["id"], "500")
    assert notified(room) == []


@pytest.mark.parametrize("status", ["481", "489", "405"])
def test_a_subscription_that_the_client_does_not_know_ends(room: Shard, status: str) -> None:
    add(room, CAROL)
    ((_, content),) = notified(room)
    settled(room, PHONE, content["id"], status)
    assert about(room, "subscription", PHONE) is None
    add(room, DAVE)
    assert notified(room) == []


def test_an_older_subscribe_that_comes_late_does_not_end_the_later_subscription(room: Shard) -> None:
    """The client has given the older one up, and gets the whole roster in the other."""
    subscribe(room, PHONE, last=1, call_id="later")
    ((_, later),) = contents(room)
    subscribe(room, PHONE, last=1, call_id="older")
    ((_, older),) = contents(room)
    settled(room, PHONE, later["id"])
    settled(room, PHONE, older["id"], "481")
    ((to, content),) = notified(room)
    assert (to, content["full"], content["version"]) == (PHONE, True, 4)
    assert "later" in json.loads(str(about(room, "subscription", PHONE)))["dialog"]
    settled(room, PHONE, content["id"], "481")
    assert about(room, "subscription", PHONE) is None


def test_an_older_subscription_that_comes_late_and_ends_does_not_end_the_later_one(room: Shard) -> None:
    """The client has ended the older one. The SUBSCRIBE before that was overtaken."""
    subscribe(room, PHONE, last=1, call_id="later")
    ((_, later),) = contents(room)
    settled(room, PHONE, later["id"])
    for seconds in (600, 0):
        subscribe(room, PHONE, seconds, last=1, call_id="older")
    contents(room)
    ((to, content),) = notified(room)
    assert (to, content["full"], content["version"]) == (PHONE, True, 5)
    assert "later" in json.loads(str(about(room, "subscription", PHONE)))["dialog"]
    settled(room, PHONE, content["id"])
    subscribe(room, PHONE, 0, last=5, call_id="later")
    assert about(room, "subscription", PHONE) is None


def test_a_subscription_that_was_used_does_not_give_way_again(room: Shard) -> None:
    """Its NOTIFY was accepted, so the one before is over."""
    subscribe(room, PHONE, last=1, call_id="later")
    ((_, content),) = contents(room)
    settled(room, PHONE, content["id"])
    add(room, CAROL)
    ((_, content),) = notified(room)
    settled(room, PHONE, content["id"], "481")
    assert about(room, "subscription", PHONE) is None


def test_a_late_report_of_an_older_notify_ends_nothing(room: Shard) -> None:
    """But what it failed to tell is told again, in the next full one."""
    settled(room, PHONE, "1-1", "481")
    settled(room, PHONE, "1-1", "200")
    add(room, CAROL)
    ((_, content),) = notified(room)
    assert content["full"] is False
    settled(room, PHONE, "1-1", "408")
    settled(room, PHONE, content["id"])
    add(room, DAVE)
    ((_, content),) = notified(room)
    assert content["full"] is True


def test_a_client_that_was_started_again_gets_what_it_has_not_seen(room: Shard) -> None:
    """If it has the latest version; from any other it gets the whole roster. The version never goes back."""
    add(room, CAROL)
    for last, full, version in ((1, False, 2), (2, False, 3), (2, True, 4), (9, True, 10)):
        subscribe(room, PHONE, last=last, call_id=f"new {version}")
        ((_, content),) = contents(room)
        assert (content["full"], content["version"]) == (full, version)


def test_a_refresh_is_answered_with_the_changes(room: Shard) -> None:
    subscribe(room, PHONE, last=1)
    ((_, content),) = contents(room)
    assert (content["version"], content["full"], content["users"]) == (2, False, [])


def test_a_notify_says_how_long_the_subscription_lasts(room: Shard) -> None:
    """Not until when: an edge's clock may be wrong."""
    subscribe(room, PHONE, 600, last=1)
    ((_, more),) = named(room, "notify")
    assert 590 < json.loads(more["dialog"])["expires_in"] <= 600


@pytest.mark.parametrize("known", [True, False])
def test_the_end_of_a_subscription_is_answered_with_the_roster(room: Shard, known: bool) -> None:
    """Without a subscription this is a fetch (RFC 6665 §4.4.3)."""
    if not known:
        room.redis.hdel(room.keys.room(SHARD, ROOM), f"subscription:{PHONE}")
    subscribe(room, PHONE, 0)
    ((_, content),) = contents(room)
    assert (content["terminated"], content["full"]) == ("timeout", True)
    assert about(room, "subscription", PHONE) is None
    add(room, CAROL)
    assert notified(room) == []


def test_the_end_of_an_older_subscription_does_not_end_its_successor(room: Shard) -> None:
    subscribe(room, PHONE, last=1, call_id="successor")
    subscribe(room, PHONE, 0, last=2)
    first, last = contents(room)
    assert (first[1]["terminated"], last[1]["terminated"]) == ("", "timeout")
    add(room, CAROL)
    ((_, content),) = notified(room)
    assert content["version"] == 4


def leave_older(room: Shard, how: str) -> None:
    """Bob's device has version 1 by a subscription, and a later one that gets the versions after that."""
    subscribe(room, BOBS, call_id="older")
    ((_, content),) = contents(room)
    settled(room, BOBS, content["id"])
    subscribe(room, BOBS, last=1, call_id="later")
    ((_, content),) = contents(room)
    if how == "is unknown":
        settled(room, BOBS, content["id"], "481")
    elif how == "ends":
        subscribe(room, BOBS, 0, last=1, call_id="later")
    else:
        settled(room, BOBS, content["id"])
        subscribe(room, BOBS, 0, last=2, call_id="older")
    for _, content in contents(room):
        settled(room, BOBS, content["id"], "481")


@pytest.mark.parametrize("how", ["ends", "is unknown", "replaces"])
@pytest.mark.parametrize("leaves", [True, False])
def test_a_dialog_that_lacks_the_version_before_gets_a_full_notify(
    room: Shard, how: str, leaves: bool
) -> None:
    """RFC 4575 §4.4. The version before went to another dialog, which the device does not know any more."""
    accept(room, BOBS, by=BOBS)
    room.redis.hset(keys.devices(SHARD, ROOM), BOBS, "device")
    leave_older(room, how)
    before = json.loads(str(about(room, "subscription", BOBS)))["version"]
    if leaves:  # before an edge makes the NOTIFY that goes on
        handle(room, "remove", ALICE, user=BOB)
        told = dict(contents(room))[BOBS]
        assert (told["terminated"], told["users"]) == ("noresource", [])
    else:
        add(room, CAROL)
        told = dict(notified(room))[BOBS]
    assert (told["full"], told["version"]) == (True, before + 1)


@pytest.mark.parametrize("user", [EVE, DAVE])
def test_others_than_members_learn_nothing(room: Shard, user: str) -> None:
    """Their subscription ends at once."""
    room.ask("invite", ALICE, user=DAVE)
    events(room)
    subscribe(room, f"{user};gr=1")
    ((device, content),) = contents(room)
    assert (device, content["terminated"], content["users"]) == (f"{user};gr=1", "noresource", [])
    assert about(room, "subscription", device) is None


def test_what_is_said_to_others_than_members_takes_no_version(room: Shard) -> None:
    """A device that was removed may be in the room again before it gets that, and then gets the roster."""
    subscribe(room, BOBS, call_id="first")
    ((_, content),) = contents(room)
    settled(room, BOBS, content["id"])
    handle(room, "remove", ALICE, user=BOB)
    contents(room)
    subscribe(room, BOBS, last=2, call_id="second")
    ((_, told),) = contents(room)
    add(room, BOB)
    contents(room)
    subscribe(room, BOBS, last=2, call_id="third")
    ((_, roster),) = contents(room)
    assert (told["terminated"], told["full"], told["version"]) == ("noresource", False, 2)
    assert (roster["terminated"], roster["full"], roster["version"]) == ("", True, 3)


@pytest.mark.parametrize("where", [ROOM, "chat-404@example.org"])
def test_a_client_that_missed_its_removal_is_told(room: Shard, where: str) -> None:
    """It asks for all rooms that it knows. A room that does not exist looks the same.

    BYE comes in a dialog that the client does not know, so an edge makes one to end it.
    """
    device = f"{EVE};gr=1"
    fields = {"device": device, "dialog": dialog("x")}
    handle(room, "subscribe", EVE, where, **fields, detail="600 7 list")
    found = events(room)
    assert [(name, to) for name, to, _ in found] == [("notify", device), ("bye", device)]
    assert json.loads(found[0][2]["detail"])["terminated"] == "noresource"
    sent_in = json.loads(found[1][2]["dialog"])
    assert (sent_in["call_id"] != "x", sent_in["remote_tag"]) == (True, "r")
    handle(room, "subscribe", EVE, where, **fields, detail="0 7 list")
    handle(room, "subscribe", BOB, where, **fields, detail="600 7 list")
    assert "bye" not in [name for name, _, _ in events(room)]


def test_nobody_subscribes_for_the_device_of_another_user(room: Shard) -> None:
    fields = {"device": PHONE, "dialog": dialog("x"), "detail": "600 0"}
    handle(room, "subscribe", BOB, **fields)
    assert [content["terminated"] for _, content in contents(room)] == ["noresource"]
    add(room, CAROL)
    assert [device for device, _ in notified(room)] == [PHONE]


def test_a_subscription_may_come_before_the_report_of_the_invite(room: Shard) -> None:
    """The client subscribes as soon as it has answered. The changes since are told in full."""
    room.settings["history_max_messages"] = 0
    invite = room.redis.xadd(OUT, {"event": "invite", "room": ROOM, "from": ALICE, "to": BOB, "data": ""})
    room.redis.hset(room.keys.room(SHARD, ROOM), f"invitation:{BOB}", invite)
    subscribe(room, BOBS)
    assert [device for device, _ in contents(room)] == [BOBS]
    assert BOBS not in devices(room)
    accept(room, BOBS)
    told = dict(notified(room))
    assert told[f"{BOBS};aor"]["full"] is True
    assert told[f"{BOBS};aor"]["version"] == 2
    assert about(room, "subscription", BOBS) is None


def test_a_member_keeps_eight_subscriptions_of_devices_that_have_not_entered(room: Shard) -> None:
    """Here because all eight places are taken. They end with the membership."""
    room.settings["history_max_messages"] = 0
    for number in range(20):
        subscribe(room, f"{BOB};gr={number}")
    fields = room.redis.hkeys(room.keys.room(SHARD, ROOM))
    kept = [field for field in fields if field.startswith(b"subscription:bob")]
    assert (len(kept), len(devices(room))) == (16, 9)
    assert f"subscription:{BOB};gr=19".encode() in kept
    handle(room, "remove", ALICE, user=BOB)
    assert [field for field in room.redis.hkeys(room.keys.room(SHARD, ROOM)) if b"bob" in field] == []


def test_a_client_with_a_new_name_enters_when_it_subscribes(room: Shard) -> None:
    """It was installed again and still knows the room. It gets what was said since its user has joined."""
    room.settings["history_max_messages"] = 500
    accept(room, BOBS)
    handle(room, "message", ALICE, device=PHONE)
    events(room)
    subscribe(room, f"{BOB};gr=new", last=7)
    assert devices(room)[f"{BOB};gr=new"] == "device away"
    told = events(room)
    assert [(name, to) for name, to, _ in told] == [
        ("catch_up", f"{BOB};gr=new"),
        ("notify", f"{BOB};gr=new"),
    ]
    assert f"{BOB};gr=new" in told[1][2]["detail"]


def test_an_expired_subscription_is_removed(room: Shard) -> None:
    """The device is told: it may be there, and a clock may have been ahead for a moment."""
    name = room.keys.room(SHARD, ROOM)
    text = about(room, "subscription", PHONE) or ""
    room.redis.hset(name, f"subscription:{PHONE}", text.replace('"expires_at":1', '"expires_at":0.1'))
    add(room, CAROL)
    ((to, content),) = notified(room)
    assert (to, content["terminated"], content["version"]) == (PHONE, "timeout", 2)
    assert about(room, "subscription", PHONE) is None
    subscribe(room, PHONE, last=2)
    ((_, content),) = contents(room)
    assert content["version"] == 3


def test_a_device_that_may_lack_a_notify_gets_the_whole_roster_with_the_last_one(room: Shard) -> None:
    """That before is in flight: a partial roster would be of no use without it."""
    subscribe(room, PHONE, last=1)
    contents(room)
    name = room.keys.room(SHARD, ROOM)
    text = about(room, "subscription", PHONE) or ""
    room.redis.hset(name, f"subscription:{PHONE}", text.replace('"expires_at":1', '"expires_at":0.1'))
    add(room, CAROL)
    ((_, content),) = notified(room)
    assert (content["terminated"], content["full"]) == ("timeout", True)


def test_a_device_that_is_away_is_not_told_that_its_subscription_has_expired(room: Shard) -> None:
    """It subscribes when it is back."""
    room.redis.hset(keys.devices(SHARD, ROOM), PHONE, "device away")
    text = about(room, "subscription", PHONE) or ""
    over = text.replace('"expires_at":1', '"expires_at":0.1')
    room.redis.hset(room.keys.room(SHARD, ROOM), f"subscription:{PHONE}", over)
    add(room, CAROL)
    assert notified(room) == []
    assert about(room, "subscription", PHONE) is None


def test_the_janitor_removes_subscriptions_that_are_over(room: Shard) -> None:
    """Where nothing changes, nobody else looks at them; also those of devices that have not entered."""
    name = room.keys.room(SHARD, ROOM)
    subscribe(room, PHONE)
    over = (about(room, "subscription", PHONE) or "").replace('"expires_at":1', '"expires_at":0.1')
    room.redis.hset(name, f"subscription:{BOBS}", over)
    where = [OUT, name, room.keys.members(SHARD, ROOM)]
    assert room.run("expire_subscriptions", where, [ROOM]) == 1
    assert room.run("expire_subscriptions", where, [ROOM]) == 0
    assert about(room, "subscription", BOBS) is None
    assert about(room, "subscription", PHONE) is not None
    assert int(room.redis.hget(name, "last_version") or 0) > 0, "the next one goes on with its version"


def test_a_device_that_is_away_is_notified_when_it_is_back(room: Shard) -> None:
    """After what it has missed."""
    room.settings["history_max_messages"] = 500
    handle(room, "message", BOB)
    (of,) = [more["id"] for name, _, more in events(room) if name == "message"]
    report(room, "mark_away", PHONE, "480", event="message", history_id=of, user=BOB)
    add(room, CAROL)
    assert notified(room) == []
    entry_id = room.put("user_online", ALICE, ALICE)
    assert room.run("call_user_back", *room.call_online(entry_id, ALICE)) == "done"
    (item,) = [more["id"] for name, to, more in events(room) if (name, to) == ("catch_up", PHONE)]
    room.redis.xadd("imc:{3}:out", {"event": "catch_up", "room": ROOM, "to": PHONE, "from": ROOM, "data": ""})
    ((item, _),) = room.redis.xrange("imc:{3}:out")
    room.redis.hset(room.keys.room(SHARD, ROOM), f"returning:{PHONE}", item)
    assert room.run("hand_out", *room.call_hand_out(item.decode(), PHONE)) == 1
    assert [to for name, to, _ in events(room) if name == "message"] == [PHONE]
    ((device, content),) = notified(room)
    assert (device, content["users"]) == (PHONE, [[CAROL, "member", [], []]])


def test_the_oldest_changes_are_forgotten(real_shard: Shard) -> None:
    """Who has not seen them gets the whole roster."""
    room = real_shard
    opened(room)
    subscribe(room, PHONE)
    ((_, first),) = contents(room)
    settled(room, PHONE, first["id"])
    gone = {f"u{number}@example.org": number for number in range(2, 1002)}
    room.redis.zadd(keys.roster(SHARD, ROOM), gone)
    room.redis.hset(room.keys.room(SHARD, ROOM), "rev", "1001")
    add(room, CAROL)
    assert room.redis.zcard(keys.roster(SHARD, ROOM)) == 1000
    ((_, content),) = notified(room)
    assert (content["full"], [user for user, *_ in content["users"]]) == (True, [ALICE, CAROL])


def test_rooms_without_devices_note_nothing(shard: Shard) -> None:
    shard.ask("create", ALICE)
    shard.ask("add", ALICE, user=BOB)
    shard.ask("topic", ALICE, text="x")
    shard.ask("remove", ALICE, user=BOB)
    assert not shard.redis.exists(keys.roster(SHARD, ROOM), keys.devices(SHARD, ROOM))
    assert shard.redis.hget(shard.keys.room(SHARD, ROOM), "rev") is None


def test_two_hundred_devices_are_told_of_20_changes_by_one_notify_each(real_shard: Shard) -> None:
    """By one script: 3.5 ms, as the text is built once for all who have seen the same."""
    room = real_shard
    opened(room)
    for user in (f"u{number}@example.org" for number in range(200)):
        room.redis.hset(room.keys.members(SHARD, ROOM), user, "member devices")
        room.redis.hset(keys.devices(SHARD, ROOM), f"{user};gr=1", "device")
        subscribe(room, f"{user};gr=1")
        ((device, content),) = contents(room)
        settled(room, device, content["id"])
    add(room, *(f"new{number}@example.org" for number in range(20)))
    (entry,) = rosters(room)
    assert room.run("notify_devices", *call_notify(room, entry)) == 200
    assert {len(content["users"]) for _, content in contents(room)} == {20}


def test_the_scripts_make_the_keys_of_python() -> None:
    """They make these two themselves, so that the others need not be passed them."""
    assert keys.devices(SHARD, CAROLS) == f"imc_devices:{{{SHARD}}}:{CAROLS}"
    assert keys.roster(SHARD, CAROLS) == f"imc_roster:{{{SHARD}}}:{CAROLS}"
