"""A user who was removed and added again: what belongs to the earlier stay changes nothing in the new one."""

from __future__ import annotations

import json
import re

import pytest

from imc_common import keys
from tests.lua.conference import (
    BOBS,
    BOBS_OTHER,
    PHONE,
    about,
    accept,
    contents,
    devices,
    dialog,
    events,
    handle,
    named,
    notified,
    opened,
    report,
    subscribe,
)
from tests.lua.shard import ALICE, BOB, CAROL, OUT, ROOM, SHARD, Shard, decoded
from tests.lua.test_offers import find


@pytest.fixture
def room(shard: Shard) -> Shard:
    """Bob was invited, removed, and invited again."""
    shard.settings["history_max_messages"] = 500
    opened(shard, BOB, CAROL)
    return shard


def again(shard: Shard, **fields: str) -> tuple[str, str]:
    """Remove and add Bob: the ids of the events of both invitations."""
    first = about(shard, "invitation", BOB) or ""
    handle(shard, "remove", ALICE, user=BOB)
    handle(shard, "add", ALICE, user=BOB, **{"dialog": dialog("alice"), "device": PHONE, **fields})
    second = about(shard, "invitation", BOB) or ""
    events(shard)
    return first, second


def accepted(shard: Shard, device: str, of: str, by: str = BOB) -> None:
    fields = {"event": "invite", "device": device, "dialog": dialog(device), "user": ALICE, "of": of}
    report(shard, "admit_device", by, "200", **fields)


def test_who_has_accepted_an_earlier_invitation_is_not_let_in(room: Shard) -> None:
    """It gets BYE, and the other invitation counts."""
    first, second = again(room)
    accepted(room, BOBS, first)
    ((to, more),) = named(room, "bye")
    assert (to, json.loads(more["dialog"])["call_id"]) == (f"{BOBS};aor", BOBS)
    assert list(devices(room)) == [PHONE]
    assert room.members()[BOB] == "member inviting"
    accepted(room, BOBS, second)
    assert named(room, "bye") == []
    assert f"{BOBS};aor" in devices(room)


@pytest.mark.parametrize(("script", "status"), [("mark_away", "480"), ("admit_as_text", "488")])
def test_who_did_not_accept_an_earlier_invitation_is_still_invited(
    room: Shard, script: str, status: str
) -> None:
    first, second = again(room)
    report(room, script, BOB, status, event="invite", of=first, user=ALICE)
    assert room.members()[BOB] == "member inviting"
    assert about(room, "invitation", BOB) == second


def test_an_invite_says_since_when_its_user_is_a_member(room: Shard) -> None:
    """By that an edge knows the INVITEs of one stay. The first one is the beginning itself."""
    joined = about(room, "joined", BOB)
    report(room, "mark_away", BOB, "480", event="invite", of=joined or "", user=ALICE)
    assert joined == about(room, "invitation", BOB)
    entry_id = room.put("user_online", BOB, BOB)
    room.run("call_user_back", *room.call_online(entry_id, BOB))
    (leading,) = [entry for entry, each in decoded(room.redis.xrange(OUT)) if each["event"] == "catch_up"]
    assert room.run("hand_out", *room.call_hand_out(leading, BOB)) == 0
    assert [more["joined"] for _, more in named(room, "invite")] == [joined]
    accepted(room, BOBS, about(room, "invitation", BOB) or "")
    handle(room, "invite_device", BOB, device=BOBS_OTHER, detail="9" * 13)
    assert [(to, more["joined"]) for to, more in named(room, "invite")] == [(BOBS_OTHER, joined)]


def test_devices_that_are_invited_alone_are_no_longer_when_their_user_has_left(room: Shard) -> None:
    """Also one that has never been in the room, and in a room without devices."""
    accept(room, BOBS)
    handle(room, "invite_device", BOB, device=BOBS_OTHER, detail="9" * 13)
    assert about(room, "invitation", BOBS_OTHER)
    again(room)
    assert about(room, "invitation", BOBS_OTHER) is None


