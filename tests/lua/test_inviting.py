"""invite_member, accept_invitation, deny_invitation, withdraw_invitation."""

import pytest

from tests.lua.shard import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    OUT,
    ROOM,
    SHARD,
    Heard,
    Shard,
    decoded,
    heard,
    refused,
    told_all,
)


def newest_invitation(shard: Shard) -> str:
    """The id of the last event of the out-stream, as settle puts it into a receipt."""
    return str(decoded(shard.redis.xrevrange(OUT, count=1))[0][0])


@pytest.fixture(params=["public", "private"])
def room(request: pytest.FixtureRequest, shard: Shard) -> Shard:
    """Alice owns the room, Bob is admin, Carol member."""
    shard.ask("create", ALICE, **({"private": "1"} if request.param == "private" else {}))
    shard.ask("add", ALICE, user=BOB)
    shard.ask("modify", ALICE, user=BOB, role="admin")
    shard.ask("add", ALICE, user=CAROL)
    return shard


def is_private(shard: Shard) -> bool:
    return shard.redis.zscore(shard.keys.rooms(SHARD), ROOM) == 1


def sent_invitation(inviter: str) -> list[Heard]:
    told = (("invitation_sent", inviter), ("invited", DAVE))
    return [heard(event, to, by=inviter, user=DAVE) for event, to in told]


@pytest.mark.parametrize("inviter", [ALICE, BOB])
def test_owner_and_admin_invite(room: Shard, inviter: str) -> None:
    """The invited and the sender are told; the invitation is in the room's hash, and in no index."""
    assert room.ask("invite", inviter, user=DAVE) == sent_invitation(inviter)
    assert room.members()[DAVE] == "invited"
    assert room.private_rooms(DAVE) == set()


def test_member_may_not_invite(room: Shard) -> None:
    """Inviting is for owners and admins."""
    assert room.ask("invite", CAROL, user=DAVE) == refused(CAROL, "admins_only", "invite", user=DAVE)
    assert DAVE not in room.members()


def test_stranger_may_not_invite(room: Shard) -> None:
    """A stranger to a private room hears the same as of no room."""
    reason = "unknown_room" if is_private(room) else "not_member"
    assert room.ask("invite", DAVE, user=DAVE) == refused(DAVE, reason, "invite", user=DAVE)


def test_invited_may_not_invite(room: Shard) -> None:
    """An invitation is no membership."""
    room.ask("invite", ALICE, user=DAVE)
    assert room.ask("invite", DAVE, user="eve@x") == refused(DAVE, "not_member", "invite", user="eve@x")


def test_invite_to_no_room(shard: Shard) -> None:
    """Nothing is made by an invitation."""
    assert shard.ask("invite", ALICE, user=BOB) == refused(ALICE, "unknown_room", "invite", user=BOB)
    assert not shard.exists()


def test_invite_of_a_member(room: Shard) -> None:
    """Members, oneself too, cannot be invited."""
    for user in (ALICE, BOB, CAROL):
        assert room.ask("invite", ALICE, user=user) == refused(ALICE, "user_is_member", "invite", user=user)


def test_invite_of_the_room_itself(room: Shard) -> None:
    """A room that is its own member would speak to itself for ever."""
    assert room.ask("invite", ALICE, user=ROOM) == refused(ALICE, "is_room", "invite", user=ROOM)


def test_invite_again(room: Shard) -> None:
    """Nobody is invited to a room twice before they have answered (failure case 42)."""
    room.ask("invite", ALICE, user=DAVE)
    for who in (ALICE, BOB):
        assert room.ask("invite", who, user=DAVE) == refused(who, "user_is_invited", "invite", user=DAVE)
    assert room.members()[DAVE] == "invited"
    room.ask("deny", DAVE)
    assert room.ask("invite", BOB, user=DAVE) == sent_invitation(BOB)


def test_invite_to_a_full_room(room: Shard) -> None:
    """An invitation takes a place."""
    room.settings["max_members"] = 4
    room.ask("invite", ALICE, user=DAVE)
    assert room.ask("invite", ALICE, user="eve@x") == refused(ALICE, "room_full", "invite", user="eve@x")


