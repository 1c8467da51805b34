"""remove_member, add_member, modify_member: what owners and admins can do to others."""

import pytest

from tests.lua.shard import ALICE, BOB, CAROL, DAVE, ROOM, SHARD, Shard, heard, refused, told_all

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


@pytest.mark.parametrize("actor", [ALICE, BOB])
def test_a_removed_member_and_the_others_are_told(room: Shard, actor: str) -> None:
    """Nothing of the membership is left."""
    assert room.ask("remove", actor, user=CAROL) == [
        heard("you_were_removed", CAROL, by=actor, user=CAROL, role="member"),
        *told_all("removed", ALICE, BOB, by=actor, user=CAROL, role="member"),
    ]
    assert CAROL not in room.members()
    assert room.private_rooms(CAROL) == set()


def test_an_invitation_can_be_withdrawn(room: Shard) -> None:
    """The event has the role `invited`."""
    assert room.ask("remove", BOB, user=DAVE) == [
        heard("you_were_removed", DAVE, by=BOB, user=DAVE, role="invited"),
        *told_all("removed", ALICE, BOB, CAROL, by=BOB, user=DAVE, role="invited"),
    ]
    assert DAVE not in room.members()
    assert not room.redis.hexists(room.keys.room(SHARD, ROOM), f"invitation:{DAVE}")


def test_an_owner_removes_an_admin(room: Shard) -> None:
    told = room.ask("remove", ALICE, user=BOB)
    assert told[1:] == told_all("removed", ALICE, CAROL, by=ALICE, user=BOB, role="admin")


def test_an_admin_cannot_remove_an_admin(room: Shard) -> None:
    """Nor itself: for that there is exit."""
    room.ask("modify", ALICE, user=CAROL, role="admin")
    for user in (BOB, CAROL):
        assert room.ask("remove", BOB, user=user) == refused(BOB, "owner_only", "remove", user=user)


@pytest.mark.parametrize("actor", [ALICE, BOB])
def test_an_owner_cannot_be_removed(room: Shard, actor: str) -> None:
    """Not by an admin, by another owner, or by itself."""
    assert room.ask("remove", actor, user=ALICE) == refused(actor, "is_owner", "remove", user=ALICE)
    room.ask("modify", ALICE, user=CAROL, role="owner")
    assert room.ask("remove", CAROL, user=ALICE) == refused(CAROL, "is_owner", "remove", user=ALICE)
    assert room.members()[ALICE] == "owner"


def test_only_users_in_the_room_can_be_removed(room: Shard) -> None:
    assert room.ask("remove", ALICE, user=EVE) == refused(ALICE, "not_in_room", "remove", user=EVE)


@pytest.mark.parametrize(
    ("command", "more"),
    [("remove", {"user": CAROL}), ("add", {"user": EVE}), ("modify", {"user": CAROL, "role": "admin"})],
)
def test_others_than_owners_and_admins_are_refused(room: Shard, command: str, more: dict[str, str]) -> None:
    """Members, invited users and strangers, each with their reason; nothing changes."""
    before = room.members()
    assert room.ask(command, CAROL, **more) == refused(CAROL, "admins_only", command, **more)
    assert room.ask(command, DAVE, **more) == refused(DAVE, "not_member", command, **more)
    stranger = "unknown_room" if is_private(room) else "not_member"
    assert room.ask(command, EVE, **more) == refused(EVE, stranger, command, **more)
    assert room.members() == before


@pytest.mark.parametrize(
    ("command", "more"),
    [("remove", {"user": CAROL}), ("add", {"user": EVE}), ("modify", {"user": CAROL, "role": "admin"})],
)
def test_commands_about_members_of_no_room_are_refused(
    shard: Shard, command: str, more: dict[str, str]
) -> None:
    assert shard.ask(command, ALICE, **more) == refused(ALICE, "unknown_room", command, **more)


@pytest.mark.parametrize("actor", [ALICE, BOB])
def test_an_added_user_is_a_member_at_once(room: Shard, actor: str) -> None:
    """All are told."""
    assert room.ask("add", actor, user=EVE) == told_all("added", ALICE, BOB, CAROL, EVE, by=actor, user=EVE)
    assert room.members()[EVE] == "member"
    assert room.private_rooms(EVE) == ({ROOM} if is_private(room) else set())


def test_an_invited_user_can_be_added(room: Shard) -> None:
    """Without a response to the invitation."""
    assert room.ask("add", ALICE, user=DAVE) == told_all(
        "added", ALICE, BOB, CAROL, DAVE, by=ALICE, user=DAVE
    )
    assert room.members()[DAVE] == "member"
    assert not room.redis.hexists(room.keys.room(SHARD, ROOM), f"invitation:{DAVE}")


