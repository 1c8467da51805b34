"""The parts of a process that own shards; real processes: `tests/imc_edge/test_process.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from imc_common import keys
from imc_common.metrics import Metrics
from imc_common.settings import Settings
from imc_common.shards.owned_streams import OwnedStreams, Reading
from imc_common.shards.ownership import Role
from tests.fake_store import FakeStore

READING = Reading(keys.requests, entries=10, block_ms=1)


@pytest.fixture
async def store() -> AsyncIterator[FakeStore]:
    store = FakeStore()
    yield store
    await store.close()


@pytest.mark.parametrize("role", ["edge", "worker"])
async def test_a_shard_is_released_only_when_the_process_works_on_none_of_its_entries(
    store: FakeStore, role: Role
) -> None:
    """Both roles ask their own part; a second process gets half of the shards when it says no."""
    settings = Settings(hash_size=1)
    first, second = (OwnedStreams(store, settings, role, READING, Metrics()) for _ in range(2))
    pending = {0, 1}
    ownership, *_ = first.parts(lambda shard: shard in pending, lambda shard, entry_id: False)
    other, *_ = second.parts(lambda shard: False, lambda shard, entry_id: False)
    await ownership.step()
    assert first.ownership.owned() == {0, 1}

    await other.step()
    ownership._next_heartbeat = 0.0
    await ownership.step()
    assert first.ownership.owned() == {0, 1}
    assert len(first.ownership.readable()) == 1

    pending.clear()
    await ownership.step()
    await other.step()
    assert first.ownership.owned() | second.ownership.owned() == {0, 1}
    assert len(first.ownership.owned()) == len(second.ownership.owned()) == 1


async def test_every_part_is_run_once(store: FakeStore) -> None:
    """Leases, orphaned entries, gauges, and the tracer that the process records steps with."""
    streams = OwnedStreams(store, Settings(), "worker", READING, Metrics())
    parts = streams.parts(lambda shard: False, lambda shard, entry_id: False)
    assert parts[0] is streams.ownership
    assert parts[-1] is streams.tracer
    assert len(set(map(type, parts))) == len(parts) == 4
