"""A member who is away: what others notice of it, and what the member keeps."""

from __future__ import annotations

import pytest

from tests.lua.shard import ALICE, BOB, CAROL, DAVE, ROOM, SHARD, Shard, heard, refused, told_all


@pytest.fixture
def room(shard: Shard) -> Shard:
    """Alice owns a room, Bob is admin and away, Carol a member."""
    shard.ask("create", ALICE)
    for member in (BOB, CAROL):
        shard.ask("add", ALICE, user=member)
    shard.ask("modify", ALICE, user=BOB, role="admin")
    shard.send_away(BOB)
    return shard


def test_messages_and_notices_go_to_who_is_here(room: Shard) -> None:
    assert room.ask("message", ALICE) == [heard("message", CAROL, by=ALICE)]
    assert room.ask("topic", ALICE, text="x") == told_all("topic_set", ALICE, CAROL, by=ALICE, text="x")
    assert room.ask("announce", ALICE, text="on") == [heard("announce_set", ALICE, by=ALICE, detail="on")]
    joined = [heard("joined", DAVE, by=DAVE), heard("joined", ALICE, CAROL, by=DAVE)]
    assert room.ask("join", DAVE)[:2] == joined
    assert room.ask("exit", DAVE) == [heard("left", DAVE, by=DAVE), heard("left", ALICE, CAROL, by=DAVE)]


def test_messages_together_go_to_who_is_here(room: Shard) -> None:
    """As one by one."""
    ids = [room.put("message", ALICE) for _ in range(2)]
    assert room.together(ids) == 2
    assert room.drain() == [heard("message", CAROL, by=ALICE)] * 2


def test_a_member_who_is_away_has_the_rights_of_the_role(room: Shard) -> None:
    """Bob still is admin when he is back."""
    assert room.ask("message", BOB)[0] == heard("message", ALICE, CAROL, by=BOB)
    assert room.ask("invite", BOB, user=DAVE)[-1] == heard("invited", DAVE, by=BOB, user=DAVE)
    assert room.ask("destroy", BOB) == refused(BOB, "owner_only", "destroy")


def test_a_member_who_is_away_is_in_the_list(room: Shard) -> None:
    (told,) = room.ask("list", ALICE)
    assert f"admin:{BOB}" in told.more["list"].split()


def test_a_new_role_brings_nobody_back(room: Shard) -> None:
    room.ask("modify", ALICE, user=BOB, role="owner")
    assert room.members()[BOB] == "owner away"
    assert room.owned_rooms(BOB) == {ROOM}


def test_an_owner_who_is_away_is_an_owner(room: Shard) -> None:
    """Alice may leave, and nobody but an owner touches Bob."""
    room.ask("modify", ALICE, user=BOB, role="owner")
    assert room.ask("remove", ALICE, user=BOB) == refused(ALICE, "is_owner", "remove", user=BOB)
    assert room.ask("ban", ALICE, user=BOB) == refused(ALICE, "is_owner", "ban", user=BOB)
    room.ask("exit", ALICE)
    assert set(room.members()) == {BOB, CAROL}


def test_who_is_away_is_no_stranger(room: Shard) -> None:
    assert room.ask("join", BOB) == [heard("already_member", BOB, by=BOB, command="join")]
    assert room.ask("add", ALICE, user=BOB) == refused(ALICE, "user_is_member", "add", user=BOB)


def test_a_removed_member_leaves_nothing(room: Shard) -> None:
    """The one who is removed is told, and may hear of it."""
    assert room.ask("remove", ALICE, user=BOB)[0].to == (BOB,)
    assert not any(field.endswith(BOB.encode()) for field in room.redis.hgetall(room.keys.room(SHARD, ROOM)))