def test_a_member_cannot_be_added_again(room: Shard) -> None:
    """The role stays."""
    for user in (ALICE, BOB, CAROL):
        assert room.ask("add", ALICE, user=user) == refused(ALICE, "user_is_member", "add", user=user)
    assert room.members()[ALICE] == "owner"


def test_a_room_cannot_be_added_to_itself(room: Shard) -> None:
    assert room.ask("add", ALICE, user=ROOM) == refused(ALICE, "is_room", "add", user=ROOM)


def test_a_full_room_refuses_to_add_users(room: Shard) -> None:
    """An invited user has a place already."""
    room.settings["max_members"] = 4
    assert room.ask("add", ALICE, user=EVE) == refused(ALICE, "room_full", "add", user=EVE)
    assert room.ask("add", ALICE, user=DAVE)[0].event == "added"


@pytest.mark.parametrize("actor", [ALICE, BOB])
def test_a_member_becomes_admin(room: Shard, actor: str) -> None:
    """By an owner or an admin; all are told."""
    events = room.ask("modify", actor, user=CAROL, role="admin")
    assert events == told_all("role_changed", ALICE, BOB, CAROL, by=actor, user=CAROL, role="admin")
    assert room.members()[CAROL] == "admin"


def test_an_owner_appoints_another_and_steps_down(room: Shard) -> None:
    """The index of owned rooms follows."""
    room.ask("modify", ALICE, user=CAROL, role="owner")
    assert room.owned_rooms(CAROL) == {ROOM}
    events = room.ask("modify", ALICE, user=ALICE, role="member")
    assert events == told_all("role_changed", ALICE, BOB, CAROL, by=ALICE, user=ALICE, role="member")
    assert room.owned_rooms(ALICE) == set()
    assert room.members() == {ALICE: "member", BOB: "admin", CAROL: "owner", DAVE: "invited"}


def test_the_last_owner_cannot_step_down(room: Shard) -> None:
    """A room without an owner could not be administered."""
    for role in ("member", "admin"):
        more = {"user": ALICE, "role": role}
        assert room.ask("modify", ALICE, **more) == refused(ALICE, "last_owner", "modify", **more)
    assert room.members()[ALICE] == "owner"


@pytest.mark.parametrize(
    ("user", "role"), [(BOB, "owner"), (CAROL, "owner"), (ALICE, "admin"), (ALICE, "member"), (EVE, "member")]
)
def test_an_admin_cannot_change_owners_and_other_admins(room: Shard, user: str, role: str) -> None:
    """Nor make an owner, not even of itself."""
    room.ask("add", ALICE, user=EVE)
    room.ask("modify", ALICE, user=EVE, role="admin")
    more = {"user": user, "role": role}
    assert room.ask("modify", BOB, **more) == refused(BOB, "owner_only", "modify", **more)


def test_an_admin_can_become_a_plain_member(room: Shard) -> None:
    """By its own command."""
    assert room.ask("modify", BOB, user=BOB, role="member")[0].event == "role_changed"
    assert room.members()[BOB] == "member"


@pytest.mark.parametrize("user", [DAVE, EVE])
def test_only_members_have_a_role_to_change(room: Shard, user: str) -> None:
    """Strangers and invited users do not: nobody accepts an invitation for another."""
    more = {"user": user, "role": "admin"}
    assert room.ask("modify", ALICE, **more) == refused(ALICE, "not_in_room", "modify", **more)


def test_the_same_role_again_is_refused(room: Shard) -> None:
    """Nobody else is told."""
    more = {"user": BOB, "role": "admin"}
    assert room.ask("modify", ALICE, **more) == refused(ALICE, "role_already", "modify", **more)


@pytest.mark.parametrize("role", ["invited", "king", ""])
def test_an_unknown_role_is_refused(room: Shard, role: str) -> None:
    """`invited` is no role."""
    more = {"user": CAROL, "role": role}
    assert room.ask("modify", ALICE, **more) == refused(ALICE, "bad_role", "modify", **more)
    assert room.members()[CAROL] == "member"


def test_the_limit_of_rooms_holds_for_an_appointed_owner(room: Shard) -> None:
    room.settings |= {"max_rooms_per_owner": 2, "owned_elsewhere": 2}
    more = {"user": CAROL, "role": "owner"}
    assert room.ask("modify", ALICE, **more) == refused(ALICE, "too_many_rooms", "modify", **more)
    assert room.owned_rooms(CAROL) == set()


