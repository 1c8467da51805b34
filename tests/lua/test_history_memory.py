"""The memory in Redis that docs/history.md states: of histories, and of members who are away."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from imc_common import keys
from imc_common.rooms.request import RequestData
from tests.lua.shard import ALICE, BOB, IN, OUT, SHARD, Shard, decoded

PAGE = (Path(__file__).parents[2] / "docs" / "history.md").read_text()
TOLERANCE = 0.2
"""Versions of the servers differ; and so do ids and times, a little. After other work, Valkey states 16 or 32
bytes more for each small key."""
NOW_MS = 1_795_942_267_000
USERS = [f"user-{number:04}@example.org" for number in range(480)]


def stated(what: str, shard: Shard) -> int:
    """The figure in the row of the page that begins so, for this kind of server."""
    row = re.search(rf"^\| {re.escape(what)}[^|]*\| ([\d,]+) \| ([\d,]+) \|$", PAGE, re.MULTILINE)
    assert row is not None, what
    kind = shard.redis.info("server").get("server_name", "redis")
    return int(row[2 if kind == "valkey" else 1].replace(",", ""))


def close_to(figure: float) -> object:
    return pytest.approx(figure, rel=TOLERANCE)


def memory(shard: Shard, names: Iterable[str | bytes] = ()) -> int:
    """Bytes of these keys, or of all but the two streams that messages only pass through."""
    found = list(names) or [key for key in shard.redis.scan_iter() if key.decode() not in {IN, OUT}]
    return sum(shard.redis.memory_usage(name, samples=0) or 0 for name in found)


@pytest.fixture
def shard(real_shard: Shard) -> Shard:
    """On real servers: nothing else knows their memory."""
    real_shard.settings["history_max_messages"] = 500
    return real_shard


def make_room(shard: Shard, room: str) -> None:
    shard.ask("create", ALICE, room=room)
    shard.ask("add", ALICE, room=room, user=BOB)


def say(shard: Shard, room: str, size: int, count: int) -> None:
    """So many messages with texts of this size, as an edge accepts them."""
    for number in range(count):
        call_id = f"a84b4c76e66710-{number:08d}"
        data = RequestData(body=b"x" * size, display_name="Alice Example", call_id=call_id, at=NOW_MS).pack()
        fields: dict[str, str | bytes] = {"type": "message", "from": ALICE, "room": room, "data": data}
        entry = str(decoded(shard.redis.xadd(IN, fields)))  # type: ignore[arg-type] # text and bytes both
        name, args = shard.command("broadcast_message", entry, ALICE, room)
        assert shard.run("broadcast_message", name, args) == "done"
    shard.redis.xtrim(OUT, maxlen=0)


def test_a_room_of_two(shard: Shard) -> None:
    """Without a history."""
    before = memory(shard)
    make_room(shard, "chat-000@example.org")
    assert memory(shard) - before == close_to(stated("a room with two members", shard))


@pytest.mark.parametrize(
    ("row", "size", "count"),
    [
        ("a history with 1 message of 40 bytes", 40, 1),
        ("a history with 20 messages of 40 bytes", 40, 20),
        ("a history with 500 messages of 40 bytes", 40, 500),
        ("a history with 500 messages of 1,000 bytes", 1000, 500),
    ],
)
def test_a_history(shard: Shard, row: str, size: int, count: int) -> None:
    """As the script that broadcasts writes it."""
    make_room(shard, "chat-000@example.org")
    say(shard, "chat-000@example.org", size, count)
    history = shard.keys.history(SHARD, "chat-000@example.org")
    assert shard.redis.xlen(history) == count
    assert memory(shard, [history]) == close_to(stated(row, shard))


def test_a_member_who_is_away(shard: Shard) -> None:
    """One position, in each room; no copies of messages. What the edge notes at the user counts, too."""
    rooms = ("chat-000@example.org", "chat-001@example.org")
    rows = ("a member who is away, in its first room", "the same member, in each further room")
    for room in rooms:
        make_room(shard, room)
        for user in USERS:
            shard.ask("add", ALICE, room=room, user=user)
        say(shard, room, 40, 1)
    for room, row in zip(rooms, rows, strict=True):
        before = memory(shard)
        [(first, _)] = decoded(shard.redis.xrange(shard.keys.history(SHARD, room)))
        for user in USERS:
            shard.redis.sadd(keys.away_shards(user), SHARD)
            shard.report("mark_away", "message", user, "408", room=room, of=first, history_id=first)
        assert shard.redis.zcard(keys.probes(SHARD)) == len(USERS)
        assert (memory(shard) - before) / len(USERS) == close_to(stated(row, shard))
