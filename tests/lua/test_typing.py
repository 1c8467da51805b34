"""broadcast_typing: who is told that somebody types, and how often."""

from __future__ import annotations

import pytest

from imc_common import keys
from tests.lua.shard import ALICE, BOB, CAROL, DAVE, ROOM, SHARD, Shard, heard


@pytest.fixture
def room(shard: Shard) -> Shard:
    """Alice owns the room, Bob and Carol are members, Dave is invited."""
    shard.ask("create", ALICE)
    for user in (BOB, CAROL):
        shard.ask("add", ALICE, user=user)
    shard.ask("invite", ALICE, user=DAVE)
    return shard


def test_the_other_members_are_told_once_in_ten_seconds(room: Shard) -> None:
    """Each sender counts apart."""
    assert room.ask("typing", BOB) == [heard("typing", ALICE, CAROL, by=BOB)]
    assert room.ask("typing", BOB) == []
    assert room.ask("typing", CAROL) == [heard("typing", ALICE, BOB, by=CAROL)]
    key = keys.typing(SHARD, ROOM, BOB)
    assert 9_000 < room.redis.pttl(key) <= 10_000
    room.redis.delete(key)
    assert room.ask("typing", BOB) == [heard("typing", ALICE, CAROL, by=BOB)]


@pytest.mark.parametrize(
    ("states", "told"),
    [
        ("active idle", "active idle"),
        ("active idle idle", "active idle"),
        ("active active idle active idle", "active idle"),
        ("idle", "idle"),
        ("idle idle active active idle active idle", "idle active idle"),
    ],
)
def test_the_end_of_typing_is_told_at_once(room: Shard, states: str, told: str) -> None:
    """Without it the others would see Bob typing for a minute or more; and the last they are told is true."""
    found = []
    for state in states.split():
        found += [state] * len(room.ask("typing", BOB, **({"detail": "idle"} if state == "idle" else {})))
        assert 9_000 < room.redis.pttl(keys.typing(SHARD, ROOM, BOB)) <= 10_000
    assert found == told.split()


def test_in_the_next_interval_all_is_told_again(room: Shard) -> None:
    """What was told in the last one is forgotten."""
    for state in ("", "idle", "", "idle"):
        room.redis.delete(keys.typing(SHARD, ROOM, BOB))
        assert room.ask("typing", BOB, **({"detail": state} if state else {}))


def test_who_is_away_is_not_told(room: Shard) -> None:
    """When they are back, nobody types any more."""
    room.send_away(CAROL)
    assert room.ask("typing", BOB) == [heard("typing", ALICE, by=BOB)]


@pytest.mark.parametrize("sender", [DAVE, "eve@example.org"])
def test_who_is_no_member_is_not_heard_and_not_told_so(room: Shard, sender: str) -> None:
    """A program has sent it, which would not know what to do with a notice."""
    assert room.ask("typing", sender) == []
    assert not room.redis.exists(keys.typing(SHARD, ROOM, sender))


def test_there_need_not_be_a_room(shard: Shard) -> None:
    """Nor is one made."""
    assert shard.ask("typing", ALICE) == []
    assert not shard.exists()
