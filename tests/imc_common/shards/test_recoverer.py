"""Entries that were handed out and that nobody has in hand."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from imc_common import keys
from imc_common.shards import recoverer
from imc_common.shards.recoverer import Recoverer
from tests.fake_store import FakeStore

SHARD = 3


class Source:
    """Notes which shards are to be read again."""

    def __init__(self) -> None:
        self.again: list[int] = []

    def resync(self, shard: int, delay: float = 0.0) -> None:
        self.again.append(shard)


class Desk:
    """A recoverer of one shard, with what stands around it."""

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
        """So many entries that somebody was handed."""
        stream = keys.events(SHARD)
        await self.store.run([self.store.script("claim_stream", [stream, keys.lease(SHARD, "edge")], ["p1"])])
        await self.store.run([("XADD", stream, "*", "event", "message")] * count)
        ((_, entries),) = await self.store.read_new(keys.group("p1"), [stream], count, None)
        return [entry_id for entry_id, _ in entries or []]


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    store = FakeStore()
    yield Desk(store)
    await store.close()


async def test_what_is_forgotten_is_read_again(desk: Desk) -> None:
    """Noticed at one look, acted on at the next: at the first it may just have been read."""
    await desk.handed_out(2)
    await desk.recoverer.look()
    assert desk.source.again == []
    await desk.recoverer.look()
    assert desk.source.again == [SHARD]


async def test_what_is_in_hand_is_let_be(desk: Desk) -> None:
    """An event waits for a silent recipient for half a minute."""
    desk.held.update(await desk.handed_out(2))
    for _ in range(3):
        await desk.recoverer.look()
    assert desk.source.again == []


async def test_what_nobody_has_read_is_let_be(desk: Desk) -> None:
    """It is new, however long it waits."""
    (read,) = await desk.handed_out(1)
    await desk.store.run([("XDEL", keys.events(SHARD), read), ("XADD", keys.events(SHARD), "*", "a", "b")])
    for _ in range(3):
        await desk.recoverer.look()
    assert desk.source.again == []


async def test_different_entries_at_two_looks_are_no_forgotten_ones(desk: Desk) -> None:
    """A shard that is busy."""
    for _ in range(3):
        (read,) = await desk.handed_out(1)
        await desk.recoverer.look()
        await desk.store.run([("XDEL", keys.events(SHARD), read)])
    assert desk.source.again == []


async def test_the_last_of_many_is_found(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """In front of it are more than one look takes in."""
    monkeypatch.setattr(recoverer, "PAGE", 3)
    *others, _ = await desk.handed_out(7)
    desk.held.update(others)
    await desk.recoverer.look()
    await desk.recoverer.look()
    assert desk.source.again == [SHARD]


async def test_a_stream_that_cannot_be_looked_at_is_left_to_the_consumer(desk: Desk) -> None:
    """Its key is of another type."""
    await desk.store.run([("SET", keys.events(SHARD), "no stream")])
    await desk.recoverer.look()
    assert desk.source.again == []