@pytest.mark.parametrize("named_device", [True, False])
def test_a_bye_of_an_earlier_stay_ends_nothing(room: Shard, named_device: bool) -> None:
    """The device had not got the BYE of the room. RFC 3261 §12: it is another dialog."""
    accept(room, BOBS, by=BOBS)
    _, second = again(room)
    made = {"device": BOBS, "dialog": dialog("new"), "of": second, "user": ALICE}
    report(room, "admit_device", BOBS, "200", event="invite", **made)
    fields = {"device": BOBS} if named_device else {}
    handle(room, "exit", BOB, dialog=dialog(BOBS), **fields)
    assert (BOB in room.members(), BOBS in devices(room)) == (True, True)
    handle(room, "exit", BOB, dialog=dialog("new"), **fields)
    assert (BOB in room.members(), BOBS in devices(room)) == (False, False)


@pytest.mark.parametrize("device", [BOBS, BOBS_OTHER, None])
def test_a_bye_in_a_session_that_was_never_acknowledged_ends_nothing(room: Shard, device: str | None) -> None:
    """RFC 3261 §13.3.1.4: the client ends it by itself. One without a session here is invited again.

    Also one that does not name itself, if it is the only one.
    """
    accept(room, BOBS, by=BOBS)
    room.redis.hdel(room.keys.room(SHARD, ROOM), f"dialog:{BOBS}")
    events(room)
    for _ in range(2):
        handle(room, "exit", BOB, dialog=dialog("unknown"), **({"device": device} if device else {}))
    assert (BOB in room.members(), BOBS in devices(room)) == (True, True)
    assert [to for to, _ in named(room, "invite")] == [device or BOBS]
    room.redis.hset(keys.devices(SHARD, ROOM), BOBS_OTHER, "device")
    handle(room, "exit", BOB, dialog=dialog("unknown"))
    assert named(room, "invite") == [], "there are two"


@pytest.mark.parametrize("by", [BOB, BOBS])
@pytest.mark.parametrize("is_confirmed", [False, True])
@pytest.mark.parametrize("seconds", [30, 32, 121])
def test_a_bye_after_32_seconds_without_ack_ends_nothing(
    room: Shard, by: str, is_confirmed: bool, seconds: int
) -> None:
    """The edge is gone that had to send it. The device is invited again. An older session has had its ACK."""
    made = json.dumps({"call_id": "c", "remote_tag": "r", "state": "accepted"}, separators=(",", ":"))
    report(room, "admit_device", by, "200", event="invite", device=BOBS, user=ALICE, dialog=made)
    if is_confirmed:
        handle(room, "confirm_dialog", BOB, dialog=dialog("c"))
    events(room)
    key, name = room.keys.room(SHARD, ROOM), BOBS if by == BOBS else f"{BOBS};aor"
    known = about(room, "dialog", name) or ""
    known = re.sub(r'(?<="accepted_at":)\d+', lambda at: str(int(at[0]) - seconds * 1000), known)
    room.redis.hset(key, f"dialog:{name}", known)
    handle(room, "exit", BOB, dialog=dialog("c"))
    assert (BOB in room.members()) == (seconds == 32 and not is_confirmed)
    invited = [to for to, _ in named(room, "invite")]
    assert invited == ([BOBS] if BOB in room.members() else [])
    assert (list(devices(room)) == [PHONE]) == (BOB not in room.members() or by == BOB), "another name"


@pytest.mark.parametrize(
    ("seconds", "status", "leaves"), [(40, "200", True), (20, "200", False), (40, "408", False)]
)
def test_who_accepts_a_notify_after_32_seconds_has_its_ack(
    room: Shard, seconds: int, status: str, leaves: bool
) -> None:
    """And may leave, though the edge died that has sent the ACK. The time is that of the NOTIFY."""
    made = json.dumps({"call_id": "c", "remote_tag": "r", "state": "accepted"}, separators=(",", ":"))
    report(room, "admit_device", BOBS, "200", event="invite", device=BOBS, user=ALICE, dialog=made)
    handle(room, "subscribe", BOB, device=BOBS, dialog=dialog("s"), detail="600 0")
    ((_, content),) = [each for each in notified(room) if each[0] == BOBS]
    sent_at = int(content["id"].partition("-")[0])

    def accepted(at: int) -> None:
        known = re.sub(r'(?<="accepted_at":)\d+', str(at), about(room, "dialog", BOBS) or "")
        room.redis.hset(room.keys.room(SHARD, ROOM), f"dialog:{BOBS}", known)

    accepted(sent_at - seconds * 1000)
    report(room, "settle_notify", BOBS, status, event="notify", of=content["id"])
    accepted(sent_at - 40 * 1000)
    handle(room, "exit", BOB, dialog=dialog("c"))
    assert (BOB in room.members()) == (not leaves)


