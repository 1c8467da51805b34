"""create_room, join_room: who comes in, and who is told."""

from tests.lua.shard import ALICE, BOB, CAROL, DAVE, ROOM, SHARD, Shard, decoded, heard, refused, told_all


def test_create_makes_the_sender_owner(shard: Shard) -> None:
    """A new public room: its owner is told, the indexes know it."""
    assert shard.ask("create", ALICE) == [heard("created", ALICE, by=ALICE, detail="public")]
    assert shard.members() == {ALICE: "owner"}
    about = decoded(shard.redis.hgetall(shard.keys.room(SHARD, ROOM)))
    seconds, _ = shard.redis.time()
    assert abs(int(about.pop("created_at")) / 1000 - seconds) < 3600
    assert about == {"private": "0", "owner": ALICE}
    assert shard.redis.zscore(shard.keys.rooms(SHARD), ROOM) == 0
    assert shard.owned_rooms(ALICE) == {ROOM}
    assert shard.private_rooms(ALICE) == set()


def test_create_private(shard: Shard) -> None:
    """A private room is marked in its hash, in the shard's rooms and in the index of its owner."""
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


def test_create_by_a_member_says_so(shard: Shard) -> None:
    """Somebody who is in the public room already is told that, and stays what it is."""
    shard.ask("create", ALICE)
    assert shard.ask("create", ALICE) == [heard("already_member", ALICE, by=ALICE, command="create")]
    assert shard.members() == {ALICE: "owner"}


def test_create_with_check_is_refused(shard: Shard) -> None:
    """With check_on_create an existing room is never joined by create."""
    shard.settings["check_on_create"] = 1
    assert shard.ask("create", ALICE) == [heard("created", ALICE, by=ALICE, detail="public")]
    assert shard.ask("create", BOB) == refused(BOB, "room_exists", "create")
    assert shard.members() == {ALICE: "owner"}


def test_create_of_a_private_room_is_refused(shard: Shard) -> None:
    """A private room is joined by nobody's create, not even of one who is invited."""
    shard.ask("create", ALICE, private="1")
    shard.ask("invite", ALICE, user=CAROL)
    for sender in (BOB, CAROL, ALICE):
        assert shard.ask("create", sender) == refused(sender, "room_exists", "create")
    assert shard.members() == {ALICE: "owner", CAROL: "invited"}


def test_join_makes_a_room_that_is_not_there(shard: Shard) -> None:
    """With create_on_join a join is a create."""
    assert shard.ask("join", ALICE) == [heard("created", ALICE, by=ALICE, detail="public")]
    assert shard.members() == {ALICE: "owner"}


def test_join_of_no_room_is_refused(shard: Shard) -> None:
    """Without create_on_join it is not."""
    shard.settings["create_on_join"] = 0
    assert shard.ask("join", ALICE) == refused(ALICE, "unknown_room", "join")
    assert not shard.exists()


def test_join_of_a_public_room(shard: Shard) -> None:
    """All members are told, the new one too; the invited are not."""
    shard.ask("create", ALICE)
    shard.ask("invite", ALICE, user=CAROL)
    assert shard.ask("join", BOB) == told_all("joined", ALICE, BOB, by=BOB)
    assert shard.members() == {ALICE: "owner", BOB: "member", CAROL: "invited"}


def test_join_by_a_member_says_so(shard: Shard) -> None:
    """Somebody who is in already hears it; an owner stays owner."""
    shard.ask("create", ALICE)
    assert shard.ask("join", ALICE) == [heard("already_member", ALICE, by=ALICE, command="join")]
    assert shard.members() == {ALICE: "owner"}


def test_join_of_a_private_room_by_the_invited(shard: Shard) -> None:
    """An invitation opens a private room to join."""
    shard.ask("create", ALICE, private="1")
    shard.ask("invite", ALICE, user=BOB)
    assert shard.ask("join", BOB) == told_all("joined", ALICE, BOB, by=BOB)
    assert shard.members() == {ALICE: "owner", BOB: "member"}
    assert shard.private_rooms(BOB) == {ROOM}
    assert set(shard.redis.hgetall(shard.keys.room(SHARD, ROOM))) == {b"private", b"owner", b"created_at"}


def test_join_of_a_private_room_by_a_stranger(shard: Shard) -> None:
    """The stranger hears what it would hear of no room; owners and admins hear of the attempt."""
    shard.ask("create", ALICE, private="1")
    shard.ask("add", ALICE, user=BOB)
    shard.ask("modify", ALICE, user=BOB, role="admin")
    shard.ask("add", ALICE, user=CAROL)
    assert shard.ask("join", DAVE) == [
        *refused(DAVE, "unknown_room", "join"),
        heard("join_refused", ALICE, BOB, by=DAVE),
    ]
    assert DAVE not in shard.members()


def test_full_room(shard: Shard) -> None:
    """max_members counts invitations; the invited still come in, and members are not turned away."""
    shard.settings["max_members"] = 2
    shard.ask("create", ALICE)
    shard.ask("invite", ALICE, user=BOB)
    assert shard.ask("join", CAROL) == refused(CAROL, "room_full", "join")
    assert shard.ask("create", CAROL) == refused(CAROL, "room_full", "create")
    assert shard.ask("join", BOB) == told_all("joined", ALICE, BOB, by=BOB)
    assert shard.ask("join", BOB) == [heard("already_member", BOB, by=BOB, command="join")]


def test_no_limit_of_members(shard: Shard) -> None:
    """max_members 0 is no limit."""
    shard.settings["max_members"] = 0
    shard.ask("create", ALICE)
    assert shard.ask("join", BOB) == told_all("joined", ALICE, BOB, by=BOB)


def test_full_private_room_tells_a_stranger_nothing(shard: Shard) -> None:
    """That a private room is full is none of a stranger's business."""
    shard.settings["max_members"] = 1
    shard.ask("create", ALICE, private="1")
    assert shard.ask("join", BOB)[0] == refused(BOB, "unknown_room", "join")[0]


def test_too_many_rooms(shard: Shard) -> None:
    """max_rooms_per_owner counts the rooms of this shard and of the others; joining is still free."""
    shard.settings |= {"max_rooms_per_owner": 2, "owned_elsewhere": 1}
    shard.ask("create", ALICE)
    other = "chat-001@example.org"
    for command in ("create", "join"):
        assert shard.ask(command, ALICE, other) == refused(ALICE, "too_many_rooms", command)
    assert not shard.exists(other)
    shard.settings["owned_elsewhere"] = 0
    assert shard.ask("create", ALICE, other) == [heard("created", ALICE, by=ALICE, detail="public")]
    assert shard.owned_rooms(ALICE) == {ROOM, other}


def test_no_limit_of_rooms(shard: Shard) -> None:
    """max_rooms_per_owner 0 is no limit."""
    shard.settings |= {"max_rooms_per_owner": 0, "owned_elsewhere": 1000}
    assert shard.ask("create", ALICE) == [heard("created", ALICE, by=ALICE, detail="public")]


def test_a_room_is_no_sender(shard: Shard) -> None:
    """What comes from the room's own address is dropped: an answer would come back for ever."""
    for command in ("create", "join", "message", "list"):
        assert shard.ask(command, ROOM) == []
    assert not shard.exists()
