"""ban_user, unban_user, list_bans: who is kept out of a room."""

from __future__ import annotations

import pytest

from tests.lua.shard import ALICE, BOB, CAROL, DAVE, ROOM, SHARD, Shard, decoded, heard, refused, told_all

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


def banned(shard: Shard) -> set[str]:
    """Whom the room's hash says to be banned."""
    fields = decoded(shard.redis.hkeys(shard.keys.room(SHARD, ROOM)))
    return {field.removeprefix("ban:") for field in fields if field.startswith("ban:")}


@pytest.mark.parametrize("actor", [ALICE, BOB])
def test_a_banned_member_is_removed_and_the_rest_told(room: Shard, actor: str) -> None:
    """By owner or admin; of the membership nothing is left."""
    assert room.ask("ban", actor, user=CAROL) == [
        heard("you_were_banned", CAROL, by=actor, user=CAROL),
        *told_all("banned", ALICE, BOB, by=actor, user=CAROL),
    ]
    assert CAROL not in room.members()
    assert room.private_rooms(CAROL) == set()
    assert banned(room) == {CAROL}


def test_a_banned_invitation_is_removed(room: Shard) -> None:
    """The invited user is told, and can accept no more."""
    assert room.ask("ban", ALICE, user=DAVE)[0] == heard("you_were_banned", DAVE, by=ALICE, user=DAVE)
    assert DAVE not in room.members()
    assert not room.redis.hexists(room.keys.room(SHARD, ROOM), f"invitation:{DAVE}")
    assert room.ask("accept", DAVE)[0].more["reason"] == (
        "unknown_room" if is_private(room) else "not_invited"
    )


def test_a_stranger_can_be_banned_and_only_owners_and_admins_are_told(room: Shard) -> None:
    """Before the first visit; members need not hear of somebody they never met, nor does that user."""
    assert room.ask("ban", BOB, user=EVE) == told_all("banned", BOB, ALICE, by=BOB, user=EVE)
    assert banned(room) == {EVE}


def test_a_removed_member_can_come_back_and_a_banned_one_cannot(shard: Shard) -> None:
    """A removal is for now, a ban lasts until it is lifted."""
    shard.ask("create", ALICE)
    shard.ask("join", BOB)
    shard.ask("remove", ALICE, user=BOB)
    assert shard.ask("join", BOB)[0].event == "joined"
    shard.ask("ban", ALICE, user=BOB)
    for command in ("join", "create"):
        assert shard.ask(command, BOB) == refused(BOB, "you_are_banned", command)
    assert shard.members() == {ALICE: "owner"}
    shard.ask("unban", ALICE, user=BOB)
    assert shard.ask("join", BOB)[0].event == "joined"


def test_a_banned_user_learns_nothing_of_a_private_room(shard: Shard) -> None:
    """And the attempt to join is told to nobody: who was banned could go on for ever."""
    shard.ask("create", ALICE, private="1")
    shard.ask("ban", ALICE, user=BOB)
    assert shard.ask("join", BOB) == refused(BOB, "unknown_room", "join")
    assert shard.ask("join", CAROL)[1:] == [heard("join_refused", ALICE, by=CAROL)]


@pytest.mark.parametrize("command", ["invite", "add"])
def test_a_banned_user_is_neither_invited_nor_added(room: Shard, command: str) -> None:
    """The ban has to be lifted first, so that no admin undoes another's by mistake."""
    room.ask("ban", ALICE, user=EVE)
    assert room.ask(command, BOB, user=EVE) == refused(BOB, "user_is_banned", command, user=EVE)
    room.ask("unban", BOB, user=EVE)
    assert room.ask(command, BOB, user=EVE)[0].event != "refused"


def at_port(user: str, number: int) -> str:
    return f"{user}:{number}"