@pytest.mark.parametrize("seconds", [0, 29, 31])
@pytest.mark.parametrize("tag", ["r", "former"])
def test_a_bye_after_the_end_of_the_subscription_ends_the_stay(room: Shard, seconds: int, tag: str) -> None:
    """Linphone does so when its user leaves. Without that, an INVITE might be sent again here."""
    handle(room, "remove", ALICE, user=BOB)
    handle(room, "add", ALICE, user=BOB, dialog=dialog("alice"), device=PHONE)
    made = json.dumps({"call_id": "c", "remote_tag": "r", "state": "accepted"}, separators=(",", ":"))
    of = about(room, "invitation", BOB) or ""
    report(room, "admit_device", BOBS, "200", event="invite", device=BOBS, user=ALICE, dialog=made, of=of)
    for lasts in (600, 0, 0):
        handle(room, "subscribe", BOB, device=BOBS, dialog=dialog("s"), detail=f"{lasts} 0")
    known = about(room, "dialog", BOBS) or ""
    assert known.count("leaving_at") == 1
    known = re.sub(r'(?<="leaving_at":)\d+', lambda at: str(int(at[0]) - seconds * 1000), known)
    known = known.replace("{", '{"former_tag":"former",', 1)
    room.redis.hset(room.keys.room(SHARD, ROOM), f"dialog:{BOBS}", known)
    handle(room, "exit", BOB, dialog=dialog("c", remote_tag=tag))
    assert (BOB in room.members()) == (seconds > 30)


def test_a_bye_in_another_session_is_none_of_the_one_that_ends(room: Shard) -> None:
    """The device has ended its subscription, and the BYE of an earlier session comes late."""
    accept(room, BOBS)
    for lasts in (600, 0):
        handle(room, "subscribe", BOB, device=BOBS, dialog=dialog("s"), detail=f"{lasts} 0")
    handle(room, "exit", BOB, device=BOBS, dialog=dialog("unknown"))
    assert BOB in room.members()


def test_a_device_that_gets_another_name_keeps_its_subscription(room: Shard) -> None:
    """It has subscribed, and ends an earlier session, before the report of its acceptance comes."""
    accept(room, BOBS_OTHER, by=BOBS_OTHER)
    room.redis.hset(room.keys.room(SHARD, ROOM), f"invitation:{BOB}", "1-1")
    fields = {"device": BOBS, "dialog": dialog("s", remote_uri=f"sip:{BOB}"), "detail": "600 0"}
    handle(room, "subscribe", BOB, **fields)
    assert f"{BOBS};aor" in devices(room)
    handle(room, "exit", BOB, dialog=dialog("earlier"))
    assert f"{BOBS};aor" not in devices(room)
    room.settings["history_max_messages"] = 0
    for number, by in enumerate((BOB, BOBS, BOB)):
        name = f"{BOBS};aor" if by == BOB else BOBS
        accept(room, BOBS, by=by)
        contents(room)
        handle(room, "topic", ALICE, text=f"Lunch {number}")
        assert [to for to, _ in notified(room)] == [name]
        assert [each for each in devices(room) if each.startswith(BOBS)] == [name]


@pytest.mark.parametrize("is_settled", [True, False])
@pytest.mark.parametrize("by", [BOB, BOBS])
def test_a_device_that_has_entered_by_itself_has_the_name_of_the_invite_that_it_accepts(
    room: Shard, *, by: str, is_settled: bool
) -> None:
    """Its own INVITE does not say by which name its client knows the room, and refuses messages (488)."""
    _, of = again(room)
    handle(room, "message", CAROL)
    handle(room, "enter_conference", BOB, device=BOBS, dialog=dialog("own"))
    assert devices(room)[BOBS] == "device away"
    subscribe(room, BOBS)
    if is_settled:
        ((to, content),) = contents(room)
        report(room, "settle_notify", to, "200", event="notify", of=content["id"])
    accepted(room, BOBS, of, by)
    events(room)
    if by == BOB:
        report(room, "settle_notify", BOBS, "488", event="message", of="1-1")
        assert devices(room) == {PHONE: "device", f"{BOBS};aor": "device away"}
        assert about(room, "away", f"{BOBS};aor") == about(room, "joined", BOB), "it gets all that was said"
        assert named(room, "bye") == [], "it was a message for the other name"
        assert json.loads(about(room, "dialog", f"{BOBS};aor") or "")["call_id"] == BOBS
        kinds = ("dialog", "subscription", "away")
        assert [about(room, kind, BOBS) for kind in kinds] == [None] * len(kinds)
        assert about(room, "subscription", f"{BOBS};aor")
    else:
        assert devices(room) == {PHONE: "device", BOBS: "device away"}
    handle(room, "exit", BOB, dialog=dialog("own"))
    assert BOB in room.members()


