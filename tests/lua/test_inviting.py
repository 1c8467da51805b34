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
    """The id of the last event of the out-stream, as settle puts it into a report."""
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
def test_owners_and_admins_invite(room: Shard, inviter: str) -> None:
    """The invited and the sender are told; the invitation is in the room's hash, and in no index."""
    assert room.ask("invite", inviter, user=DAVE) == sent_invitation(inviter)
    assert room.members()[DAVE] == "invited"
    assert room.private_rooms(DAVE) == set()


def test_a_member_cannot_invite(room: Shard) -> None:
    """Only owners and admins can."""
    assert room.ask("invite", CAROL, user=DAVE) == refused(CAROL, "admins_only", "invite", user=DAVE)
    assert DAVE not in room.members()


def test_a_stranger_cannot_invite(room: Shard) -> None:
    """To a stranger, a private room looks like no room."""
    reason = "unknown_room" if is_private(room) else "not_member"
    assert room.ask("invite", DAVE, user=DAVE) == refused(DAVE, reason, "invite", user=DAVE)


def test_an_invited_user_cannot_invite(room: Shard) -> None:
    """An invitation is not a membership."""
    room.ask("invite", ALICE, user=DAVE)
    assert room.ask("invite", DAVE, user="eve@x") == refused(DAVE, "not_member", "invite", user="eve@x")


def test_an_invitation_creates_no_room(shard: Shard) -> None:
    """It is refused."""
    assert shard.ask("invite", ALICE, user=BOB) == refused(ALICE, "unknown_room", "invite", user=BOB)
    assert not shard.exists()


def test_a_member_cannot_be_invited(room: Shard) -> None:
    """Nor the sender itself."""
    for user in (ALICE, BOB, CAROL):
        assert room.ask("invite", ALICE, user=user) == refused(ALICE, "user_is_member", "invite", user=user)


def test_a_room_cannot_be_invited_to_itself(room: Shard) -> None:
    """It would write to itself forever."""
    assert room.ask("invite", ALICE, user=ROOM) == refused(ALICE, "is_room", "invite", user=ROOM)


def test_a_user_is_not_invited_twice(room: Shard) -> None:
    """Until they have responded."""
    room.ask("invite", ALICE, user=DAVE)
    for who in (ALICE, BOB):
        assert room.ask("invite", who, user=DAVE) == refused(who, "user_is_invited", "invite", user=DAVE)
    assert room.members()[DAVE] == "invited"
    room.ask("deny", DAVE)
    assert room.ask("invite", BOB, user=DAVE) == sent_invitation(BOB)


def test_a_full_room_refuses_invitations(room: Shard) -> None:
    """An invitation takes a place."""
    room.settings["max_members"] = 4
    room.ask("invite", ALICE, user=DAVE)
    assert room.ask("invite", ALICE, user="eve@x") == refused(ALICE, "room_full", "invite", user="eve@x")


def test_accept_makes_the_invited_user_a_member(room: Shard) -> None:
    """All are told, and nothing of the invitation is left."""
    room.ask("invite", ALICE, user=DAVE)
    assert room.ask("accept", DAVE) == told_all("joined", ALICE, BOB, CAROL, DAVE, by=DAVE)
    assert room.members()[DAVE] == "member"
    assert room.private_rooms(DAVE) == ({ROOM} if is_private(room) else set())
    assert not room.redis.hexists(room.keys.room(SHARD, ROOM), f"invitation:{DAVE}")


def test_accept_by_a_member_changes_nothing(room: Shard) -> None:
    """The sender is told so."""
    assert room.ask("accept", CAROL) == [heard("already_member", CAROL, by=CAROL, command="accept")]


@pytest.mark.parametrize("command", ["accept", "deny"])
def test_accept_and_deny_without_an_invitation_are_refused(room: Shard, command: str) -> None:
    """A private room looks like no room."""
    reason = "unknown_room" if is_private(room) else "not_invited"
    assert room.ask(command, DAVE) == refused(DAVE, reason, command)
    assert DAVE not in room.members()


@pytest.mark.parametrize("command", ["accept", "deny"])
def test_accept_and_deny_of_no_room_are_refused(shard: Shard, command: str) -> None:
    assert shard.ask(command, DAVE) == refused(DAVE, "unknown_room", command)


def test_deny_removes_the_invitation(room: Shard) -> None:
    """The invitation goes; owners and admins are told, members not."""
    room.ask("invite", ALICE, user=DAVE)
    assert room.ask("deny", DAVE) == told_all("denied", DAVE, ALICE, BOB, by=DAVE)
    assert DAVE not in room.members()
    assert not room.redis.hexists(room.keys.room(SHARD, ROOM), f"invitation:{DAVE}")


def test_deny_by_a_member_is_refused(room: Shard) -> None:
    """The sender stays a member."""
    assert room.ask("deny", CAROL) == refused(CAROL, "not_invited", "deny")
    assert room.members()[CAROL] == "member"


def invite(shard: Shard, inviter: str, user: str) -> str:
    """Invites without emptying the out-stream; the event's id."""
    entry_id = shard.put("invite", inviter, user=user)
    assert shard.run("invite_member", *shard.command("invite_member", entry_id, inviter)) == "done"
    event_id = newest_invitation(shard)
    shard.drain()
    return event_id


@pytest.mark.parametrize(("status", "reason"), [("404", "delivery_failed"), ("408", "no_response")])
def test_an_invitation_that_is_not_delivered_is_withdrawn(room: Shard, status: str, reason: str) -> None:
    """After a failure or no response; the inviter is told why."""
    event_id = invite(room, BOB, DAVE)
    told = room.report("withdraw_invitation", "invited", DAVE, status, of=event_id, user=BOB)
    assert told == [heard("invitation_failed", BOB, by=DAVE, user=DAVE, reason=reason, detail=status)]
    assert DAVE not in room.members()
    assert not room.redis.hexists(room.keys.room(SHARD, ROOM), f"invitation:{DAVE}")


def test_the_failure_of_an_older_invitation_withdraws_nothing(room: Shard) -> None:
    """Only that of the newest one does."""
    older = invite(room, ALICE, DAVE)
    room.ask("remove", ALICE, user=DAVE)
    newer = invite(room, BOB, DAVE)
    assert room.report("withdraw_invitation", "invited", DAVE, "404", of=older, user=ALICE) == []
    assert room.members()[DAVE] == "invited"
    assert [
        told.to for told in room.report("withdraw_invitation", "invited", DAVE, "404", of=newer, user=BOB)
    ] == [(BOB,)]


def test_a_failure_after_accept_changes_nothing(room: Shard) -> None:
    """The user may have accepted by another device."""
    event_id = invite(room, ALICE, DAVE)
    room.ask("accept", DAVE)
    assert room.report("withdraw_invitation", "invited", DAVE, "408", of=event_id, user=ALICE) == []
    assert room.members()[DAVE] == "member"


def test_a_failure_after_the_end_of_the_room_changes_nothing(room: Shard) -> None:
    event_id = invite(room, ALICE, DAVE)
    room.ask("destroy", ALICE)
    assert room.report("withdraw_invitation", "invited", DAVE, "408", of=event_id, user=ALICE) == []
    assert not room.exists()
    assert room.members() == {}
