"""The consumer: reads the streams of the owned shards.

tests/imc_common/status/test_gauges.py and tests/imc_cli/test_overview.py cover group.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import structlog.testing

from imc_common import keys
from imc_common.shards import consumer as consumer_module
from imc_common.shards.consumer import Batch, Consumer
from tests.fake_store import FakeStore


class Owned:
    """An ownership of the shards that the test chooses."""

    def __init__(self, *shards: int, process_id: str = "p1") -> None:
        self.process_id = process_id
        self.shards = frozenset(shards)
        self.being_read: Callable[[int], bool] = lambda shard: False
        self.on_acquired: Callable[[int], None] = lambda shard: None

    def owned(self) -> frozenset[int]:
        return self.shards

    readable = owned

    def lease(self, shard: int) -> str:
        return keys.lease(shard, "worker")


@pytest.fixture
async def store() -> AsyncIterator[FakeStore]:
    store = FakeStore()
    yield store
    await store.close()


def consumer_of(store: FakeStore, owned: Owned, count: int = 10, block_ms: int = 20) -> Consumer:
    return Consumer(store, owned, keys.requests, count, block_ms)


async def add(store: FakeStore, shard: int, *values: str) -> None:
    await store.run([("XADD", keys.requests(shard), "*", "v", value) for value in values])


def values(batches: list[Batch]) -> list[tuple[int, bool, list[str]]]:
    return [(b.shard, b.again, [fields[1].decode() for _, fields in b.entries]) for b in batches]


async def test_new_entries_are_read_in_order_by_shard(store: FakeStore) -> None:
    """Shards that are not owned are not read."""
    consumer = consumer_of(store, Owned(1, 2))
    for shard in (1, 2, 3):
        await add(store, shard, "a", "b")
    assert values(await consumer.read()) == [(1, False, ["a", "b"]), (2, False, ["a", "b"])]
    assert await consumer.read() == []


async def test_pending_entries_are_read_before_new_ones(store: FakeStore) -> None:
    """A new owner first reads the entries that its predecessor left pending, page by page."""
    before = consumer_of(store, Owned(1))
    await before.read()
    await add(store, 1, *"abcde")
    await before.read()
    await add(store, 1, "f")
    after = consumer_of(store, Owned(1), count=2)
    read = [values(await after.read()) for _ in range(3)]
    assert read == [[(1, True, ["a", "b"])], [(1, True, ["c", "d"])], [(1, True, ["e"]), (1, False, ["f"])]]


async def test_resync_reads_pending_entries_again(store: FakeStore) -> None:
    """Before newer ones. Other shards are not affected."""
    consumer = consumer_of(store, Owned(1, 2))
    await consumer.read()
    await add(store, 1, "a", "b")
    await consumer.read()
    await add(store, 1, "c")
    await add(store, 2, "x")
    consumer.resync(1)
    assert values(await consumer.read()) == [(1, True, ["a", "b"]), (2, False, ["x"]), (1, False, ["c"])]


async def test_resync_with_a_delay_pauses_the_shard(store: FakeStore) -> None:
    """Other shards are read."""
    consumer = consumer_of(store, Owned(1, 2))
    await consumer.read()
    await add(store, 1, "a")
    await consumer.read()
    consumer.resync(1, delay=1000.0)
    await add(store, 2, "x")
    assert values(await consumer.read()) == [(2, False, ["x"])]
    assert await consumer.read() == []
    consumer._not_before[1] -= 1000.0
    assert values(await consumer.read()) == [(1, True, ["a"])]


async def test_entries_read_during_a_resync_come_once(store: FakeStore) -> None:
    """In order, with the pending entries."""
    consumer = consumer_of(store, Owned(1), block_ms=5000)
    await consumer.read()
    reading = asyncio.create_task(consumer.read())
    await asyncio.sleep(0)
    consumer.resync(1)
    await add(store, 1, "a")
    assert await reading == []
    assert values(await consumer.read()) == [(1, True, ["a"])]


async def test_entries_of_a_lost_shard_are_discarded(store: FakeStore) -> None:
    """The lease ended during the read. When it is owned again, they are read as pending."""
    owned = Owned(1)
    consumer = consumer_of(store, owned, block_ms=5000)
    await consumer.read()
    reading = asyncio.create_task(consumer.read())
    await asyncio.sleep(0)
    owned.shards = frozenset()
    await add(store, 1, "a")
    assert await reading == []
    owned.shards = frozenset((1,))
    assert values(await consumer.read()) == [(1, True, ["a"])]


async def test_a_shard_taken_again_between_two_reads_starts_with_pending_entries(store: FakeStore) -> None:
    """Another owner may have left entries pending."""
    owned = Owned(1)
    consumer = consumer_of(store, owned)
    await consumer.read()
    await add(store, 1, "a")
    await store.read_new(keys.group("p1"), [keys.requests(1)], 10, None)  # by another process
    owned.on_acquired(1)
    assert values(await consumer.read()) == [(1, True, ["a"])]


async def test_a_late_read_of_the_former_owner_gets_no_entries(store: FakeStore) -> None:
    """It was suspended during a read. Its successor misses no entry."""
    before = consumer_of(store, Owned(1, process_id="before"), block_ms=300)
    await before.read()
    after = consumer_of(store, Owned(1, process_id="after"))
    reading = asyncio.create_task(before.read())
    await asyncio.sleep(0.01)
    await store.run([("SET", keys.lease(1, "worker"), "after")])
    await after.read()
    await add(store, 1, "a")
    assert await reading == []
    assert values(await after.read()) == [(1, False, ["a"])]
    assert await before.read() == []


async def test_the_shards_of_a_read_in_flight_are_known(store: FakeStore) -> None:
    """Ownership does not release these shards."""
    owned = Owned(1)
    consumer = consumer_of(store, owned)
    await consumer.read()
    reading = asyncio.create_task(consumer.read())
    await asyncio.sleep(0)
    assert owned.being_read(1)
    await reading
    assert not owned.being_read(1)


async def test_deleted_entries_are_not_read_again(store: FakeStore) -> None:
    """The remaining entries are those not handled."""
    consumer = consumer_of(store, Owned(1))
    await consumer.read()
    await add(store, 1, "a", "b")
    ((batch),) = await consumer.read()
    await store.run([("XDEL", keys.requests(1), batch.entries[0][0])])
    consumer.resync(1)
    assert values(await consumer.read()) == [(1, True, ["b"])]


async def test_lost_groups_are_created_again_from_the_first_entry(
    store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis lost its data and has new entries. The log has a critical line."""
    monkeypatch.setattr(consumer_module, "GROUP_SECONDS", 0.01)
    consumer = consumer_of(store, Owned(1))
    await consumer.read()
    await store.run([("FLUSHALL",)])
    await add(store, 1, "a")
    with structlog.testing.capture_logs() as lines:
        assert await consumer.read() == []
    assert [line["log_level"] for line in lines] == ["critical"]
    assert values(await consumer.read()) == [(1, False, ["a"])]