@pytest.mark.parametrize("status", ["481", "480"])
def test_a_device_that_came_by_subscribe_and_has_ended_that_is_invited(room: Shard, status: str) -> None:
    """It has accepted an INVITE of an earlier stay late, subscribed, and got BYE. SUBSCRIBE came last."""
    accept(room, BOBS_OTHER, by=BOBS_OTHER)
    room.redis.hset(room.keys.room(SHARD, ROOM), f"invitation:{BOB}", "1-1")
    early = dialog("s", remote_uri=f"sip:{BOB}")
    handle(room, "subscribe", BOB, device=BOBS, dialog=early, detail="600 0")
    ((to, content),) = contents(room)
    assert to == f"{BOBS};aor"
    report(room, "settle_notify", to, status, event="notify", of=content["id"])
    is_out = status == "481"
    assert (f"{BOBS};aor" in devices(room)) is not is_out
    assert [to for to, _ in named(room, "invite")] == ([BOBS] if is_out else [])


@pytest.mark.parametrize("was_shown", [False, True])
def test_a_client_that_was_killed_before_it_has_subscribed_is_invited_again(
    room: Shard, was_shown: bool
) -> None:
    """Its refusal of a message says so. If it refuses messages in each session, that ends some time."""
    room.redis.hset(room.keys.room(SHARD, ROOM), f"invitation:{BOB}", "1-1")
    for number in range(4):
        accept(room, BOBS, by=BOBS)
        if was_shown:
            subscribe(room, BOBS)
            ((to, content),) = contents(room)
            report(room, "settle_notify", to, "200", event="notify", of=content["id"])
        report(room, "settle_notify", BOBS, "488", event="message", of="1-1")
        is_out = not was_shown and number < 3
        assert [to for to, _ in named(room, "bye")] == ([BOBS] if is_out else [])
        assert (BOBS in devices(room)) is not is_out
    report(room, "settle_notify", CAROL, "488", event="message", of="1-1")
    assert events(room) == []


@pytest.mark.parametrize("has_session", [False, True])
def test_a_client_that_is_invited_again_may_have_its_subscription_still(
    room: Shard, has_session: bool
) -> None:
    """It refuses a message, and misses the BYE. It accepts an INVITE, and does not subscribe."""
    room.settings["history_max_messages"] = 0
    room.redis.hset(room.keys.room(SHARD, ROOM), f"invitation:{BOB}", "1-1")
    accept(room, BOBS, by=BOBS)
    if not has_session:
        room.redis.hdel(room.keys.room(SHARD, ROOM), f"dialog:{BOBS}")
    subscribe(room, BOBS)
    contents(room)
    report(room, "settle_notify", BOBS, "488", event="message", of="1-1")
    found = events(room)
    byes = [more for name, _, more in found if name == "bye"]
    assert len(byes) == has_session
    for bye in byes:
        report(room, "keep_farewell", BOBS, "480", event="bye", of=bye["id"], dialog=bye["dialog"])
    accept(room, BOBS, by=BOBS)
    assert [(to, content["full"], content["version"]) for to, content in notified(room)] == [(BOBS, True, 2)]


def test_a_client_that_is_invited_again_gets_a_later_version(room: Shard) -> None:
    """The first roster may be on its way."""
    room.redis.hset(room.keys.room(SHARD, ROOM), f"invitation:{BOB}", "1-1")
    for version in (1, 2):
        accept(room, BOBS, by=BOBS)
        subscribe(room, BOBS, call_id=f"s{version}")
        assert [content["version"] for _, content in contents(room)] == [version]
        report(room, "settle_notify", BOBS, "488", event="message", of="1-1")
        assert BOBS not in devices(room)
        events(room)


