"""Worker processes while a primary dies, under Sentinel and in a Cluster."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from imc_common.settings import Settings
from imc_common.store import Store, StoreUnreachable
from tests.chaos.servers import Cluster, Sentinel, redis_cli
from tests.imc_worker.test_process import SHARDS, Plant
from tests.processes import wait_until
from tests.servers import program

pytestmark = [pytest.mark.integration, pytest.mark.slow]

FAILOVER_SECONDS = (
    90.0  # sentinels that see a clock jump, as when a machine stands still, do nothing for 30 s
)


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


def replicated(primary: int) -> Callable[[], bool]:
    """Whether a replica has all that the primary had when this was called."""
    had = int(re.findall(r"master_repl_offset:(\d+)", redis_cli(primary, "INFO", "replication"))[0])

    def has() -> bool:
        offsets = re.findall(r"slave\d+:.*offset=(\d+)", redis_cli(primary, "INFO", "replication"))
        return any(int(offset) >= had for offset in offsets)

    return has


async def writable(store: Store) -> bool:
    """Whether every shard takes writes."""
    return set(await store.run([("SET", f"{{{shard}}}:probe", 1) for shard in range(SHARDS)])) == {b"OK"}


async def test_workers_continue_after_a_primary_dies(plant: Plant, redis: Sentinel | Cluster) -> None:
    """Everything was handled before, so later requests show whether anything is doubled or stuck."""
    plant.start()
    plant.start()
    for _ in range(20):
        await plant.say(50)
        await asyncio.sleep(0.02)
    await plant.until(plant.idle, FAILOVER_SECONDS)
    victim = redis.primaries()[0]
    await asyncio.to_thread(wait_until, replicated(victim), "replicas that have all: no test of durability")
    redis.servers[victim].end()
    await plant.until(lambda: writable(plant.store), FAILOVER_SECONDS)
    for _ in range(20):
        await plant.say(50)
        await asyncio.sleep(0.02)
    await plant.until(plant.idle, FAILOVER_SECONDS)
    await plant.assert_handled_once_in_order()
