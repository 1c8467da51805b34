"""What a program has sent that answers every message: it goes nowhere, and its sender is told."""

from __future__ import annotations

import pytest

from imc_worker.actions import MUTE
from tests.lua.shard import ALICE, BOB, CAROL, ROOM, SHARD, Heard, Shard, decoded, heard, refused


@pytest.fixture
def room(shard: Shard) -> Shard:
    """A room that keeps messages; Bob's client answers."""
    shard.settings["history_max_messages"] = 500
    shard.ask("create", ALICE)
    for user in (BOB, CAROL):
        shard.ask("add", ALICE, user=user)
    return shard


def answers(shard: Shard, sender: str, *, is_told: bool = False) -> list[Heard]:
    """One answer of a program; what is heard of it."""
    entry_id = shard.put("message", sender)
    script_keys, args = shard.command("mute_answer", entry_id, sender)
    args[-1] = MUTE[is_told].args[0]
    assert shard.run("mute_answer", script_keys, args) == "done"
    assert shard.run("mute_answer", script_keys, args) == "gone"
    return shard.drain()


def test_nobody_gets_it_and_no_history_has_it(room: Shard) -> None:
    """The sender is told when the worker says so, and stays a member with all that is known of its client."""
    room.redis.hset(room.keys.members(SHARD, ROOM), BOB, "member cpim")
    assert answers(room, BOB) == []
    assert answers(room, BOB, is_told=True) == [heard("muted", BOB, by=BOB)]
    assert room.redis.xlen(room.keys.history(SHARD, ROOM)) == 0
    assert room.members()[BOB] == "member cpim"


def test_a_member_who_was_away_is_back(room: Shard) -> None:
    """As with any other message."""
    room.send_away(BOB)
    (called,) = answers(room, BOB)
    assert (called.event, called.to) == ("catch_up", (BOB,))


def test_who_is_no_member_is_refused(room: Shard) -> None:
    """Whoever sends it, and whatever the worker took it for."""
    stranger = "eve@example.org"
    assert answers(room, stranger, is_told=True) == refused(stranger, "not_member", "message")
    room.ask("remove", ALICE, user=BOB)
    assert answers(room, BOB) == refused(BOB, "not_member", "message")
    assert decoded(room.redis.hgetall(room.keys.members(SHARD, ROOM))).keys() == {ALICE, CAROL}