def test_accept(room: Shard) -> None:
    """The invited becomes a member, all are told, and nothing of the invitation is left."""
    room.ask("invite", ALICE, user=DAVE)
    assert room.ask("accept", DAVE) == told_all("joined", ALICE, BOB, CAROL, DAVE, by=DAVE)
    assert room.members()[DAVE] == "member"
    assert room.private_rooms(DAVE) == ({ROOM} if is_private(room) else set())
    assert not room.redis.hexists(room.keys.room(SHARD, ROOM), f"invitation:{DAVE}")


def test_accept_by_a_member(room: Shard) -> None:
    """A member hears that it is one."""
    assert room.ask("accept", CAROL) == [heard("already_member", CAROL, by=CAROL, command="accept")]


@pytest.mark.parametrize("command", ["accept", "deny"])
def test_answer_without_invitation(room: Shard, command: str) -> None:
    """A stranger is refused, by a private room as by none."""
    reason = "unknown_room" if is_private(room) else "not_invited"
    assert room.ask(command, DAVE) == refused(DAVE, reason, command)
    assert DAVE not in room.members()


@pytest.mark.parametrize("command", ["accept", "deny"])
def test_answer_to_no_room(shard: Shard, command: str) -> None:
    """There is nothing to answer."""
    assert shard.ask(command, DAVE) == refused(DAVE, "unknown_room", command)


def test_deny(room: Shard) -> None:
    """The invitation goes; owners and admins are told, members not."""
    room.ask("invite", ALICE, user=DAVE)
    assert room.ask("deny", DAVE) == told_all("denied", DAVE, ALICE, BOB, by=DAVE)
    assert DAVE not in room.members()
    assert not room.redis.hexists(room.keys.room(SHARD, ROOM), f"invitation:{DAVE}")


def test_deny_by_a_member(room: Shard) -> None:
    """A member has no invitation to deny and stays."""
    assert room.ask("deny", CAROL) == refused(CAROL, "not_invited", "deny")
    assert room.members()[CAROL] == "member"


def invite(shard: Shard, inviter: str, user: str) -> str:
    """Invites without emptying the out-stream; the event's id."""
    entry_id = shard.put("invite", inviter, user=user)
    assert shard.run("invite_member", *shard.command("invite_member", entry_id, inviter)) == "done"
    event_id = newest_invitation(shard)
    shard.drain()
    return event_id


@pytest.mark.parametrize(("status", "reason"), [("404", "delivery_failed"), ("408", "no_answer")])
def test_failed_invitation_is_withdrawn(room: Shard, status: str, reason: str) -> None:
    """A failure or silence withdraws the invitation, and the inviter hears why."""
    event_id = invite(room, BOB, DAVE)
    told = room.report("withdraw_invitation", "invited", DAVE, status, of=event_id, user=BOB)
    assert told == [heard("invitation_failed", BOB, by=DAVE, user=DAVE, reason=reason, detail=status)]
    assert DAVE not in room.members()
    assert not room.redis.hexists(room.keys.room(SHARD, ROOM), f"invitation:{DAVE}")


def test_failure_of_an_older_invitation(room: Shard) -> None:
    """Only the newest invitation's failure withdraws it."""
    older = invite(room, ALICE, DAVE)
    room.ask("remove", ALICE, user=DAVE)
    newer = invite(room, BOB, DAVE)
    assert room.report("withdraw_invitation", "invited", DAVE, "404", of=older, user=ALICE) == []
    assert room.members()[DAVE] == "invited"
    assert [
        told.to for told in room.report("withdraw_invitation", "invited", DAVE, "404", of=newer, user=BOB)
    ] == [(BOB,)]


def test_failure_after_the_answer(room: Shard) -> None:
    """Who accepted all the same (by another way) stays a member."""
    event_id = invite(room, ALICE, DAVE)
    room.ask("accept", DAVE)
    assert room.report("withdraw_invitation", "invited", DAVE, "408", of=event_id, user=ALICE) == []
    assert room.members()[DAVE] == "member"


def test_failure_after_the_room(room: Shard) -> None:
    """A receipt that comes when the room is gone changes nothing."""
    event_id = invite(room, ALICE, DAVE)
    room.ask("destroy", ALICE)
    assert room.report("withdraw_invitation", "invited", DAVE, "408", of=event_id, user=ALICE) == []
    assert not room.exists()
    assert room.members() == {}
