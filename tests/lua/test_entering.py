"""create_room, join_room: who becomes a member, and who gets a notice."""

from tests.lua.shard import ALICE, BOB, CAROL, DAVE, ROOM, SHARD, Shard, decoded, heard, refused, told_all


def test_create_makes_the_sender_owner(shard: Shard) -> None:
    """A new public room: its owner is told, the indexes know it."""
    assert shard.ask("create", ALICE) == [heard("created", ALICE, by=ALICE, detail="public")]
    assert shard.members() == {ALICE: "owner"}
    about = decoded(shard.redis.hgetall(shard.keys.room(SHARD, ROOM)))
    seconds, _ = shard.redis.time()
    assert abs(int(about.pop("created_at")) / 1000 - seconds) < 3600
    assert about.pop(f"joined:{ALICE}")
    assert about == {"private": "0", "owner": ALICE}
    assert shard.redis.zscore(shard.keys.rooms(SHARD), ROOM) == 0
    assert shard.owned_rooms(ALICE) == {ROOM}
    assert shard.private_rooms(ALICE) == set()


def test_a_private_room_is_marked_in_its_hash_and_the_indexes(shard: Shard) -> None:
    """In the shard's list of rooms and in the index of its owner."""
    assert shard.ask("create", ALICE, private="1") == [heard("created", ALICE, by=ALICE, detail="private")]
    assert shard.redis.hget(shard.keys.room(SHARD, ROOM), "private") == b"1"
    assert shard.redis.zscore(shard.keys.rooms(SHARD), ROOM) == 1
    assert shard.private_rooms(ALICE) == {ROOM}


def test_create_of_a_public_room_joins_it(shard: Shard) -> None:
    """A public room that exists is joined, whatever the create asked for."""
    shard.ask("create", ALICE)
    assert shard.ask("create", BOB, private="1") == told_all("joined", ALICE, BOB, by=BOB)
    assert shard.members() == {ALICE: "owner", BOB: "member"}
    assert shard.private_rooms(BOB) == set()


def test_create_by_a_member_changes_nothing(shard: Shard) -> None:
    """The sender gets a notice and keeps the role."""
    shard.ask("create", ALICE)
    assert shard.ask("create", ALICE) == [heard("already_member", ALICE, by=ALICE, command="create")]
    assert shard.members() == {ALICE: "owner"}


def test_create_of_an_existing_room_is_refused_with_check_on_create(shard: Shard) -> None:
    """A new room can still be created."""
    shard.settings["check_on_create"] = 1
    assert shard.ask("create", ALICE) == [heard("created", ALICE, by=ALICE, detail="public")]
    assert shard.ask("create", BOB) == refused(BOB, "room_exists", "create")
    assert shard.members() == {ALICE: "owner"}


def test_create_of_an_existing_private_room_is_refused(shard: Shard) -> None:
    """For strangers, invited users and members alike."""
    shard.ask("create", ALICE, private="1")
    shard.ask("invite", ALICE, user=CAROL)
    for sender in (BOB, CAROL, ALICE):
        assert shard.ask("create", sender) == refused(sender, "room_exists", "create")
    assert shard.members() == {ALICE: "owner", CAROL: "invited"}


def test_join_creates_a_room_that_does_not_exist(shard: Shard) -> None:
    """With create_on_join."""
    assert shard.ask("join", ALICE) == [heard("created", ALICE, by=ALICE, detail="public")]
    assert shard.members() == {ALICE: "owner"}


def test_join_of_a_room_that_does_not_exist_is_refused(shard: Shard) -> None:
    """Without create_on_join."""
    shard.settings["create_on_join"] = 0
    assert shard.ask("join", ALICE) == refused(ALICE, "unknown_room", "join")
    assert not shard.exists()


def test_join_of_a_public_room_tells_all_members(shard: Shard) -> None:
    """The new one too; the invited are not told."""
    shard.ask("create", ALICE)
    shard.ask("invite", ALICE, user=CAROL)
    assert shard.ask("join", BOB) == told_all("joined", ALICE, BOB, by=BOB)
    assert shard.members() == {ALICE: "owner", BOB: "member", CAROL: "invited"}


