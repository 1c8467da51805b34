"""The overview that `imc top` reads and shows. Also covers top.py."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from rich.console import Console

from imc_cli import overview
from imc_cli.overview import Overview, Shard
from imc_cli.top import screen
from imc_common import keys
from imc_common.keys import Keys
from imc_common.settings import Settings
from tests.fake_store import FakeStore

ROOM = "chat-000@example.org"


@pytest.fixture
async def store() -> AsyncIterator[FakeStore]:
    """An empty store."""
    made = FakeStore()
    yield made
    await made.close()


def drawn(now: Overview, before: Overview | None = None, width: int = 160, height: int = 40) -> str:
    """The screen as text."""
    console = Console(width=width, height=height, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(screen(now, before, width, height))
    console.file.close()
    return console.export_text()


async def test_the_overview_has_the_state_of_all_shards(store: FakeStore) -> None:
    """Owners, lengths, pending entries, totals, rooms, dead letters, busiest rooms."""
    shard = 3
    await store.run(
        [store.script("claim_stream", [keys.requests(shard), keys.lease(shard, "worker")], ["p1"])]
    )
    await store.run([("XADD", keys.requests(shard), "*", "type", "help")] * 3)
    await store.read_new(keys.group("p1"), [keys.requests(shard)], 1, None)
    await store.run(
        [
            ("XADD", keys.dead(shard), "*", "type", "help"),
            ("ZADD", Keys().rooms(shard), 0, ROOM),
            ("SET", keys.lease(shard, "worker"), "w1"),
            ("SET", keys.lease(shard, "edge"), "e1"),
            ("ZADD", keys.WORKERS, 1, "w1"),
            ("ZADD", keys.EDGES, 1, "e1"),
            ("ZADD", keys.BUSIEST, 7, ROOM),
        ]
    )
    now = await overview.read(store, Settings(), 10.0)
    assert (now.workers, now.edges, now.busiest) == (["w1"], ["e1"], {ROOM: 7.0})
    seen = now.shards[shard]
    assert (seen.worker, seen.edge, seen.requests, seen.requests_pending) == ("w1", "e1", 3, 1)
    assert (seen.rooms, seen.dead, seen.events) == (1, 1, 0)
    assert now.shards[0] == Shard(0)
    (watched,) = await store.run([("SMEMBERS", keys.WATCHED)])
    assert list(watched) == [b"*rooms"]


@pytest.mark.parametrize(
    ("reply", "number"),
    [
        (5, 5),
        ([b"length", 1, b"entries-added", 9], 9),
        ({b"length": 1, b"entries-added": 9}, 9),
        ([], 0),
        (None, 0),
    ],
)
def test_lengths_are_read_from_all_kinds_of_replies(reply: object, number: int) -> None:
    """RESP2, RESP3, and errors."""
    assert overview._number(reply) == number


def test_rates_are_computed_from_two_overviews() -> None:
    """Per second; the first overview has none."""
    before = Overview(10.0, shards=[Shard(0, requests_ever=100, events_ever=10)], busiest={ROOM: 50.0})
    now = Overview(12.0, shards=[Shard(0, requests_ever=300, events_ever=10)], busiest={ROOM: 150.0})
    assert "100 requests/s  0 events/s" in drawn(now, before)
    assert f"{ROOM}" in drawn(now, before)
    assert "50.0" in drawn(now, before)
    assert "0 requests/s" in drawn(now)
    assert ROOM not in drawn(now)


def test_problems_are_visible() -> None:
    """Shards without owner, missing processes, dead letters, a long backlog."""
    shown = drawn(Overview(1.0, shards=[Shard(0, requests=5000, dead=2)]))
    for words in ("none", "no worker", "no edge", "2 dead letters", "5000"):
        assert words in shown


@pytest.mark.parametrize("width", [80, 110, 160])
def test_the_tables_fit_the_screen(width: int) -> None:
    """Of many shards, those with the longest queues are shown. No number is truncated on a narrow screen."""
    shards = [Shard(number, "a-host-with-a-very-long-name-1234-abcd", "e") for number in range(256)]
    shards[200].requests = 9
    now = Overview(1.0, ["a-host-with-a-very-long-name-1234-abcd"] * 40, ["e"] * 40, shards)
    shown = drawn(now, width=width, height=24)
    for heading in ("shard", "req/s", "ev/s", "rooms", "dead", "process", "busiest rooms"):
        assert heading in shown
    assert len(shown.rstrip().splitlines()) <= 24
    assert "  200 " in shown
    assert "more with shorter queues" in shown
