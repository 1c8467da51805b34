"""look_up_member: an edge asks whether a user belongs to a room."""

import pytest

from imc_common.keys import shard_of
from tests.lua.shard import ALICE, BOB, CAROL, DAVE, ROOM, SHARD, Shard

STRANGER = "zed@example.org"


def look(shard: Shard, user: str, room: str = ROOM) -> str:
    """What an edge is told."""
    names = shard.keys
    return str(shard.run("look_up_member", [names.room(SHARD, room), names.members(SHARD, room)], [user]))


def people(shard: Shard, private: str) -> None:
    """A room with one user of each kind."""
    shard.redis.hset(shard.keys.room(SHARD, ROOM), mapping={"private": private})
    roles = {ALICE: "owner devices", BOB: "admin away", CAROL: "member cpim", DAVE: "invited"}
    shard.redis.hset(shard.keys.members(SHARD, ROOM), mapping=roles)


@pytest.mark.parametrize("private", ["0", "1"])
def test_those_who_belong_to_a_room_have_a_role(shard: Shard, private: str) -> None:
    """Whatever else is known of them."""
    people(shard, private)
    assert [look(shard, user) for user in (ALICE, BOB, CAROL, DAVE)] == [
        "owner",
        "admin",
        "member",
        "invited",
    ]


def test_a_stranger_of_a_public_room_is_told_apart_from_one_of_a_private_room(shard: Shard) -> None:
    """The edge hides private rooms."""
    people(shard, "0")
    assert look(shard, STRANGER) == "none"
    people(shard, "1")
    assert look(shard, STRANGER) == "private"


def test_a_room_that_does_not_exist_is_unknown(shard: Shard) -> None:
    """It may be about to be made."""
    assert shard_of(ROOM, 4) == SHARD
    assert look(shard, ALICE) == "unknown"