def test_join_by_a_member_changes_nothing(shard: Shard) -> None:
    """The sender gets a notice; an owner stays owner."""
    shard.ask("create", ALICE)
    assert shard.ask("join", ALICE) == [heard("already_member", ALICE, by=ALICE, command="join")]
    assert shard.members() == {ALICE: "owner"}


def test_an_invited_user_joins_a_private_room(shard: Shard) -> None:
    """An invitation allows join as well as accept."""
    shard.ask("create", ALICE, private="1")
    shard.ask("invite", ALICE, user=BOB)
    assert shard.ask("join", BOB) == told_all("joined", ALICE, BOB, by=BOB)
    assert shard.members() == {ALICE: "owner", BOB: "member"}
    assert shard.private_rooms(BOB) == {ROOM}
    fields = set(decoded(shard.redis.hgetall(shard.keys.room(SHARD, ROOM))))
    assert fields == {"private", "owner", "created_at", f"joined:{ALICE}", f"joined:{BOB}"}


def test_a_stranger_who_joins_a_private_room_is_refused(shard: Shard) -> None:
    """As if the room did not exist; owners and admins are told of the attempt."""
    shard.ask("create", ALICE, private="1")
    shard.ask("add", ALICE, user=BOB)
    shard.ask("modify", ALICE, user=BOB, role="admin")
    shard.ask("add", ALICE, user=CAROL)
    assert shard.ask("join", DAVE) == [
        *refused(DAVE, "unknown_room", "join"),
        heard("join_refused", ALICE, BOB, by=DAVE),
    ]
    assert DAVE not in shard.members()


def test_invitations_count_for_the_maximum_of_members(shard: Shard) -> None:
    """Invited users can still join, and members are not refused."""
    shard.settings["max_members"] = 2
    shard.ask("create", ALICE)
    shard.ask("invite", ALICE, user=BOB)
    assert shard.ask("join", CAROL) == refused(CAROL, "room_full", "join")
    assert shard.ask("create", CAROL) == refused(CAROL, "room_full", "create")
    assert shard.ask("join", BOB) == told_all("joined", ALICE, BOB, by=BOB)
    assert shard.ask("join", BOB) == [heard("already_member", BOB, by=BOB, command="join")]


def test_max_members_0_is_no_limit(shard: Shard) -> None:
    shard.settings["max_members"] = 0
    shard.ask("create", ALICE)
    assert shard.ask("join", BOB) == told_all("joined", ALICE, BOB, by=BOB)


def test_a_stranger_does_not_learn_that_a_private_room_is_full(shard: Shard) -> None:
    """The refusal is the same as for no room."""
    shard.settings["max_members"] = 1
    shard.ask("create", ALICE, private="1")
    assert shard.ask("join", BOB)[0] == refused(BOB, "unknown_room", "join")[0]


def test_max_rooms_per_owner_counts_rooms_of_all_shards(shard: Shard) -> None:
    """Joining is still possible."""
    shard.settings |= {"max_rooms_per_owner": 2, "owned_elsewhere": 1}
    shard.ask("create", ALICE)
    other = "chat-001@example.org"
    for command in ("create", "join"):
        assert shard.ask(command, ALICE, other) == refused(ALICE, "too_many_rooms", command)
    assert not shard.exists(other)
    shard.settings["owned_elsewhere"] = 0
    assert shard.ask("create", ALICE, other) == [heard("created", ALICE, by=ALICE, detail="public")]
    assert shard.owned_rooms(ALICE) == {ROOM, other}


def test_max_rooms_per_owner_0_is_no_limit(shard: Shard) -> None:
    shard.settings |= {"max_rooms_per_owner": 0, "owned_elsewhere": 1000}
    assert shard.ask("create", ALICE) == [heard("created", ALICE, by=ALICE, detail="public")]


def test_a_request_from_the_room_itself_is_discarded(shard: Shard) -> None:
    """A response to it would come back forever."""
    for command in ("create", "join", "message", "list"):
        assert shard.ask(command, ROOM) == []
    assert not shard.exists()
