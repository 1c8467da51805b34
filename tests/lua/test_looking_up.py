"""look_up_member, check_referral: what an edge asks of a room before it answers."""

import pytest

from imc_common.keys import shard_of
from tests.lua.shard import ALICE, BOB, CAROL, DAVE, OUT, ROOM, SCRIPT_OF, SHARD, Shard, decoded

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


@pytest.mark.parametrize(
    ("kind", "sender", "user", "role", "reason"),
    [
        ("remove", ALICE, BOB, "", ""),
        ("remove", BOB, CAROL, "", ""),
        ("remove", BOB, DAVE, "", ""),
        ("remove", BOB, STRANGER, "", ""),
        ("remove", BOB, ALICE, "", "is_owner"),
        ("remove", ALICE, ALICE, "", "is_owner"),
        ("remove", BOB, BOB, "", "owner_only"),
        ("modify", ALICE, BOB, "member", ""),
        ("modify", BOB, CAROL, "admin", ""),
        ("modify", BOB, BOB, "member", ""),
        ("modify", BOB, BOB, "admin", ""),
        ("modify", BOB, ALICE, "member", "owner_only"),
        ("modify", BOB, ALICE, "admin", "owner_only"),
        ("add", BOB, STRANGER, "", ""),
        ("add", BOB, "banned@example.org", "", "user_is_banned"),
        ("add", BOB, "banned@example.org:5070", "", "user_is_banned"),
        ("add", BOB, CAROL, "", ""),
    ],
)
def test_an_edge_asks_what_the_command_would_refuse(  # noqa: PLR0917 # a row of the table
    shard: Shard, kind: str, sender: str, user: str, role: str, reason: str
) -> None:
    """And the command does: the rules are the same. What may change until then is no reason."""
    people(shard, "1")
    shard.redis.hset(shard.keys.room(SHARD, ROOM), "ban:banned@example.org", ALICE)
    names = shard.keys
    where = [names.room(SHARD, ROOM), names.members(SHARD, ROOM)]
    reply = "forbidden" if reason else "allowed"
    assert shard.run("check_referral", where, [kind, sender, user, role]) == reply
    if reason:
        script = SCRIPT_OF[kind]
        entry_id = shard.put(kind, sender, user=user, **({"role": role} if role else {}))
        shard.run(script, *shard.command(script, entry_id, sender, user=user))
        (refused,) = [
            fields for _, fields in decoded(shard.redis.xrange(OUT)) if fields["event"] == "refused"
        ]
        assert refused["reason"] == reason