@pytest.mark.parametrize("was_shown", [False, True])
@pytest.mark.parametrize("is_creator", [False, True])
def test_a_client_that_was_killed_before_it_had_a_roster_is_invited_again(
    room: Shard, is_creator: bool, was_shown: bool
) -> None:
    """Linphone has not stored the room, and knows nothing of it after a restart: NOTIFY and BYE get 481."""
    if not is_creator:
        accept(room, BOBS, by=BOBS)
    name, user = (PHONE, ALICE) if is_creator else (BOBS, BOB)
    room.redis.hset(room.keys.room(SHARD, ROOM), f"invitation:{user}", "1-1")
    handle(room, "message", CAROL)
    for number, status in enumerate(["200", "481"] if was_shown else ["481"]):
        subscribe(room, name, last=number, call_id=f"s{number}")
        ((to, content),) = contents(room)
        report(room, "settle_notify", to, status, event="notify", of=content["id"])
    assert [to for to, _ in named(room, "bye")] == ([] if was_shown else [name])
    assert (name in devices(room)) is was_shown
    if not was_shown:
        report(room, "readmit_device", name, "481", event="bye", dialog=dialog(name))
        assert [to for to, _ in named(room, "invite")] == [name]
        accept(room, name, by=name)
        assert devices(room)[name] == "device away", "it gets what was said since its user is a member"


def test_a_device_that_no_ack_reaches_and_that_has_unsubscribed_is_not_invited(room: Shard) -> None:
    """It has got three INVITEs. It is invited when it registers."""
    for number in range(4):
        leave_without_ack(room, number)
    room.redis.hset(room.keys.room(SHARD, ROOM), f"invitation:{BOB}", "1-1")
    handle(room, "subscribe", BOB, device=BOBS, dialog=dialog("s"), detail="600 0")
    ((to, content),) = contents(room)
    report(room, "settle_notify", to, "481", event="notify", of=content["id"])
    assert BOBS in devices(room)
    assert named(room, "invite") == []


def leave_without_ack(room: Shard, number: int) -> list[str]:
    """Bob's device has accepted, got no ACK, and ends its session after 32 s; who is invited then."""
    made = {"call_id": f"c{number}", "remote_tag": "r", "state": "accepted"}
    text = json.dumps(made, separators=(",", ":"))
    report(room, "admit_device", BOBS, "200", event="invite", device=BOBS, user=ALICE, dialog=text)
    name = f"dialog:{BOBS}"
    known = re.sub(
        r'(?<="accepted_at":)\d+', lambda at: str(int(at[0]) - 32_000), about(room, *name.split(":", 1)) or ""
    )
    room.redis.hset(room.keys.room(SHARD, ROOM), name, known)
    events(room)
    handle(room, "exit", BOB, dialog=dialog(f"c{number}"), device=BOBS)
    return [to for to, _ in named(room, "invite")]


def test_a_device_that_no_ack_reaches_is_invited_three_times(room: Shard) -> None:
    """A proxy loses its ACKs: each INVITE would bring the next BYE. Then it is invited when it registers."""
    for number in range(3):
        assert leave_without_ack(room, number) == [BOBS]
    for number in (3, 4):
        assert leave_without_ack(room, number) == []
        assert (BOB in room.members(), BOBS in devices(room)) == (True, True)
        assert about(room, "dialog", BOBS) is None
        room.redis.hset(room.keys.room(SHARD, ROOM), f"invitation:{BOB}", "1-1")
        assert find(room, BOB, BOBS) == [0, 0, ROOM]
        handle(room, "invite_device", BOB, device=BOBS)
        assert [to for to, _ in named(room, "invite")] == [BOBS]
    accept(room, BOBS, by=BOBS)
    handle(room, "confirm_dialog", BOB, dialog=dialog(BOBS))
    assert find(room, BOB, BOBS) == [0, 0]
    assert leave_without_ack(room, 5) == [BOBS], "an ACK has arrived"


def test_who_leaves_is_forgotten_to_have_got_no_ack(room: Shard) -> None:
    """Also by a device that is not in the room any more, as after it got another name."""
    accept(room, BOBS_OTHER, by=BOBS_OTHER)
    for number in range(4):
        leave_without_ack(room, number)
    room.settings["client_devices"] = BOBS
    handle(room, "open", BOB)
    assert [to for to, _ in named(room, "invite")] == [BOBS]
    again(room)
    assert about(room, "unacknowledged", BOBS) is None


