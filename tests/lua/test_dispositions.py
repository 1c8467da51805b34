"""return_disposition: who gets the receipts for a message."""

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
    wrote(shard, "m1", ALICE)
    wrote(shard, "m2", BOB)
    return shard


def wrote(shard: Shard, message_id: str, author: str, part: str = "recent") -> None:
    """Who has written a message; written by no script."""
    shard.redis.hset(keys.authors(SHARD, ROOM, part), message_id, author)  # type: ignore[arg-type]


def test_the_author_gets_it_and_nobody_else(room: Shard) -> None:
    """However large the room is."""
    assert room.ask("disposition", CAROL, message_id="m1 -") == [
        heard("disposition", ALICE, by=CAROL, list="m1 m1")
    ]


def test_receipts_of_one_body_go_each_to_its_author(room: Shard) -> None:
    """An author of two messages gets them together; what is about one's own message goes nowhere."""
    wrote(room, "m3", ALICE, "older")
    wrote(room, "m4", CAROL)
    assert room.ask("disposition", CAROL, message_id="m1 - m2 - m3 - m4 - m5 -") == [
        heard("disposition", ALICE, by=CAROL, list="m1 m1 m3 m3"),
        heard("disposition", BOB, by=CAROL, list="m2 m2"),
    ]


@pytest.mark.parametrize("reader", [DAVE, "eve@example.org"])
def test_only_members_have_read_a_message(room: Shard, reader: str) -> None:
    """And they get no notice: a program has sent it."""
    assert room.ask("disposition", reader, message_id="m1 -") == []


def test_an_author_who_is_away_or_has_left_gets_none(room: Shard) -> None:
    """Receipts are not kept."""
    room.send_away(ALICE)
    assert room.ask("disposition", CAROL, message_id="m1 -") == []
    room.ask("exit", BOB)
    assert room.ask("disposition", CAROL, message_id="m2 -") == []


def test_a_message_that_is_not_known_has_no_author(room: Shard) -> None:
    """Nothing is written either."""
    before = room.dump()
    assert room.ask("disposition", CAROL, message_id="m9 -") == []
    assert room.ask("disposition", CAROL) == []
    after = room.dump()
    assert {key: value for key, value in before.items() if ":in" not in key and ":out" not in key} == {
        key: value for key, value in after.items() if ":in" not in key and ":out" not in key
    }
