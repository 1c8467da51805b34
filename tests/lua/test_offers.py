"""find_rooms and invite_device: a device that comes after its user is asked to enter the rooms, and once."""

from __future__ import annotations

from typing import Any

import pytest

from imc_common import keys
from tests.lua.conference import (
    BOBS,
    BOBS_OTHER,
    PHONE,
    about,
    accept,
    devices,
    events,
    handle,
    named,
    opened,
    report,
)
from tests.lua.shard import ALICE, BOB, CAROL, ROOM, SHARD, Shard, decoded

OTHER_ROOM = "chat-002@example.org"


@pytest.fixture
def room(shard: Shard) -> Shard:
    """A room that keeps messages; Alice's phone has created it with Bob, whose first device has accepted."""
    shard.settings["history_max_messages"] = 500
    opened(shard, BOB)
    accept(shard, BOBS, by=BOBS)
    asked_long_ago(shard, BOB)
    events(shard)
    return shard


def asked_long_ago(shard: Shard, user: str) -> None:
    """The INVITE to the user has ended for all devices."""
    shard.redis.hset(shard.keys.room(SHARD, ROOM), f"invitation:{user}", "1-1")


def find(
    shard: Shard, user: str, device: str, *, first: int = 0, count: int = 10, since: int = 0
) -> list[Any]:
    """What an edge is told."""
    where = [shard.keys.rooms(SHARD), keys.private_rooms(SHARD, user)]
    prefixes = [shard.keys.members(SHARD, ""), keys.devices(SHARD, ""), shard.keys.room(SHARD, "")]
    found: list[Any] = shard.run("find_rooms", where, [user, device, first, count, *prefixes, since])
    return found


def invitations(shard: Shard) -> list[str]:
    """Who was asked by INVITE since the last time."""
    return [to for to, _ in named(shard, "invite")]


def value(shard: Shard, user: str) -> str | None:
    """The user's field of the members."""
    found: str | None = decoded(shard.redis.hget(shard.keys.members(SHARD, ROOM), user))
    return found


def test_rooms_in_which_the_device_is_not_are_found(room: Shard) -> None:
    """Private and public ones of which the user is a member, page by page."""
    room.ask("create", CAROL, OTHER_ROOM)
    assert find(room, BOB, BOBS_OTHER) == [1, 0, ROOM]
    assert find(room, BOB, BOBS) == [1, 0], "the device is there"
    room.ask("join", BOB, OTHER_ROOM)
    assert find(room, BOB, BOBS_OTHER) == [1, 0, OTHER_ROOM, ROOM]
    assert find(room, BOB, BOBS_OTHER, first=1) == [0, 0]
    assert find(room, CAROL, f"{CAROL};gr=x") == [1, 0, OTHER_ROOM]


def test_a_device_that_was_invited_by_its_users_address_is_there(room: Shard) -> None:
    """Its name in the room has more behind it."""
    accept(room, BOBS_OTHER)
    assert devices(room)[f"{BOBS_OTHER};aor"]
    assert find(room, BOB, BOBS_OTHER) == [0, 0]


def test_who_is_only_invited_or_is_being_asked_has_nothing_to_find(room: Shard) -> None:
    """An invitation is answered by its user. An INVITE to the user may reach all devices, or some."""
    room.ask("create", ALICE, OTHER_ROOM, private="1")
    room.ask("invite", ALICE, OTHER_ROOM, user=CAROL)
    handle(room, "add", ALICE, user=CAROL, dialog='{"call_id":"c"}')
    assert value(room, CAROL) == "member inviting"
    assert find(room, CAROL, f"{CAROL};gr=x") == [0, 1]


def test_a_new_device_is_asked_and_its_user_goes_on_as_before(room: Shard) -> None:
    """The INVITE goes to this device alone, with the other members; it gets what was said since its user
    joined."""
    room.ask("message", ALICE)
    events(room)
    handle(room, "invite_device", BOB, device=BOBS_OTHER)
    ((to, invitation),) = named(room, "invite")
    assert (to, invitation["text"], invitation["list"]) == (BOBS_OTHER, "Lunch", ALICE)
    assert value(room, BOB) == "member devices"
    accept(room, BOBS_OTHER, by=BOBS_OTHER)
    assert set(devices(room)) == {PHONE, BOBS, BOBS_OTHER}
    assert BOBS_OTHER in [to for to, _ in named(room, "catch_up")]
    assert about(room, "invitation", BOBS_OTHER) is None


def test_while_an_invite_to_the_user_may_reach_it_a_device_is_not_asked(room: Shard) -> None:
    """Another device has accepted, and this one perhaps too: then a second INVITE would end its session."""
    handle(room, "add", ALICE, user=CAROL, dialog='{"call_id":"c"}')
    accept(room, f"{CAROL};gr=1", by=f"{CAROL};gr=1")
    events(room)
    other = f"{CAROL};gr=2"
    now = int(float(room.redis.time()[0]) * 1000)
    for since in (0, now):
        assert find(room, CAROL, other, since=since) == [0, 1]
        handle(room, "invite_device", CAROL, device=other, detail=str(since))
    assert invitations(room) == []
    assert find(room, CAROL, other, since=now + 10_000) == [0, 0, ROOM], "it has come later"
    asked_long_ago(room, CAROL)
    assert find(room, CAROL, other) == [0, 0, ROOM]
    handle(room, "invite_device", CAROL, device=other)
    assert invitations(room) == [other]


