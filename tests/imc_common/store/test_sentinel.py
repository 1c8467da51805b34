"""The store with Sentinel: one primary, two replicas, three sentinels. The primary dies, or is demoted."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from imc_common import keys
from imc_common.settings import Settings
from imc_common.store import ReplyError, Store, StoreUnreachable
from tests.chaos.servers import SENTINEL_NAME, Sentinel, redis_cli
from tests.imc_common.store.test_subscription import following, published
from tests.processes import wait_until
from tests.servers import program

pytestmark = [pytest.mark.integration, pytest.mark.slow]

FAILOVER_SECONDS = (
    90.0  # a sentinel does nothing for 30 s after its clock jumped, as when the machine stands still
)


@pytest.fixture
def sentinel() -> Iterator[Sentinel]:
    program("redis-server")
    with tempfile.TemporaryDirectory() as folder:
        sentinel = Sentinel(Path(folder))
        sentinel.start()
        port = sentinel.primaries()[0]
        # the replicas' first acknowledgements may take a second
        wait_until(lambda: redis_cli(port, "SET", "ready", "1") == "OK", "enough good replicas")
        yield sentinel
        sentinel.stop()


@pytest.fixture
async def store(request: pytest.FixtureRequest, sentinel: Sentinel) -> AsyncIterator[Store]:
    durability = {"durability": "replicas", "wait_replicas": request.param}
    store = await Store.connect(Settings(db_url=sentinel.url, **durability))
    yield store
    await store.close()


async def accept(store: Store, call_id: str) -> Any:
    """The reply to one request when a replica has it; None if that is unknown."""
    fields = ["type", "message", "call_id", call_id]
    try:
        (reply,) = await store.run(
            [store.script("accept_many", keys.accepting(0), [60_000, 0, "", call_id, len(fields), *fields])],
            durable=True,
        )
    except StoreUnreachable:
        return None
    return None if isinstance(reply, ReplyError) else reply


async def flow(store: Store, done: asyncio.Event) -> list[str]:
    """Send requests, each again until it is accepted, as clients do."""
    accepted: list[str] = []
    while not done.is_set():
        name = f"c{len(accepted)}"
        while await accept(store, name) is None:
            await asyncio.sleep(0.05)
        accepted.append(name)
    return accepted


async def failover(sentinel: Sentinel, before: int) -> None:
    """Return when there is another primary than `before`."""
    await asyncio.to_thread(
        wait_until, lambda: sentinel.primaries() not in ([], [before]), "a failover", FAILOVER_SECONDS
    )


def order_failover(sentinel: Sentinel, before: int) -> None:
    """The same after SENTINEL FAILOVER, which is sent again if it had no effect."""
    order = (sentinel.sentinel_ports[0], "SENTINEL", "FAILOVER", SENTINEL_NAME)

    def done() -> bool:
        return sentinel.primaries() not in ([], [before])

    for _ in range(5):
        wait_until(lambda: done() or redis_cli(*order) == "OK", "a replica that may take over")
        with suppress(TimeoutError):
            wait_until(done, "a failover", FAILOVER_SECONDS / 2)
            return
    raise TimeoutError("no order to fail over was carried out")


async def found(store: Store) -> list[str]:
    (entries,) = await store.run([("XRANGE", keys.requests(0), "-", "+")])
    return [fields[3].decode() for _, fields in entries]


@pytest.mark.parametrize("store", [1], indirect=True)
async def test_a_dead_primary_loses_no_accepted_request(store: Store, sentinel: Sentinel) -> None:
    """The store finds the next primary, which has every accepted request once and in order."""
    done = asyncio.Event()
    flowing = asyncio.create_task(flow(store, done))
    async with following(store) as got:
        await asyncio.sleep(1.0)
        victim = sentinel.primaries()[0]
        sentinel.servers[victim].end()
        await failover(sentinel, victim)
        await asyncio.sleep(3.0)
        done.set()
        accepted = await asyncio.wait_for(flowing, FAILOVER_SECONDS)
        await published(store, got, "a subscription finds it, too")
    assert len(accepted) > 20
    assert await found(store) == accepted


@pytest.mark.parametrize("store", [2], indirect=True)
async def test_a_demoted_primary_is_left_without_a_disconnect(store: Store, sentinel: Sentinel) -> None:
    """A failover while all servers run: the store finds the next primary.

    The old primary goes on for a second with the other replica, so the reply of one replica is not enough:
    with `wait_replicas = 1` this test lost what was accepted in that second. With all replicas it loses
    nothing.
    """
    done = asyncio.Event()
    flowing = asyncio.create_task(flow(store, done))
    await asyncio.sleep(1.0)
    before = sentinel.primaries()[0]
    await asyncio.to_thread(order_failover, sentinel, before)
    await asyncio.sleep(3.0)
    done.set()
    accepted = await asyncio.wait_for(flowing, FAILOVER_SECONDS)
    assert len(accepted) > 20
    assert await found(store) == accepted


@pytest.mark.parametrize("store", [1], indirect=True)
async def test_a_replaced_primary_that_does_not_know_it_is_left(store: Store, sentinel: Sentinel) -> None:
    """A primary that is cut off from the sentinels and its replicas, but not from imc, stays a primary.

    It refuses writes, because `min-replicas-to-write` is set. That makes the store ask the sentinels.
    """
    before, *replicas = sentinel.servers
    # To the sentinels it is a server that does not reply, and its replicas look elsewhere.
    redis_cli(before, "CONFIG", "SET", "min-replicas-to-write", "3")
    for port in sentinel.sentinel_ports:
        redis_cli(port, "SENTINEL", "REMOVE", SENTINEL_NAME)
    promoted, other = replicas
    redis_cli(promoted, "REPLICAOF", "NO", "ONE")
    redis_cli(other, "REPLICAOF", sentinel.hosts[promoted], str(promoted))
    for port in sentinel.sentinel_ports:
        redis_cli(port, "SENTINEL", "MONITOR", SENTINEL_NAME, sentinel.hosts[promoted], str(promoted), "2")

    async def is_accepted() -> bool:
        return await accept(store, "c1") is not None

    async with asyncio.timeout(FAILOVER_SECONDS):
        while not await is_accepted():
            await asyncio.sleep(0.1)
    assert "role:master" in redis_cli(before, "INFO", "replication")
    assert redis_cli(promoted, "XLEN", keys.requests(0)) == "1"
