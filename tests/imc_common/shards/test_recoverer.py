"""Orphaned entries: read from Redis, but pending in no process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from imc_common import keys
from imc_common.shards import recoverer
from imc_common.shards.recoverer import Recoverer
from tests.fake_store import FakeStore

SHARD = 3


class Source:
    """Records which shards must be read again."""

    def __init__(self) -> None:
        self.again: list[int] = []

    def resync(self, shard: int, delay: float = 0.0) -> None:
        self.again.append(shard)


class Bench:
    """A recoverer of one shard, with a store and a source."""

    def __init__(self, store: FakeStore) -> None:
        self.store = store
        self.source = Source()
        self.held: set[bytes] = set()
        self.recoverer = Recoverer(
            store,
            self.source,
            lambda: frozenset({SHARD}),
            keys.events,
            3.0,
            lambda _, entry: entry in self.held,
        )

    async def handed_out(self, count: int) -> list[bytes]:
        """Add this number of entries and read them."""
        stream = keys.events(SHARD)
        await self.store.run([self.store.script("claim_stream", [stream, keys.lease(SHARD, "edge")], ["p1"])])
        await self.store.run([("XADD", stream, "*", "event", "message")] * count)
        ((_, entries),) = await self.store.read_new(keys.group("p1"), [stream], count, None)
        return [entry_id for entry_id, _ in entries or []]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    store = FakeStore()
    yield Bench(store)
    await store.close()


async def test_an_orphaned_entry_is_read_again(bench: Bench) -> None:
    """At the second check that finds it. At the first it may just have been read."""
    await bench.handed_out(2)
    await bench.recoverer.look()
    assert bench.source.again == []
    await bench.recoverer.look()
    assert bench.source.again == [SHARD]


async def test_a_pending_entry_is_left_alone(bench: Bench) -> None:
    """An event may wait for an unresponsive recipient for half a minute."""
    bench.held.update(await bench.handed_out(2))
    for _ in range(3):
        await bench.recoverer.look()
    assert bench.source.again == []


async def test_an_unread_entry_is_left_alone(bench: Bench) -> None:
    """However long it waits."""
    (read,) = await bench.handed_out(1)
    await bench.store.run([("XDEL", keys.events(SHARD), read), ("XADD", keys.events(SHARD), "*", "a", "b")])
    for _ in range(3):
        await bench.recoverer.look()
    assert bench.source.again == []


async def test_different_entries_at_two_checks_are_not_orphaned(bench: Bench) -> None:
    """The shard is only busy."""
    for _ in range(3):
        (read,) = await bench.handed_out(1)
        await bench.recoverer.look()
        await bench.store.run([("XDEL", keys.events(SHARD), read)])
    assert bench.source.again == []


async def test_an_orphaned_entry_is_found_behind_many_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are more than a check reads at once."""
    monkeypatch.setattr(recoverer, "PAGE", 3)
    *others, _ = await bench.handed_out(7)
    bench.held.update(others)
    await bench.recoverer.look()
    await bench.recoverer.look()
    assert bench.source.again == [SHARD]


async def test_a_key_of_the_wrong_type_is_ignored_by_the_recoverer(bench: Bench) -> None:
    """The consumer handles it."""
    await bench.store.run([("SET", keys.events(SHARD), "no stream")])
    await bench.recoverer.look()
    assert bench.source.again == []