def test_the_age_of_a_session_counts_from_its_2xx(room: Shard) -> None:
    """The report was written 5 s later, because Redis was unreachable."""
    of = about(room, "invitation", BOB) or ""
    made = json.dumps({"call_id": "c", "remote_tag": "r", "state": "accepted"}, separators=(",", ":"))
    entry = room.put(
        "delivery_report",
        BOBS,
        ROOM,
        status="200",
        detail="5000",
        of=of,
        event="invite",
        device=BOBS,
        user=ALICE,
        dialog=made,
    )
    assert room.run("admit_device", *room.command("admit_device", entry, BOBS, ROOM)) == "done"
    known = json.loads(about(room, "dialog", BOBS) or "")
    assert known["accepted_at"] == int(entry.partition("-")[0]) - 5000
    assert known["of"] == of


def test_a_bye_ends_nothing_while_the_invite_may_be_sent_again(room: Shard) -> None:
    """liblinphone ends its session when it gets the INVITE once more, from the edge that takes it over."""
    handle(room, "remove", ALICE, user=BOB)
    handle(room, "add", ALICE, user=BOB, dialog=dialog("alice"), device=PHONE)
    made = json.dumps({"call_id": "c", "remote_tag": "r", "state": "accepted"}, separators=(",", ":"))
    of = about(room, "invitation", BOB) or ""
    report(room, "admit_device", BOBS, "200", event="invite", device=BOBS, user=ALICE, dialog=made, of=of)
    for is_settled in (False, True):
        if is_settled:
            events(room)
        handle(room, "exit", BOB, dialog=dialog("c"))
        assert (BOB in room.members()) is not is_settled


def test_a_bye_ends_the_stay_if_only_other_devices_are_still_invited(room: Shard) -> None:
    """A proxy has named them. The event of the INVITE stays, and this device is recorded at it."""
    handle(room, "remove", ALICE, user=BOB)
    handle(room, "add", ALICE, user=BOB, dialog=dialog("alice"), device=PHONE)
    made = json.dumps({"call_id": "c", "remote_tag": "r", "state": "accepted"}, separators=(",", ":"))
    of = about(room, "invitation", BOB) or ""
    report(room, "admit_device", BOBS, "200", event="invite", device=BOBS, user=ALICE, dialog=made, of=of)
    room.redis.sadd(keys.settled(SHARD, of), BOBS_OTHER)
    handle(room, "exit", BOB, dialog=dialog("c"))
    assert BOB in room.members()
    room.redis.sadd(keys.settled(SHARD, of), BOBS)
    handle(room, "exit", BOB, dialog=dialog("c"))
    assert BOB not in room.members()


def test_a_bye_ends_nothing_while_an_invite_is_sent_that_was_written_before_the_report(room: Shard) -> None:
    """The device has accepted an INVITE that a proxy has forked. The next one is not wanted any more."""
    room.redis.hset(room.keys.members(SHARD, ROOM), BOB, "member devices")
    room.redis.hset(room.keys.room(SHARD, ROOM), f"invitation:{BOB}", "1-1")
    handle(room, "invite_device", BOB, device=BOBS)
    accept(room, BOBS)
    assert about(room, "invitation", BOBS) is None
    handle(room, "exit", BOB, dialog=dialog(BOBS))
    assert BOB in room.members()
    events(room)
    handle(room, "exit", BOB, dialog=dialog(BOBS))
    assert BOB not in room.members()


def test_a_bye_ends_nothing_while_the_device_is_sent_an_invite(room: Shard) -> None:
    """The edge that sends it does not know that a proxy has forked another one to this device."""
    handle(room, "invite_device", BOB, device=BOBS)
    room.redis.hset(room.keys.room(SHARD, ROOM), f"invitation:{BOB}", "1-1")
    room.redis.hset(room.keys.members(SHARD, ROOM), BOB, "member devices")
    handle(room, "invite_device", BOB, device=BOBS)
    accept(room, BOBS_OTHER, by=BOBS_OTHER)
    room.redis.hset(keys.devices(SHARD, ROOM), f"{BOBS};aor", "device")
    room.redis.hset(room.keys.room(SHARD, ROOM), f"dialog:{BOBS};aor", dialog("forked"))
    handle(room, "exit", BOB, dialog=dialog("forked"))
    assert BOB in room.members()
    events(room)
    handle(room, "exit", BOB, dialog=dialog("forked"))
    assert BOB not in room.members()


