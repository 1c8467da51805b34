"""set_nickname, and where a nickname is shown."""

from __future__ import annotations

import pytest

from tests.lua.shard import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
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
    """Alice owns the room, Bob and Carol are members, Dave is invited."""
    shard.ask("create", ALICE, **({"private": "1"} if request.param == "private" else {}))
    for user in (BOB, CAROL):
        shard.ask("add", ALICE, user=user)
    shard.ask("invite", ALICE, user=DAVE)
    return shard


def nick_of(shard: Shard, user: str) -> str | None:
    name = shard.redis.hget(shard.keys.room(SHARD, ROOM), f"nick:{user}")
    return None if name is None else str(decoded(name))


def test_a_member_takes_changes_and_gives_up_a_nickname(room: Shard) -> None:
    """All members are told each time."""
    everybody = (ALICE, BOB, CAROL)
    for name in ("Bobby", "Ünïcode", "Bob"):
        assert room.ask("nick", BOB, text=name) == told_all("nickname_set", *everybody, by=BOB, detail=name)
        assert nick_of(room, BOB) == name
    assert room.ask("nick", BOB) == told_all("nickname_set", *everybody, by=BOB, detail="")
    assert nick_of(room, BOB) is None


@pytest.mark.parametrize("name", ["Al", "AL", "al", "bob", "Bob", "dave"])
def test_a_name_that_stands_for_another_is_refused(room: Shard, name: str) -> None:
    """Another's nickname, or the user part of another member's or invited user's address, in any case."""
    room.ask("nick", ALICE, text="Al")
    assert room.ask("nick", CAROL, text=name) == refused(CAROL, "name_taken", "nick", detail=name)
    assert nick_of(room, CAROL) is None


def test_ones_own_name_is_free(room: Shard) -> None:
    """To write one's nickname another way, or to take the user part of one's own address."""
    room.ask("nick", BOB, text="Bobby")
    for name in ("BOBBY", "bob"):
        assert room.ask("nick", BOB, text=name)[0].event == "nickname_set"


def test_a_nickname_ends_with_the_membership(room: Shard) -> None:
    """Then another may take it; who comes back has none."""
    room.ask("nick", BOB, text="Bobby")
    room.ask("exit", BOB)
    assert nick_of(room, BOB) is None
    assert room.ask("nick", CAROL, text="Bobby")[0].event == "nickname_set"


@pytest.mark.parametrize("user", [DAVE, EVE])
def test_only_members_have_nicknames(room: Shard, user: str) -> None:
    """Neither the invited nor strangers."""
    (event,) = room.ask("nick", user, text="X")
    assert event.event == "refused"
    assert nick_of(room, user) is None


def test_in_a_quiet_room_only_the_sender_is_told(room: Shard) -> None:
    """As of joins and leaves."""
    room.ask("announce", ALICE, text="off")
    assert room.ask("nick", BOB, text="Bobby") == [heard("nickname_set", BOB, by=BOB, detail="Bobby")]


def test_the_list_of_members_has_nicknames(room: Shard) -> None:
    """Behind the address of those who have one."""
    room.ask("nick", BOB, text="Bobby")
    (event,) = room.ask("list", CAROL)
    assert set(event.more["list"].split()) == {f"owner:{ALICE}", f"member:{BOB}|Bobby", f"member:{CAROL}"}


def test_a_message_carries_the_nickname_where_it_is_shown(room: Shard) -> None:
    """With `{name}` in the prefix, or without a prefix; by default the room is not even looked at for it."""
    room.ask("nick", BOB, text="Bobby")
    assert room.ask("message", BOB) == [heard("message", ALICE, CAROL, by=BOB)]
    for prefix in ("{name}: ", ""):
        room.settings["sender_prefix"] = prefix
        assert room.ask("message", BOB) == [heard("message", ALICE, CAROL, by=BOB, nick="Bobby")]
        assert room.ask("message", CAROL) == [heard("message", ALICE, BOB, by=CAROL)]


def test_messages_handled_together_carry_their_nicknames(shard: Shard) -> None:
    """Each that of its sender in its room."""
    other = "chat-001@example.org"
    for name in (ROOM, other):
        shard.ask("create", ALICE, name)
        shard.ask("join", BOB, name)
    shard.ask("nick", BOB, text="Bobby")
    shard.ask("nick", ALICE, other, text="Al")
    sent = [(BOB, ROOM), (ALICE, ROOM), (BOB, other), (ALICE, other)]
    for with_names, nicks in ((True, ["Bobby", None, None, "Al"]), (False, [None] * 4)):
        ids = [shard.put("message", sender, name) for sender, name in sent]
        assert shard.together(ids, names=with_names) == 4
        assert [event.more.get("nick") for event in shard.drain()] == nicks
