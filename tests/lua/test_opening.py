"""open_room: a member asks for the room in a client that shows rooms as conferences."""

from __future__ import annotations

import json

import pytest

from tests.lua.conference import (
    BOBS,
    BOBS_OTHER,
    about,
    accept,
    devices,
    dialog,
    events,
    handle,
    named,
    opened,
    report,
    subscribe,
)
from tests.lua.shard import ALICE, BOB, CAROL, ROOM, SHARD, Shard, decoded, refused
from tests.lua.test_stays import aged


@pytest.fixture(params=["public", "private"])
def room(request: pytest.FixtureRequest, shard: Shard) -> Shard:
    """A room that keeps messages, made by a command, with two members who get texts."""
    shard.settings["history_max_messages"] = 500
    shard.ask("create", ALICE, **({"private": "1"} if request.param == "private" else {}))
    shard.ask("add", ALICE, user=BOB)
    shard.ask("topic", ALICE, text="Lunch")
    events(shard)
    return shard


def value(shard: Shard, user: str) -> str | None:
    """The user's field of the members."""
    found: str | None = decoded(shard.redis.hget(shard.keys.members(SHARD, ROOM), user))
    return found


def test_a_member_is_asked_by_invite_and_its_device_gets_what_is_said(room: Shard) -> None:
    """With the topic and the other members; until a device accepts, texts go on."""
    handle(room, "open", BOB)
    ((to, invitation),) = named(room, "invite")
    assert (to, invitation["text"], invitation["list"]) == (BOB, "Lunch", ALICE)
    assert value(room, BOB) == "member"
    accept(room, BOBS)
    assert value(room, BOB) == "member devices"
    assert list(devices(room)) == [f"{BOBS};aor"]
    assert f"{BOBS};aor" in [to for to, _ in named(room, "catch_up")], "from the member's joining on"


def test_the_devices_that_are_in_the_room_are_named(room: Shard) -> None:
    """An edge does not invite them again: Linphone would end its session, as if the user left."""
    handle(room, "open", BOB)
    accept(room, BOBS)
    events(room)
    handle(room, "open", BOB)
    ((_, invitation),) = named(room, "invite")
    assert invitation["detail"] == BOBS


def test_only_the_known_devices_that_are_not_in_the_room_are_asked(room: Shard) -> None:
    """Each by its own name. If all of them are in the room, nobody is: Linphone leaves at a second INVITE."""
    room.settings["client_devices"] = f"{BOBS} {BOBS_OTHER}"
    handle(room, "open", BOB)
    assert [to for to, _ in named(room, "invite")] == [BOBS, BOBS_OTHER]
    accept(room, BOBS, by=BOBS)
    events(room)
    for _ in range(2):  # the first INVITE is under way when the second command comes
        handle(room, "open", BOB)
    assert [to for to, _ in named(room, "invite")] == [BOBS_OTHER]
    accept(room, BOBS_OTHER, by=BOBS_OTHER)
    events(room)
    handle(room, "open", BOB)
    assert named(room, "invite") == []


def test_while_the_user_is_asked_no_second_invite_is_sent(room: Shard) -> None:
    """To none of the devices: one of them may just be accepting."""
    handle(room, "open", BOB)
    room.settings["client_devices"] = BOBS
    handle(room, "open", BOB)
    assert [to for to, _ in named(room, "invite")] == [BOB]


def test_who_is_still_asked_as_a_whole_is_not_asked_by_device(room: Shard) -> None:
    """If all devices declined, the user would get nothing."""
    room.settings["client_devices"] = BOBS
    handle(room, "add", ALICE, user=CAROL, dialog=dialog("alice"))
    events(room)
    room.settings["client_devices"] = f"{CAROL};gr=urn:uuid:3"
    handle(room, "open", CAROL)
    assert [to for to, _ in named(room, "invite")] == [CAROL]


@pytest.mark.parametrize("is_settled", [False, True])
def test_a_device_that_is_asked_again_by_a_forking_proxy_ends_no_stay(
    room: Shard, *, is_settled: bool
) -> None:
    """liblinphone ends the session that it has by BYE, and accepts. Either may arrive first."""
    for device in (BOBS, BOBS_OTHER):
        accept(room, device)
    handle(room, "open", BOB)
    if is_settled:
        events(room)
    for device in (BOBS, BOBS_OTHER):
        handle(room, "exit", BOB, dialog=dialog(device), device=device)
    assert set(devices(room)) == {f"{BOBS};aor", f"{BOBS_OTHER};aor"}
    assert BOB in room.members()
    assert "bye" not in [name for name, _, _ in events(room)]
    made = {"device": BOBS, "dialog": dialog("new"), "of": about(room, "invitation", BOB) or ""}
    report(room, "admit_device", BOB, "200", event="invite", user=BOB, **made)
    handle(room, "exit", BOB, dialog=dialog("new"), device=BOBS)
    assert BOB not in room.members(), "the session that it has now"


