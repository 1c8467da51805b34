"""exit_room, destroy_room, drop_unreachable: how members leave and rooms end."""

import pytest

from tests.lua.shard import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    IN,
    OUT,
    ROOM,
    SHARD,
    Shard,
    decoded,
    heard,
    refused,
    told_all,
)

EVE = "eve@example.org"


@pytest.fixture(params=["public", "private"])
def room(request: pytest.FixtureRequest, shard: Shard) -> Shard:
    """Alice owns the room, Bob is admin, Carol member, Dave invited."""
    shard.ask("create", ALICE, **({"private": "1"} if request.param == "private" else {}))
    shard.ask("add", ALICE, user=BOB)
    shard.ask("modify", ALICE, user=BOB, role="admin")
    shard.ask("add", ALICE, user=CAROL)
    shard.ask("invite", ALICE, user=DAVE)
    return shard


def is_private(shard: Shard) -> bool:
    return shard.redis.zscore(shard.keys.rooms(SHARD), ROOM) == 1


def nothing_left(shard: Shard) -> bool:
    """Only the two streams are still there, both empty."""
    return set(decoded(shard.redis.keys("*"))) == {IN, OUT} and not shard.redis.xlen(IN) + shard.redis.xlen(
        OUT
    )


@pytest.mark.parametrize(("who", "rest"), [(BOB, (ALICE, CAROL)), (CAROL, (ALICE, BOB))])
def test_exit_ends_the_membership(room: Shard, who: str, rest: tuple[str, ...]) -> None:
    """The sender and the other members are told."""
    assert room.ask("exit", who) == told_all("left", who, *rest, by=who)
    assert who not in room.members()
    assert room.private_rooms(who) == set()


def test_a_room_continues_without_one_of_two_owners(room: Shard) -> None:
    room.ask("modify", ALICE, user=CAROL, role="owner")
    assert room.ask("exit", ALICE) == told_all("left", ALICE, BOB, CAROL, by=ALICE)
    assert room.owned_rooms(ALICE) == set()
    assert room.exists()


def test_exit_of_the_last_owner_destroys_the_room_once_it_is_confirmed(room: Shard) -> None:
    """The owner is asked first; then all members are told, and nothing of the room is left."""
    before = room.dump()
    assert room.ask("exit", ALICE) == refused(ALICE, "confirm_exit", "exit")
    assert room.dump() == before
    assert room.ask("exit", ALICE, text="confirm") == told_all("destroyed", ALICE, BOB, CAROL, by=ALICE)
    assert nothing_left(room)


def test_exit_of_the_last_owner_destroys_at_once(room: Shard) -> None:
    """With owner_exit = destroy nobody is asked."""
    room.settings["owner_exit"] = "destroy"
    assert room.ask("exit", ALICE) == told_all("destroyed", ALICE, BOB, CAROL, by=ALICE)
    assert nothing_left(room)


def test_an_owner_who_is_alone_need_not_confirm(shard: Shard) -> None:
    """Nobody loses the room by it; an invitation to it is no member."""
    shard.ask("create", ALICE)
    shard.ask("invite", ALICE, user=BOB)
    assert shard.ask("exit", ALICE) == told_all("destroyed", ALICE, by=ALICE)
    assert nothing_left(shard)


def test_exit_of_another_than_the_last_owner_needs_no_confirmation(room: Shard) -> None:
    """Nor does it mind one."""
    room.ask("modify", ALICE, user=BOB, role="owner")
    assert room.ask("exit", CAROL, text="confirm")[0].event == "left"
    assert room.ask("exit", ALICE)[0].event == "left"
    assert room.exists()


def test_exit_of_the_last_owner_is_refused(room: Shard) -> None:
    """With owner_exit = refuse the owner has to appoint another owner or destroy the room."""
    room.settings["owner_exit"] = "refuse"
    assert room.ask("exit", ALICE) == refused(ALICE, "last_owner", "exit")
    confirmed = room.ask("exit", ALICE, text="confirm")
    assert confirmed == refused(ALICE, "last_owner", "exit", detail="confirm")
    assert room.members()[ALICE] == "owner"


def test_exit_of_an_invited_user_declines_the_invitation(room: Shard) -> None:
    """The sender, owners and admins are told, as by deny."""
    assert room.ask("exit", DAVE) == told_all("denied", DAVE, ALICE, BOB, by=DAVE)
    assert DAVE not in room.members()


@pytest.mark.parametrize("command", ["exit", "destroy"])
def test_a_stranger_can_neither_leave_nor_destroy(room: Shard, command: str) -> None:
    """A private room looks like no room."""
    reason = "unknown_room" if is_private(room) else "not_member"
    assert room.ask(command, EVE) == refused(EVE, reason, command)
    assert room.ask(command, EVE, "nowhere@example.org") == refused(EVE, "unknown_room", command)


