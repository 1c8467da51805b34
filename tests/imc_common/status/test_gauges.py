"""Gauges of what is in Redis, on fakeredis. Also covers members.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from imc_common import keys
from imc_common.metrics import Metrics
from imc_common.settings import Settings
from imc_common.status import Gauges, gauges, members
from imc_common.status.members import MemberCount
from tests.fake_store import FakeStore

NAMES = keys.Keys()


@pytest.fixture
async def store() -> AsyncIterator[FakeStore]:
    """An empty store."""
    made = FakeStore()
    yield made
    await made.close()


async def add_room(store: FakeStore, shard: int, room: str, members: int) -> None:
    """Write a room with this number of members to Redis."""
    await store.run([("ZADD", NAMES.rooms(shard), 0, room)])
    for number in range(members):
        await store.run([("HSET", NAMES.members(shard, room), f"u{number}@h", "member")])


def shown(metrics: Metrics) -> dict[str, float]:
    """Every sample by its name and label values."""
    families = text_string_to_metric_families(metrics.page().decode())
    return {
        " ".join((sample.name, *sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


async def test_gauges_cover_owned_streams_and_all_rooms(store: FakeStore) -> None:
    """Backlog, pending entries and dead letters only of shards that this process owns."""
    for shard in (1, 2):
        await store.run(
            [store.script("claim_stream", [keys.requests(shard), keys.lease(shard, "worker")], ["p1"])]
        )
        await store.run([("XADD", keys.requests(shard), "*", "type", "help")] * 3)
        await store.run([("XADD", keys.dead(shard), "*", "type", "help")])
        await add_room(store, shard, f"r{shard}@h", 2)
    await store.read_new(keys.group("p1"), [keys.requests(1)], 2, None)
    metrics = Metrics()
    await Gauges(store, Settings(hash_size=2), "edge", lambda: frozenset({1}), metrics).read()
    assert shown(metrics) == {
        "imc_leases edge": 1,
        "imc_shards": 4,
        "imc_backlog 1 events": 0,
        "imc_backlog 1 requests": 3,
        "imc_pending 1 events": 0,
        "imc_pending 1 requests": 2,
        "imc_dead_letters 1": 1,
        "imc_active_rooms": 2,
    }


async def test_a_shard_without_consumer_group_has_nothing_pending(store: FakeStore) -> None:
    """Redis replies with an error."""
    metrics = Metrics()
    await Gauges(store, Settings(hash_size=0), "edge", lambda: frozenset({0}), metrics).read()
    assert shown(metrics)["imc_pending 0 requests"] == 0


async def test_scrapes_cause_no_redis_requests(store: FakeStore) -> None:
    """A scrape reads numbers in memory."""
    metrics = Metrics()
    gauges = Gauges(store, Settings(), "worker", lambda: frozenset({0}), metrics)
    await gauges.read()
    asked = len(store.ran)
    for _ in range(100):
        metrics.page()
    assert len(store.ran) == asked


async def test_gauges_continue_after_an_outage(store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """They keep their last values meanwhile."""
    monkeypatch.setattr(gauges, "READ_SECONDS", 0.01)
    monkeypatch.setattr(gauges, "SHARDS_PER_SECOND", 10_000)
    monkeypatch.setattr(members, "PAUSE", 0.0)
    monkeypatch.setattr(members, "REST", 0.01)
    await add_room(store, 0, "r@h", 3)
    metrics = Metrics()
    store.unreachable = True
    duty = asyncio.create_task(Gauges(store, Settings(), "worker", lambda: frozenset({0}), metrics).run())
    await asyncio.sleep(0.05)
    assert shown(metrics)["imc_active_rooms"] == 0
    store.unreachable = False
    async with asyncio.timeout(40):
        while shown(metrics)["imc_active_rooms"] != 1 or shown(metrics)["imc_members"] != 3:
            await asyncio.sleep(0.01)
    duty.cancel()


async def test_members_are_counted_page_by_page(store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """No pipeline covers more than a page of rooms."""
    monkeypatch.setattr(members, "PAUSE", 0.0)
    for number in range(300):
        await add_room(store, 0, f"r{number}@h", number % 3)
    count = MemberCount(store, NAMES, lambda: frozenset({0}))
    store.ran.clear()
    assert await count.count(0) == 300
    assert max(len(commands) for commands in store.ran) <= 2 * members.PAGE
    assert count.total() == 0  # no round is over yet


async def test_a_key_of_another_type_counts_no_members(store: FakeStore) -> None:
    """Such as a key that another application wrote."""
    await store.run([("SET", NAMES.rooms(0), "x")])
    assert await MemberCount(store, NAMES, lambda: frozenset({0})).count(0) == 0