def test_a_device_is_asked_once(room: Shard) -> None:
    """While its INVITE is under way, and when it is in the room: it would leave."""
    handle(room, "invite_device", BOB, device=BOBS_OTHER)
    handle(room, "invite_device", BOB, device=BOBS_OTHER)
    assert invitations(room) == [BOBS_OTHER]
    accept(room, BOBS_OTHER, by=BOBS_OTHER)
    handle(room, "invite_device", BOB, device=BOBS_OTHER)
    handle(room, "invite_device", BOB, device=BOBS)
    assert invitations(room) == []


def test_a_user_who_has_left_is_not_asked(room: Shard) -> None:
    """BYE is how a user leaves; nor can anybody name a device of others."""
    handle(room, "exit", BOB, device=BOBS, dialog='{"call_id":"x"}')
    events(room)
    handle(room, "invite_device", BOB, device=BOBS)
    handle(room, "invite_device", CAROL, device=f"{CAROL};gr=x")
    handle(room, "invite_device", ALICE, device=BOBS_OTHER)
    assert invitations(room) == []


@pytest.mark.parametrize(("status", "script"), [("480", "mark_away"), ("488", "admit_as_text")])
def test_a_device_that_does_not_accept_changes_nothing(room: Shard, status: str, script: str) -> None:
    """Its user has another one; it may be asked again."""
    handle(room, "invite_device", BOB, device=BOBS_OTHER)
    ((_, invitation),) = named(room, "invite")
    report(room, script, BOBS_OTHER, status, event="invite", of=invitation["id"], user=BOB)
    assert (value(room, BOB), list(devices(room))) == ("member devices", [PHONE, BOBS])
    assert about(room, "invitation", BOBS_OTHER) is about(room, "away", BOBS_OTHER) is None
    handle(room, "invite_device", BOB, device=BOBS_OTHER)
    assert invitations(room) == [BOBS_OTHER]


def test_a_text_member_gets_texts_until_its_device_accepts(shard: Shard) -> None:
    """The room was made by a command."""
    shard.settings["history_max_messages"] = 500
    shard.ask("create", ALICE)
    shard.ask("add", ALICE, user=BOB)
    events(shard)
    handle(shard, "invite_device", BOB, device=BOBS)
    assert (value(shard, BOB), invitations(shard)) == ("member", [BOBS])
    accept(shard, BOBS, by=BOBS)
    assert value(shard, BOB) == "member devices"


def test_no_device_is_asked_beyond_eight(room: Shard) -> None:
    """Not even in the place of one that is away: that is for who asks to enter."""
    for number in range(7):
        accept(room, f"{BOB};gr=urn:uuid:m{number}", by=f"{BOB};gr=urn:uuid:m{number}")
    events(room)
    handle(room, "invite_device", BOB, device=BOBS_OTHER)
    assert invitations(room) == []


def test_who_is_added_by_a_command_is_asked_by_invite(shard: Shard) -> None:
    """If the user has registered such a client: as if a client had added the user."""
    shard.ask("create", ALICE)
    shard.settings["client_devices"] = BOBS
    handle(shard, "add", ALICE, user=BOB)
    assert value(shard, BOB) == "member inviting"
    found = events(shard)
    assert [(name, to) for name, to, _ in found if to in {BOB, BOBS}] == [("invite", BOB)]


@pytest.mark.parametrize("kind", ["create", "join", "accept"])
def test_who_comes_by_a_command_is_asked_on_each_device(shard: Shard, kind: str) -> None:
    """The command has its answer in words, too."""
    if kind != "create":
        shard.ask("create", ALICE)
    if kind == "accept":
        shard.ask("invite", ALICE, user=BOB)
    events(shard)
    shard.settings["client_devices"] = f"{BOBS} {BOBS_OTHER}"
    handle(shard, kind, BOB)
    found = events(shard)
    assert [to for name, to, _ in found if name == "invite"] == [BOBS, BOBS_OTHER]
    answers = {"create": "created"}
    assert (answers.get(kind, "joined"), BOB) in [(name, to) for name, to, _ in found]
    assert value(shard, BOB) in {"member", "owner"}


def test_the_creators_other_devices_are_asked(shard: Shard) -> None:
    """One device has created the room."""
    tablet = f"{ALICE};gr=urn:uuid:tablet"
    shard.settings["client_devices"] = f"{PHONE} {tablet}"
    assert [to for name, to, _ in opened(shard, BOB) if name == "invite"] == [BOB, tablet]