def test_destroy_leaves_nothing_of_the_room(room: Shard) -> None:
    """All members are told, the invited not; room, members, invitations, indexes and failures are gone."""
    room.report("drop_unreachable", "message", CAROL, "404")
    assert room.ask("destroy", ALICE) == told_all("destroyed", ALICE, BOB, CAROL, by=ALICE)
    assert nothing_left(room)


def test_destroy_keeps_other_rooms_of_the_members(room: Shard) -> None:
    other = "chat-001@example.org"
    room.ask("create", ALICE, other, private="1")
    room.ask("destroy", ALICE)
    assert room.owned_rooms(ALICE) == room.private_rooms(ALICE) == {other}
    assert room.exists(other)
    assert not room.exists()


@pytest.mark.parametrize(
    ("who", "reason"), [(BOB, "owner_only"), (CAROL, "owner_only"), (DAVE, "not_member")]
)
def test_only_owners_destroy(room: Shard, who: str, reason: str) -> None:
    """Admins, members and invited users are refused."""
    assert room.ask("destroy", who) == refused(who, reason, "destroy")
    assert room.exists()


def test_the_members_of_a_large_room_are_told_in_chunks_of_its_end(shard: Shard) -> None:
    """Each event has at most delivery_chunk recipients; each member is in one."""
    shard.settings["delivery_chunk"] = 3
    shard.ask("create", ALICE)
    users = [f"user{number}@example.org" for number in range(6)]
    for user in users:
        shard.ask("join", user)
    told = shard.ask("destroy", ALICE)
    assert [len(event.to) for event in told] == [1, 3, 3]
    assert sorted(who for event in told for who in event.to) == sorted([ALICE, *users])


def test_a_member_is_removed_after_evict_after_failures(room: Shard) -> None:
    """The others are told, the removed one is not."""
    for _ in range(2):
        assert room.report("drop_unreachable", "message", CAROL, "404") == []
        assert room.members()[CAROL] == "member"
    assert room.report("drop_unreachable", "message", CAROL, "404") == [
        heard("dropped", ALICE, BOB, by=CAROL, user=CAROL, detail="404")
    ]
    assert CAROL not in room.members()
    assert room.private_rooms(CAROL) == set()
    assert not failures(room)


def failures(shard: Shard) -> dict[str, str]:
    """What the room's hash says of failed deliveries, by member."""
    about: dict[str, str] = decoded(shard.redis.hgetall(shard.keys.room(SHARD, ROOM)))
    return {name.partition(":")[2]: text for name, text in about.items() if name.startswith("failures:")}


def test_failures_are_forgotten_after_a_while(room: Shard) -> None:
    """`ttl_ms` after the first one, which later failures do not put off, the count starts again."""
    room.settings["ttl_ms"] = 500_000
    room.report("drop_unreachable", "message", CAROL, "404")
    count, since = failures(room)[CAROL].split(" ")
    assert count == "1"
    key, field = room.keys.room(SHARD, ROOM), f"failures:{CAROL}"
    room.redis.hset(key, field, f"1 {int(since) - 400_000}")
    room.report("drop_unreachable", "message", CAROL, "410")
    assert failures(room)[CAROL] == f"2 {int(since) - 400_000}"
    room.redis.hset(key, field, f"2 {int(since) - 500_000}")
    assert room.report("drop_unreachable", "message", CAROL, "404") == []
    assert failures(room)[CAROL].startswith("1 ")


def test_a_clock_that_was_set_back_starts_the_count_again(room: Shard) -> None:
    """A first failure in the future would count for longer than `ttl_ms`."""
    room.redis.hset(room.keys.room(SHARD, ROOM), f"failures:{CAROL}", "2 99999999999999")
    assert room.report("drop_unreachable", "message", CAROL, "404") == []
    assert failures(room)[CAROL].startswith("1 ")


def test_failures_are_counted_per_member(room: Shard) -> None:
    for _ in range(2):
        room.report("drop_unreachable", "message", BOB, "604")
    assert room.report("drop_unreachable", "message", CAROL, "604") == []
    assert {BOB, CAROL} < set(room.members())


@pytest.mark.parametrize("who", [DAVE, EVE])
def test_failures_of_others_than_members_are_not_counted(room: Shard, who: str) -> None:
    """The user was removed meanwhile, or is only invited."""
    room.settings["evict_after"] = 1
    assert room.report("drop_unreachable", "destroyed", who, "404") == []
    assert not failures(room)


def test_the_last_owner_is_never_removed(room: Shard) -> None:
    """Another owner is."""
    room.settings["evict_after"] = 1
    assert room.report("drop_unreachable", "message", ALICE, "404") == []
    room.ask("modify", ALICE, user=CAROL, role="owner")
    assert room.report("drop_unreachable", "message", ALICE, "404")[0].to == (BOB, CAROL)
    assert room.owned_rooms(ALICE) == set()


def test_evict_after_0_removes_nobody(room: Shard) -> None:
    room.settings["evict_after"] = 0
    for _ in range(5):
        assert room.report("drop_unreachable", "message", CAROL, "404") == []
    assert CAROL in room.members()