async def test_a_lease_lost_and_taken_again_during_a_read_is_no_loss_of_redis(
    store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process has claimed the stream meanwhile, which ended our group: nothing critical."""
    owned = Owned(1, 2)
    consumer = consumer_of(store, owned)
    await consumer.read()
    other = consumer_of(store, Owned(1, process_id="other"))
    read_new = store.read_new

    async def meanwhile(*args: Any) -> Any:
        monkeypatch.undo()
        await store.run([("SET", keys.lease(1, "worker"), "other")])
        await other.read()
        await store.run([("SET", keys.lease(1, "worker"), "p1")])
        owned.on_acquired(1)
        return await read_new(*args)

    monkeypatch.setattr(store, "read_new", meanwhile)
    with structlog.testing.capture_logs() as lines:
        assert await consumer.read() == []
        await add(store, 1, "a")
        await add(store, 2, "b")
        found = values(await consumer.read()) + values(await consumer.read())
    assert sorted((shard, entries) for shard, _, entries in found) == [(1, ["a"]), (2, ["b"])]
    assert [line for line in lines if line["log_level"] == "critical"] == []


async def test_lost_groups_are_created_at_most_once_a_second(
    store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If groups are lost repeatedly."""
    monkeypatch.setattr(consumer_module, "GROUP_SECONDS", 0.1)
    consumer = consumer_of(store, Owned(1))
    await consumer.read()
    started = asyncio.get_running_loop().time()
    for _ in range(3):
        await store.run([("FLUSHALL",)])
        assert await consumer.read() == []
    assert asyncio.get_running_loop().time() - started >= 0.2


async def test_a_shard_of_the_wrong_type_does_not_stop_the_others(store: FakeStore) -> None:
    """Only the shard of that key is affected."""
    await store.run([("SET", keys.requests(1), "no stream")])
    consumer = consumer_of(store, Owned(1, 2))
    await consumer.read()
    await add(store, 2, "x")
    assert values(await consumer.read()) == [(2, False, ["x"])]


async def test_pending_entries_are_read_first_after_an_outage(
    store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost reply may have contained entries."""
    monkeypatch.setattr(consumer_module, "UNREACHABLE_SECONDS", 0.01)
    consumer = consumer_of(store, Owned(1))
    await consumer.read()
    await add(store, 1, "a")
    await store.read_new(keys.group("p1"), [keys.requests(1)], 10, None)  # the lost reply
    store.unreachable = True
    assert await consumer.read() == []
    store.unreachable = False
    assert values(await consumer.read()) == [(1, True, ["a"])]
