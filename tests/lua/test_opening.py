"""open_room: a member asks for the room in a client that shows rooms as conferences."""

from __future__ import annotations

import pytest

from tests.lua.conference import BOBS, accept, devices, events, handle, named, report
from tests.lua.shard import ALICE, BOB, CAROL, ROOM, SHARD, Shard, decoded, refused


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