def at_port(user: str, number: int) -> str:
    return f"{user}:{number}"


def test_a_room_that_a_user_owns_at_one_port_is_no_further_one_at_another(shard: Shard) -> None:
    """It is counted once, so the limit does not hold it back."""
    shard.settings["max_rooms_per_owner"] = 1
    first, second = at_port(ALICE, 5061), at_port(ALICE, 5062)
    shard.ask("create", first)
    shard.ask("add", first, user=second)
    assert shard.ask("modify", first, user=second, role="owner")[0].event == "role_changed"
    assert len(shard.owned_rooms(ALICE)) == 1


def test_owned_rooms_are_counted_over_all_ports_of_an_address(shard: Shard) -> None:
    """A user who chooses the port cannot own more rooms."""
    shard.settings["max_rooms_per_owner"] = 2
    for number in (1, 2):
        assert shard.ask("create", at_port(ALICE, 5060 + number), f"r{number}@h")[0].event == "created"
    for sender in (ALICE, at_port(ALICE, 5070)):
        assert shard.ask("create", sender, "more@h") == refused(sender, "too_many_rooms", "create")
    assert shard.owned_rooms(ALICE) == {"r1@h", "r2@h"}
    shard.ask("destroy", at_port(ALICE, 5061), "r1@h")
    assert shard.owned_rooms(ALICE) == {"r2@h"}


@pytest.mark.parametrize("way", ["exit", "modify", "time out"])
def test_a_room_counts_as_owned_until_the_user_owns_it_at_no_port(shard: Shard, way: str) -> None:
    """However the ownership ends."""
    first, second = at_port(ALICE, 5061), at_port(ALICE, 5062)
    shard.ask("create", BOB)
    for user in (first, second):
        shard.ask("add", BOB, user=user)
        shard.ask("modify", BOB, user=user, role="owner")
    shard.ask("add", BOB, user=ALICE)
    assert shard.ask("exit", ALICE)[0].event == "left"  # a plain member there
    for user, left in ((first, {ROOM}), (second, set())):
        assert shard.owned_rooms(ALICE) == {ROOM}
        if way == "exit":
            shard.ask("exit", user)
        elif way == "modify":
            shard.ask("modify", BOB, user=user, role="member")
        else:
            shard.time_out(user)
        assert shard.owned_rooms(ALICE) == left


EVES = [f"eve@127.0.0.1:{port}" for port in range(10_000, 10_008)]


@pytest.fixture
def crowded(shard: Shard) -> Shard:
    """A public room where Eve is at as many ports as possible."""
    shard.ask("create", ALICE)
    for eve in EVES:
        shard.ask("join", eve)
    assert len(shard.members()) == 1 + len(EVES)
    return shard


@pytest.mark.parametrize("command", ["join", "create"])
def test_one_user_takes_few_places_whatever_ports_it_has(crowded: Shard, command: str) -> None:
    """A user at other ports of one host is one user; others, and the same name elsewhere, find a place."""
    ninth = "eve@127.0.0.1:10008"
    assert crowded.ask(command, ninth) == refused(ninth, "too_many_devices", command)
    assert crowded.ask(command, EVES[0])[0].event == "already_member"
    for other in ("mallory@127.0.0.1:10000", "eve@127.0.0.2:10000", "eve@127.0.0.1", "aeve@127.0.0.1:1"):
        assert crowded.ask(command, other)[0].event == "joined"


@pytest.mark.parametrize("command", ["invite", "add"])
def test_places_of_one_user_are_counted_for_whoever_brings_it_in(crowded: Shard, command: str) -> None:
    """An invitation takes a place, too; one that is accepted takes no second one."""
    ninth = "eve@127.0.0.1:10008"
    assert crowded.ask(command, ALICE, user=ninth) == refused(ALICE, "too_many_devices", command, user=ninth)
    crowded.ask("exit", EVES[0])
    assert ninth in str(crowded.ask(command, ALICE, user=ninth))
    assert ninth in crowded.members()
    if command == "invite":
        assert crowded.ask("accept", ninth)[0].event == "joined"


def test_ports_of_an_ipv6_address_are_counted_too(shard: Shard) -> None:
    """The colons in the brackets are no port."""
    shard.ask("create", ALICE)
    for number in range(20):
        shard.ask("join", f"eve@[2001:db8::{number}]")
        shard.ask("join", f"mallory@[2001:db8::1]:{5060 + number}")
    members = shard.members()
    assert len([one for one in members if one.startswith("eve")]) == 20
    assert len([one for one in members if one.startswith("mallory")]) == 8