def aged(text: str, mark: str, seconds: int) -> str:
    """The text of a session, as if its event with this mark was so long ago."""
    assert text.count(mark) == 1
    return re.sub(rf'(?<="{mark}":")\d+', lambda at: str(int(at[0]) - seconds * 1000), text)


def by_tag(tag: str) -> str:
    """A session of Bob's phone by one INVITE, which two edges have sent."""
    about = {"call_id": "c", "local_tag": "l", "remote_tag": tag, "routes": [], "state": "accepted"}
    return json.dumps(about, separators=(",", ":"))


def accept_twice(room: Shard, *tags: str) -> None:
    for tag in tags:
        made = {"device": BOBS, "dialog": by_tag(tag), "user": ALICE}
        report(room, "admit_device", BOBS, "200", event="invite", **made)
    events(room)


@pytest.mark.parametrize("ended", ["first", "second"])
@pytest.mark.parametrize("is_named", [True, False])
def test_a_bye_in_one_of_two_sessions_leaves_the_other(room: Shard, ended: str, is_named: bool) -> None:
    """An edge was silent for long, so another one has sent the INVITE again. Reports come in any order."""
    accept_twice(room, "first", "second")
    fields = {"device": BOBS} if is_named else {}
    handle(room, "exit", BOB, dialog=by_tag(ended), **fields)
    assert (BOB in room.members(), BOBS in devices(room)) == (True, True)
    left = "first" if ended == "second" else "second"
    known = json.loads(about(room, "dialog", BOBS) or "")
    assert (known["remote_tag"], known["routes"], known.get("former_tag")) == (left, [], None)
    assert events(room) == []
    handle(room, "exit", BOB, dialog=by_tag(ended), **fields)
    assert BOB in room.members(), "a copy"
    handle(room, "exit", BOB, dialog=by_tag(left), **fields)
    assert (BOB in room.members(), BOBS in devices(room)) == (False, False)


def test_the_session_before_is_not_kept_for_long(room: Shard) -> None:
    """By then, the client has ended it: a BYE in the other one says that the user leaves."""
    accept_twice(room, "first", "second")
    text = about(room, "dialog", BOBS) or ""
    at = str(json.loads(text)["accepted_at"])
    aged = text.replace(at, str(int(at) - 125_000))
    room.redis.hset(room.keys.room(SHARD, ROOM), f"dialog:{BOBS}", aged)
    accept_twice(room, "third")
    assert "former_tag" not in (about(room, "dialog", BOBS) or "")
    room.redis.hset(room.keys.room(SHARD, ROOM), f"dialog:{BOBS}", aged)
    handle(room, "exit", BOB, dialog=by_tag("second"))
    assert BOB not in room.members()


def test_a_session_by_another_invite_is_none_of_two(room: Shard) -> None:
    """Nor is the same session, of which another edge tells."""
    accept(room, BOBS, by=BOBS)
    accept_twice(room, "first", "first")
    assert "former_tag" not in (about(room, "dialog", BOBS) or "")


@pytest.mark.parametrize("by", [BOB, BOBS])
@pytest.mark.parametrize("is_pending", [True, False])
def test_a_device_that_enters_while_its_user_is_invited_may_accept_that_invite(
    room: Shard, *, by: str, is_pending: bool
) -> None:
    """Linphone ends the session by which it has entered. A proxy may fork the INVITE, or name the device."""
    handle(room, "remove", ALICE, user=BOB)
    handle(room, "add", ALICE, user=BOB, dialog=dialog("alice"), device=PHONE)
    if not is_pending:
        events(room)
    of = about(room, "invitation", BOB) or ""
    handle(room, "enter_conference", BOB, device=BOBS, dialog=dialog("own"))
    handle(room, "exit", BOB, dialog=dialog("own"))
    assert (BOB in room.members()) is is_pending
    if is_pending:
        accepted(room, BOBS, of, by)
        handle(room, "exit", BOB, dialog=dialog(BOBS))
        assert BOB not in room.members()


