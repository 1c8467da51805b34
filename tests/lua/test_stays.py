"""A user who was removed and added again: what belongs to the earlier stay changes nothing in the new one."""

from __future__ import annotations

import json

import pytest

from tests.lua.conference import (
    BOBS,
    BOBS_OTHER,
    PHONE,
    about,
    accept,
    devices,
    dialog,
    events,
    handle,
    named,
    opened,
    report,
)
from tests.lua.shard import ALICE, BOB, CAROL, OUT, ROOM, SHARD, Shard, decoded


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


@pytest.mark.parametrize("device", [BOBS, BOBS_OTHER])
def test_a_bye_in_a_dialog_that_the_room_cannot_know_ends_the_stay(room: Shard, device: str) -> None:
    """Of a device that has subscribed, or that is not in the room yet: its report comes later."""
    accept(room, BOBS, by=BOBS)
    room.redis.hdel(room.keys.room(SHARD, ROOM), f"dialog:{BOBS}")
    handle(room, "exit", BOB, dialog=dialog("unknown"), device=device)
    assert BOB not in room.members()
