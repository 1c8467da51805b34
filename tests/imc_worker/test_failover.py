"""Worker processes while a primary dies, under Sentinel and in a Cluster."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from imc_common.settings import Settings
from imc_common.store import Store, StoreUnreachable
from tests.chaos.servers import Cluster, Sentinel
from tests.imc_worker.test_process import SHARDS, Plant
from tests.servers import program

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(params=[Sentinel, Cluster])
async def redis(request: pytest.FixtureRequest) -> AsyncIterator[Sentinel | Cluster]:
    program("redis-server")
    with tempfile.TemporaryDirectory() as folder:
        redis: Sentinel | Cluster = request.param(Path(folder))
        await asyncio.to_thread(redis.start)
        yield redis
        await asyncio.to_thread(redis.stop)


@pytest.fixture
async def plant(redis: Sentinel | Cluster, tmp_path: Path) -> AsyncIterator[Plant]:
    while True:
        try:
            store = await Store.connect(Settings(db_url=redis.url))
            break
        except StoreUnreachable:  # the replicas' first acknowledgements may take a second
            await asyncio.sleep(0.2)
    plant = Plant(redis, store, tmp_path)  # type: ignore[arg-type] # all it needs is a url
    await plant.make_rooms()
    yield plant
    plant.end()
    await store.close()


async def writable(store: Store) -> bool:
    """Whether every shard takes writes."""
    return set(await store.run([("SET", f"{{{shard}}}:probe", 1) for shard in range(SHARDS)])) == {b"OK"}


async def test_workers_go_on_when_a_primary_dies(plant: Plant, redis: Sentinel | Cluster) -> None:
    """All was handled before, so what comes after the failover shows whether anything is doubled or stuck."""
    plant.start()
    plant.start()
    for _ in range(20):
        await plant.say(50)
        await asyncio.sleep(0.02)
    await plant.until(plant.idle, 30)
    await asyncio.sleep(1.0)  # the replicas have it: the test is about workers, not about durability
    victim = redis.primaries()[0]
    redis.servers[victim].end()
    await plant.until(lambda: writable(plant.store), 30)
    for _ in range(20):
        await plant.say(50)
        await asyncio.sleep(0.02)
    await plant.until(plant.idle, 30)
    await plant.assert_handled_once_in_order()