@pytest.mark.parametrize("is_reported", [False, True])
def test_a_device_that_has_accepted_an_invite_again_without_a_report_is_invited(
    room: Shard, *, is_reported: bool
) -> None:
    """Two edges have sent the INVITE, whose event is still there. The second one died, too."""
    handle(room, "remove", ALICE, user=BOB)
    handle(room, "add", ALICE, user=BOB, dialog=dialog("alice"), device=PHONE)
    event_id = about(room, "invitation", BOB) or ""
    about_it = {"event": "invite", "device": BOBS, "user": ALICE, "of": event_id}
    report(room, "admit_device", BOBS, "200", dialog=by_tag("first"), **about_it)
    handle(room, "exit", BOB, dialog=by_tag("first"))
    assert (BOB in room.members(), BOBS in devices(room)) == (True, True)
    assert acceptances(room, event_id) == [], "another edge sends it again"
    if is_reported:
        report(room, "admit_device", BOBS, "200", dialog=by_tag("second"), **about_it)
        assert acceptances(room, event_id) == ["c"]
        assert "former_tag" not in (about(room, "dialog", BOBS) or "")
    else:
        text = aged(about(room, "dialog", BOBS) or "", "ended_for", 31)
        room.redis.hset(room.keys.room(SHARD, ROOM), f"dialog:{BOBS}", text)
    events(room)
    handle(room, "exit", BOB, dialog=by_tag("second"))
    assert (BOB in room.members()) is not is_reported
    assert [to for to, _ in named(room, "invite")] == ([] if is_reported else [BOBS])


@pytest.mark.parametrize("by", [BOB, BOBS])
def test_a_device_that_shows_the_room_and_has_not_entered_is_told(room: Shard, by: str) -> None:
    """It has accepted an INVITE of an edge that is gone, and subscribed. Its session is not known here."""
    handle(room, "remove", ALICE, user=BOB)
    events(room)
    handle(room, "add", ALICE, user=BOB, dialog=dialog("alice"), device=PHONE)
    early = dialog("early", remote_uri=f"sip:{by}")
    handle(room, "subscribe", BOB, device=BOBS, dialog=early, detail="600 0")
    assert list(devices(room)) == [PHONE], "the INVITE is under way"
    contents(room)
    handle(room, "remove", ALICE, user=BOB)
    found = events(room)
    assert [to for name, to, _ in found if name == "notify"] == [BOBS]
    ((to, more),) = [(to, more) for name, to, more in found if name == "bye"]
    assert to == (BOBS if by == BOBS else f"{BOBS};aor")
    assert json.loads(more["dialog"])["call_id"].startswith("gone-")
    assert about(room, "subscription", BOBS) is None


def acceptances(room: Shard, event_id: str, user: str = BOB) -> list[str] | str:
    """The Call-IDs of the sessions, as an edge gets them."""
    found = room.run("list_acceptances", [OUT, room.keys.room(SHARD, ROOM)], [event_id, ROOM, user])
    return found if isinstance(found, str) else [json.loads(each)["call_id"] for each in found]


def test_an_edge_finds_who_has_accepted_an_invite_that_it_takes_over(room: Shard) -> None:
    """Those in the room, and those whose report waits for a worker; of this user."""
    event_id = about(room, "invitation", BOB) or ""
    assert acceptances(room, event_id) == []
    accept(room, BOBS)
    room.put(
        "delivery_report", BOB, ROOM, status="200", of=event_id, dialog=dialog("waits"), device=BOBS_OTHER
    )
    room.put("delivery_report", CAROL, ROOM, status="200", of="1-1", dialog=dialog("another"))
    assert acceptances(room, event_id) == ["waits", BOBS]
    assert acceptances(room, "9-9", CAROL) == []


@pytest.mark.parametrize(
    ("state", "seconds", "counts"), [("accepted", 31, True), ("accepted", 33, False), ("confirmed", 33, True)]
)
def test_a_session_that_has_ended_without_ack_is_no_acceptance(
    room: Shard, state: str, seconds: int, counts: bool
) -> None:
    """RFC 3261 §13.3.1.4: the device is to be invited again."""
    accept(room, BOBS, by=BOBS)
    at = int(room.put("message", CAROL, ROOM).partition("-")[0]) - seconds * 1000
    known = json.dumps({"call_id": "c", "accepted_at": at, "state": state}, separators=(",", ":"))
    room.redis.hset(room.keys.room(SHARD, ROOM), f"dialog:{BOBS}", known)
    assert acceptances(room, "1-0") == (["c"] if counts else [])


def test_behind_many_requests_the_report_may_wait(room: Shard) -> None:
    """The edge asks again."""
    for _ in range(1000):
        room.put("message", CAROL, ROOM)
    assert acceptances(room, "1-0") == "unknown"