def test_a_ban_holds_at_every_port(shard: Shard) -> None:
    """Who may choose the port of its address does not get around it; all of that user go."""
    shard.ask("create", ALICE)
    ports = [at_port(BOB, 5061), at_port(BOB, 5062)]
    for user in (*ports, CAROL):
        shard.ask("join", user)
    told = shard.ask("ban", ALICE, user=at_port(BOB, 5070))
    assert told[0].to == tuple(ports)
    assert shard.members() == {ALICE: "owner", CAROL: "member"}
    for user in (BOB, at_port(BOB, 5063)):
        assert shard.ask("join", user) == refused(user, "you_are_banned", "join")
    shard.ask("unban", ALICE, user=at_port(BOB, 5099))
    assert shard.ask("join", BOB)[0].event == "joined"


def test_owners_cannot_be_banned_and_admins_only_by_an_owner(room: Shard) -> None:
    """As with removing, at every port."""
    for user in (ALICE, at_port(ALICE, 5070)):
        assert room.ask("ban", BOB, user=user) == refused(BOB, "is_owner", "ban", user=user)
    room.ask("modify", ALICE, user=CAROL, role="admin")
    assert room.ask("ban", BOB, user=CAROL) == refused(BOB, "owner_only", "ban", user=CAROL)
    assert room.ask("ban", BOB, user=BOB) == refused(BOB, "owner_only", "ban", user=BOB)
    assert room.ask("ban", ALICE, user=CAROL)[0].event == "you_were_banned"
    assert banned(room) == {CAROL}


@pytest.mark.parametrize(
    ("command", "more"), [("ban", {"user": EVE}), ("unban", {"user": EVE}), ("bans", {})]
)
def test_others_than_owners_and_admins_are_refused(room: Shard, command: str, more: dict[str, str]) -> None:
    """Members, invited users and strangers, each with their reason; nothing changes."""
    room.ask("ban", ALICE, user="mallory@example.org")
    assert room.ask(command, CAROL, **more) == refused(CAROL, "admins_only", command, **more)
    assert room.ask(command, DAVE, **more) == refused(DAVE, "not_member", command, **more)
    stranger = "unknown_room" if is_private(room) else "not_member"
    assert room.ask(command, EVE, **more) == refused(EVE, stranger, command, **more)
    assert banned(room) == {"mallory@example.org"}


def test_a_ban_that_exists_or_does_not_or_of_the_room_is_refused(room: Shard) -> None:
    """A second ban, a ban of the room itself, lifting a ban that does not exist."""
    room.ask("ban", ALICE, user=EVE)
    assert room.ask("ban", ALICE, user=EVE) == refused(ALICE, "user_is_banned", "ban", user=EVE)
    assert room.ask("ban", ALICE, user=ROOM) == refused(ALICE, "is_room", "ban", user=ROOM)
    assert room.ask("unban", ALICE, user=BOB) == refused(ALICE, "not_banned", "unban", user=BOB)


def test_a_room_has_a_maximum_of_bans(room: Shard) -> None:
    """max_bans bounds what a room keeps; 0 is no limit."""
    room.settings["max_bans"] = 1
    room.ask("ban", ALICE, user=EVE)
    assert room.ask("ban", ALICE, user=CAROL) == refused(ALICE, "too_many_bans", "ban", user=CAROL)
    assert CAROL in room.members()
    room.settings["max_bans"] = 0
    assert room.ask("ban", ALICE, user=CAROL)[0].event == "you_were_banned"


def test_bans_are_listed_for_owners_and_admins(room: Shard) -> None:
    """An empty list is one, too."""
    assert room.ask("bans", BOB) == [heard("bans", BOB, by=BOB, list="")]
    for user in (CAROL, EVE):
        room.ask("ban", ALICE, user=user)
    (event,) = room.ask("bans", BOB)
    assert set(event.more["list"].split()) == {CAROL, EVE}


def test_bans_end_with_the_room_and_not_with_a_membership(shard: Shard) -> None:
    """Who leaves and comes back was not banned; a new room of that name has no bans."""
    shard.ask("create", ALICE)
    shard.ask("ban", ALICE, user=EVE)
    shard.ask("join", BOB)
    shard.ask("exit", BOB)
    assert banned(shard) == {EVE}
    shard.ask("destroy", ALICE)
    assert shard.ask("create", EVE)[0].event == "created"
    assert banned(shard) == set()
