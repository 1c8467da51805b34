"""A minute without Redis: users get 503, and processes reconnect at a limited rate."""

from __future__ import annotations

import asyncio
import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from imc_common.settings import Settings
from imc_common.store import Store, StoreUnreachable
from tests.chaos.scenario import Scenario, assert_all_edges_refuse, memory_kb, open_files, service
from tests.chaos.servers import Single, is_up, redis_server
from tests.ports import free_port
from tests.processes import wait_until
from tests.servers import program

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(300)]

GONE_SECONDS, HANGS_UP_SECONDS = 15, 45
CLIENTS = 200
USERS = 200


@asynccontextmanager
async def rejecting_port(port: int, host: str = "127.0.0.1") -> AsyncIterator[list[tuple[float, bytes]]]:
    """A port that accepts connections, reads what they send first, and closes them.

    Yields the list of these attempts with their times.
    """
    attempts: list[tuple[float, bytes]] = []

    async def reject(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        at = asyncio.get_running_loop().time()
        attempts.append((at, await reader.read(1000)))
        writer.transport.abort()

    async with await asyncio.start_server(reject, host, port, backlog=1000):
        yield attempts


async def test_200_users_get_503_during_an_outage_of_redis_and_are_served_afterwards(tmp_path: Path) -> None:
    """The 503 has Retry-After, and all accepted messages are delivered afterwards.

    Each process tries to reconnect at most twice a second and leaks neither memory nor files.
    """
    program("redis-server")
    async with service(tmp_path, Single(tmp_path), edges=4, workers=4) as scenario:
        await scenario.open_rooms(20)
        async with scenario.talking(USERS, pause=1.0):
            await scenario.wait_for_accepted(2 * USERS)
            await outage(scenario)
            await scenario.wait_for_accepted(2 * USERS)
        await scenario.wait_until_idle()
        verdict = scenario.verdict()
    assert verdict.ok, (verdict, verdict.lost[:3], verdict.doubled[:3])


async def outage(scenario: Scenario) -> None:
    """End the server; for most of the time its port accepts connections and closes them."""
    (port,) = scenario.redis.primaries()
    server = scenario.redis.servers[port]
    processes = scenario.deployment.edges + scenario.deployment.workers
    before, files = memory_kb(scenario.deployment), open_files(scenario.deployment)
    await asyncio.to_thread(server.end)
    await asyncio.sleep(GONE_SECONDS)
    await assert_all_edges_refuse(scenario)
    async with rejecting_port(port, scenario.redis.hosts[port]) as attempts:
        begun = asyncio.get_running_loop().time()
        await asyncio.sleep(HANGS_UP_SECONDS)
        await assert_all_edges_refuse(scenario)
        seconds = asyncio.get_running_loop().time() - begun
        # at most two a second from each process, and one that was due when the port opened
        assert 0 < len(attempts) <= (2 * seconds + 1) * len(processes)
    assert memory_kb(scenario.deployment) < before + 5_000 * len(processes)
    assert all(process.alive for process in processes)
    server.start()
    await asyncio.to_thread(wait_until, lambda: is_up(port), "the server's return")
    await scenario.wait_for_accepted(10)
    # a process opens one of its connections only when it is needed; a leak per attempt would be dozens
    most = files + len(processes)
    await asyncio.to_thread(
        wait_until, lambda: open_files(scenario.deployment) <= most, "as many files as before"
    )


async def test_200_clients_reconnect_at_most_twice_a_second_and_not_in_step(
    tmp_path: Path,
) -> None:
    """200 stores simulate 200 processes. Each selects another database, by which the test identifies it."""
    program("redis-server")
    port = free_port()
    server = redis_server(tmp_path, "redis", port, "--databases", str(CLIENTS)).start()
    try:
        await asyncio.to_thread(wait_until, lambda: is_up(port), "the server replies")
        urls = [f"redis://127.0.0.1:{port}/{number}" for number in range(CLIENTS)]
        stores = [await Store.connect(Settings(db_url=url)) for url in urls]
        server.end()
        async with rejecting_port(port) as attempts:
            begun = asyncio.get_running_loop().time()
            await asyncio.sleep(GONE_SECONDS + HANGS_UP_SECONDS)
            seconds = asyncio.get_running_loop().time() - begun
        assert_attempts_keep_their_distance(attempts, seconds)
        server.start()
        async with asyncio.timeout(60):
            await asyncio.gather(*(back(store) for store in stores))
        await asyncio.gather(*(store.close() for store in stores))
    finally:
        server.end()


def assert_attempts_keep_their_distance(attempts: list[tuple[float, bytes]], seconds: float) -> None:
    """Each client tries at most twice a second, and no two clients have the same intervals."""
    times: dict[str, list[float]] = defaultdict(list)
    for at, said in attempts:
        if selects := re.search(rb"SELECT\r\n\$\d+\r\n(\d+)", said):
            times[selects[1].decode()].append(at)
    assert len(times) == CLIENTS - 1  # database 0 needs no SELECT
    assert max(len(tries) for tries in times.values()) <= 2 * seconds + 1
    steps = Counter(tuple(round(b - a, 2) for a, b in pairwise(tries)) for tries in times.values())
    assert max(steps.values()) == 1


async def back(store: Store) -> None:
    """Wait until the store works again."""
    while True:
        try:
            await store.run([("PING",)])
        except StoreUnreachable:
            await asyncio.sleep(0.1)
        else:
            return
