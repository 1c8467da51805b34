"""A minute without Redis: who tries to come back how often, and what users are told meanwhile."""

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
from tests.chaos.case import Case, memory_kb, open_files, refuses, service
from tests.chaos.plant import wait_until
from tests.chaos.servers import Single, answers, redis_server
from tests.ports import free_port
from tests.servers import program

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(300)]

GONE_SECONDS, HANGS_UP_SECONDS = 15, 45
CLIENTS = 200
USERS = 200


@asynccontextmanager
async def doorstep(port: int, host: str = "127.0.0.1") -> AsyncIterator[list[tuple[float, bytes]]]:
    """A port that takes each connection, hears what it says first, and ends it; gives all, with times."""
    attempts: list[tuple[float, bytes]] = []

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        at = asyncio.get_running_loop().time()
        attempts.append((at, await reader.read(1000)))
        writer.transport.abort()

    async with await asyncio.start_server(met, host, port, backlog=1000):
        yield attempts


async def test_row_21_after_an_outage_of_a_minute_200_users_are_served_again(tmp_path: Path) -> None:
    """503 with a time to come back meanwhile, at most two tries a second and process to reach Redis, nothing
    that leaks; afterwards all goes on by itself, and all that was accepted is delivered."""
    program("redis-server")
    async with service(tmp_path, Single(tmp_path), edges=4, workers=4) as case:
        await case.open_rooms(20)
        async with case.talking(USERS, pause=1.0):
            await case.until_said(2 * USERS)
            await outage(case)
            await case.until_said(2 * USERS)
        await case.come_to_rest()
        verdict = case.verdict()
    assert verdict.ok, (verdict, verdict.lost[:3], verdict.doubled[:3])


async def outage(case: Case) -> None:
    """The server is gone, most of the time behind a port that only hangs up."""
    (port,) = case.redis.primaries()
    server = case.redis.servers[port]
    processes = case.plant.edges + case.plant.workers
    before, files = memory_kb(case.plant), open_files(case.plant)
    await asyncio.to_thread(server.end)
    await asyncio.sleep(GONE_SECONDS)
    await refuses(case)
    async with doorstep(port, case.redis.hosts[port]) as attempts:
        begun = asyncio.get_running_loop().time()
        await asyncio.sleep(HANGS_UP_SECONDS)
        await refuses(case)
        seconds = asyncio.get_running_loop().time() - begun
        # at most two a second of each process, and one that was due when the port opened
        assert 0 < len(attempts) <= (2 * seconds + 1) * len(processes)
    assert memory_kb(case.plant) < before + 5_000 * len(processes)
    assert all(process.alive for process in processes)
    server.start()
    await asyncio.to_thread(wait_until, lambda: answers(port), "the server's return")
    await case.until_said(10)
    # a process opens one of its connections only when it has need of it; a leak for each try would be dozens
    most = files + len(processes)
    await asyncio.to_thread(wait_until, lambda: open_files(case.plant) <= most, "as many files as before")


async def test_row_21_each_of_200_clients_tries_twice_a_second_at_most_out_of_step(
    tmp_path: Path,
) -> None:
    """Stands for 200 processes: each has one store. They are told apart by the database they select."""
    program("redis-server")
    port = free_port()
    server = redis_server(tmp_path, "redis", port, "--databases", str(CLIENTS)).start()
    try:
        await asyncio.to_thread(wait_until, lambda: answers(port), "a server that answers")
        urls = [f"redis://127.0.0.1:{port}/{number}" for number in range(CLIENTS)]
        stores = [await Store.connect(Settings(db_url=url)) for url in urls]
        server.end()
        async with doorstep(port) as attempts:
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
    """Each client's tries are few enough, and none two clients' come at the same distances."""
    times: dict[str, list[float]] = defaultdict(list)
    for at, said in attempts:
        if selects := re.search(rb"SELECT\r\n\$\d+\r\n(\d+)", said):
            times[selects[1].decode()].append(at)
    assert len(times) == CLIENTS - 1  # the first of them selects nothing
    assert max(len(tries) for tries in times.values()) <= 2 * seconds + 1
    steps = Counter(tuple(round(b - a, 2) for a, b in pairwise(tries)) for tries in times.values())
    assert max(steps.values()) == 1


async def back(store: Store) -> None:
    """Returns once the store works again."""
    while True:
        try:
            await store.run([("PING",)])
        except StoreUnreachable:
            await asyncio.sleep(0.1)
        else:
            return
