"""exit_room, destroy_room, remove_absent: how members leave and rooms end."""

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
    """All members are told, the invited not; room, members, invitations and indexes are gone."""
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


def test_a_member_is_removed_who_is_away_for_too_long(room: Shard) -> None:
    """It is told, if it can be reached again, and the others are."""
    assert room.time_out(CAROL) == [
        heard("you_were_dropped", CAROL, by=CAROL),
        heard("dropped", ALICE, BOB, by=CAROL, user=CAROL),
    ]
    assert CAROL not in room.members()
    assert room.private_rooms(CAROL) == set()


def test_who_is_here_or_away_for_less_time_stays(room: Shard) -> None:
    """Also if the member came back since the janitor asked."""
    room.settings["remove_after_days"] = 1
    assert room.ask("remove_absent", CAROL) == []
    milliseconds = int(float(room.redis.time()[0]) * 1000) - 23 * 3600 * 1000
    room.send_away(BOB, since=f"{milliseconds}-0")
    assert room.ask("remove_absent", BOB) == []
    assert {BOB, CAROL} < set(room.members())


def test_who_is_being_handed_what_it_missed_stays(room: Shard) -> None:
    """The member is back, and still counts as away until the last part is handed out."""
    room.settings["remove_after_days"] = 1
    room.send_away(CAROL)
    leading = room.redis.xadd(OUT, {"event": "catch_up", "to": CAROL, "room": ROOM})
    room.redis.hset(room.keys.room(SHARD, ROOM), f"returning:{CAROL}", leading)  # type: ignore[arg-type]
    entry_id = room.put("remove_absent", CAROL)
    assert room.run("remove_absent", *room.command("remove_absent", entry_id, CAROL)) == "done"
    assert CAROL in room.members()


@pytest.mark.parametrize("who", [DAVE, EVE])
def test_others_than_members_are_never_away_for_too_long(room: Shard, who: str) -> None:
    """The user was removed meanwhile, or is only invited."""
    before = room.members()
    room.settings["remove_after_days"] = 1
    assert room.ask("remove_absent", who) == []
    assert room.members() == before


def test_the_last_owner_is_never_removed(room: Shard) -> None:
    """Another owner is."""
    assert room.time_out(ALICE) == []
    room.ask("modify", BOB, user=CAROL, role="owner")
    room.redis.hset(room.keys.members(SHARD, ROOM), CAROL, "owner")
    assert [event.to for event in room.time_out(ALICE)] == [(ALICE,), (BOB, CAROL)]
    assert room.owned_rooms(ALICE) == set()


def test_remove_after_days_0_removes_nobody(room: Shard) -> None:
    room.settings["remove_after_days"] = 0
    room.send_away(CAROL)
    assert room.ask("remove_absent", CAROL) == []
    assert CAROL in room.members()