@pytest.mark.parametrize("reported", [[], [BOBS], [BOBS, BOBS_OTHER]])
@pytest.mark.parametrize("seconds", [30, 31])
def test_a_device_whose_new_session_nobody_has_reported_is_invited(
    room: Shard, seconds: int, reported: list[str]
) -> None:
    """The edge died that got its 2xx. Without ACK, it ends that session 32 s later (RFC 3261 §13.3.1.4)."""
    both = [BOBS, BOBS_OTHER]
    for device in both:
        accept(room, device)
    handle(room, "open", BOB)
    events(room)
    of = about(room, "invitation", BOB) or ""
    for device in both:
        handle(room, "exit", BOB, dialog=dialog(device))
    for device in reported:
        made = {"device": device, "dialog": dialog(f"new {device}"), "of": of}
        report(room, "admit_device", BOB, "200", event="invite", user=BOB, **made)
    missing = [device for device in both if device not in reported]
    for device in missing:
        text = aged(about(room, "dialog", f"{device};aor") or "", "ended_for", seconds)
        room.redis.hset(room.keys.room(SHARD, ROOM), f"dialog:{device};aor", text)
    events(room)
    for device in missing:
        handle(room, "exit", BOB, dialog=dialog(f"new {device}"))
    assert BOB in room.members()
    assert sorted(to for to, _ in named(room, "invite")) == (missing if seconds > 30 else [])
    for device in missing:
        accept(room, device, by=device)
    is_renamed = {device: device in missing for device in both}
    assert set(devices(room)) == {each if is_renamed[each] else f"{each};aor" for each in both}
    handle(room, "exit", BOB, dialog=dialog(f"new {reported[0]}" if reported else BOBS))
    assert BOB not in room.members(), "the session that it has now"


def test_a_bye_in_an_unknown_session_ends_none_that_is_known(room: Shard) -> None:
    """It is of an earlier stay. A device with a session is not invited again."""
    accept(room, BOBS)
    handle(room, "open", BOB)
    events(room)
    handle(room, "exit", BOB, dialog=dialog("earlier"))
    assert named(room, "invite") == []


def test_what_is_noted_of_a_session_is_noted_once(room: Shard) -> None:
    """The last time counts, in whichever order it is noted."""
    accept(room, BOBS)
    for _ in range(2):
        handle(room, "open", BOB)
        events(room)
        handle(room, "exit", BOB, dialog=dialog(BOBS))
    for _ in range(2):
        subscribe(room, BOBS, seconds=0)
        handle(room, "open", BOB)
        events(room)
    text = about(room, "dialog", f"{BOBS};aor") or ""
    marks = ("reinvited", "ended_for", "leaving_at")
    assert [text.count(f'"{mark}":') for mark in marks] == [1, 1, 1]
    assert json.loads(text)["reinvited"] == about(room, "invitation", BOB)


def test_a_proxy_that_forks_is_sent_no_invite_to_a_user_with_a_device_that_has_a_name(shard: Shard) -> None:
    """It would show the room twice: under its own name, and under its user's address."""
    opened(shard, BOB)
    accept(shard, BOBS)
    for user in (ALICE, BOB):
        events(shard)
        handle(shard, "open", user)
        assert [to for to, _ in named(shard, "invite")] == ([BOB] if user == BOB else [])


def test_the_creator_may_be_asked_again_too(shard: Shard) -> None:
    """Its session is not one of an INVITE."""
    opened(shard, BOB)
    handle(shard, "open", ALICE)
    handle(shard, "exit", ALICE, dialog=dialog("alice"))
    assert ALICE in shard.members()


def test_a_later_bye_says_that_the_user_leaves(room: Shard) -> None:
    """An INVITE has reached all devices a minute after it was sent."""
    accept(room, BOBS)
    for _ in range(2):
        handle(room, "open", BOB)
        events(room)
    known = about(room, "dialog", f"{BOBS};aor") or ""
    assert known.count("reinvited") == 1
    at = known.partition('"reinvited":"')[2].partition("-")[0]
    later = known.replace(at, str(int(at) - 65_000))
    room.redis.hset(room.keys.room(SHARD, ROOM), f"dialog:{BOBS};aor", later)
    handle(room, "exit", BOB, dialog=dialog(BOBS))
    assert BOB not in room.members()


def test_whose_client_has_no_conferences_goes_on_with_texts(room: Shard) -> None:
    """It is told nothing: the member is in the room as before."""
    handle(room, "open", BOB)
    ((_, invitation),) = named(room, "invite")
    report(room, "admit_as_text", BOB, "488", event="invite", of=invitation["id"], user=BOB)
    assert value(room, BOB) == "member"
    assert events(room) == []


def test_only_members_open_a_room(room: Shard) -> None:
    """To a stranger, a private room looks like one that does not exist."""
    is_private = decoded(room.redis.hget(room.keys.room(SHARD, ROOM), "private")) == "1"
    reason = "unknown_room" if is_private else "not_member"
    assert room.ask("open", CAROL) == refused(CAROL, reason, "open")
