"""What a failover costs at each `durability`: the unprotected runs must lose, or the judge sees nothing."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.chaos.history import Verdict
from tests.chaos.plant import Plant, backlog, free_port
from tests.chaos.replicated import Replicated, replicated
from tests.chaos.users import Population
from tests.servers import program

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(300)]

LINE_SECONDS = 0.05
TALKERS = 24
ROOMS = 2
ANCHORS = {f"room{number}": f"anchor{number}" for number in range(ROOMS)}


class Service:
    """An edge and a worker on a replicated Redis, and users who talk all the time."""

    def __init__(self, redis: Replicated, plant: Plant, users: Population) -> None:
        self.redis = redis
        self.plant = plant
        self.users = users
        self.silence = asyncio.Event()

    async def talk(self, user: str, room: str) -> None:
        await self.users.command(user, room, "#join")
        number = 0
        while not self.silence.is_set():
            number += 1
            await self.users.say(user, room, f"{user}.{number}")

    async def come_to_rest(self) -> None:
        """Waits until all streams are empty."""
        async with asyncio.timeout(120):
            while await asyncio.to_thread(backlog, self.redis):
                await asyncio.sleep(0.2)
        await asyncio.sleep(0.3)

    async def until_said(self, number: int) -> None:
        """Waits until so many more messages were accepted."""
        first = self.accepted
        async with asyncio.timeout(60):
            while self.accepted < first + number:
                await asyncio.sleep(0.02)

    @property
    def accepted(self) -> int:
        return sum(sent.accepted for sent in self.users.history.sent)

    def freeze_workers(self) -> None:
        """From now on what is accepted waits in Redis: a backlog, as any burst makes it."""
        for worker in self.plant.workers:
            worker.send(signal.SIGSTOP)

    def wake_workers(self) -> None:
        for worker in self.plant.workers:
            worker.send(signal.SIGCONT)


@asynccontextmanager
async def service(folder: Path, durability: str) -> AsyncIterator[Service]:
    """All of it, with rooms that are open."""
    program("redis-server")
    async with replicated(folder, durability, LINE_SECONDS) as redis:
        proxy_port = free_port()
        plant = Plant(redis, folder, edges=1, workers=1, proxy_port=proxy_port)
        users = await Population.open(plant.edge_ports, proxy_port)
        try:
            await asyncio.to_thread(plant.start)
            await asyncio.gather(
                *(users.command(anchor, room, "#create") for room, anchor in ANCHORS.items())
            )
            yield Service(redis, plant, users)
        finally:
            users.close()
            await asyncio.to_thread(plant.stop)


async def verdict_on(folder: Path, durability: str, fault: Callable[[Service], Awaitable[None]]) -> Verdict:
    """Users talk, the fault happens with a backlog waiting, all comes to rest."""
    async with service(folder, durability) as running:
        async with asyncio.TaskGroup() as group:
            for number in range(TALKERS):
                group.create_task(running.talk(f"u{number + 1}", f"room{number % ROOMS}"))
            await running.until_said(4 * TALKERS)
            running.freeze_workers()
            await running.until_said(TALKERS)
            await fault(running)
            running.wake_workers()
            await running.until_said(TALKERS)
            running.silence.set()
        await running.come_to_rest()
        assert not running.users.problems
        return running.users.history.judge(ANCHORS)


async def kill_primary(running: Service) -> None:
    """SIGKILL; what was on the line arrives, what the primary had not sent is gone."""
    redis = running.redis
    redis.line.hold()  # a machine that dies takes with it what its network card still holds
    await asyncio.to_thread(redis.servers[redis.primary].end)
    redis.line.point_at(redis.replica)
    await redis.fail_over()


async def partition(running: Service) -> None:
    """Three seconds in which the replica hears nothing, and is then made primary; the old one follows it."""
    running.redis.line.hold()
    await asyncio.sleep(3)
    await running.redis.fail_over()


FAULTS = pytest.mark.parametrize("fault", [kill_primary, partition])


@FAULTS
async def test_control_without_protection_a_failover_loses_accepted_messages(
    tmp_path: Path, fault: Callable[[Service], Awaitable[None]]
) -> None:
    """`durability = memory` promises nothing here, and the judge finds what is gone."""
    verdict = await verdict_on(tmp_path, "memory", fault)
    assert verdict.lost
    assert all("never had its turn" in finding for finding in verdict.lost)


@FAULTS
async def test_with_replicas_a_failover_loses_nothing_that_was_accepted(
    tmp_path: Path, fault: Callable[[Service], Awaitable[None]]
) -> None:
    """Rows 9 and 10: each 202 waited for a replica on the same slow line."""
    verdict = await verdict_on(tmp_path, "replicas", fault)
    assert verdict.ok, verdict
    assert verdict.messages > 5 * TALKERS


async def test_row_12_a_reply_that_is_lost_leads_to_one_entry(tmp_path: Path) -> None:
    """The request is in Redis, its reply never comes: 503, and the client's repetition finds it known."""
    async with service(tmp_path, "memory") as running:
        await running.come_to_rest()
        running.freeze_workers()
        asking = asyncio.create_task(running.users.request("u1", "room0", "#join"))
        await settle_down(running)
        running.redis.front.swallow_replies = True
        lost = asyncio.create_task(running.users.request("u2", "room0", "#join"))
        await asyncio.sleep(4.0)  # longer than the store waits
        assert not lost.done()
        running.redis.front.swallow_replies = False
        assert await asking == 202
        assert await lost == 202
        assert await asyncio.to_thread(backlog, running.redis) == 2


async def settle_down(running: Service) -> None:
    """Waits until the first request is in Redis."""
    async with asyncio.timeout(20):
        while not await asyncio.to_thread(backlog, running.redis):
            await asyncio.sleep(0.05)


async def test_row_13_a_replica_that_is_paused_means_503_and_the_repetition_is_one_entry(
    tmp_path: Path,
) -> None:
    """WAIT comes back short: never a 202; when the replica is back, the same request is accepted once."""
    async with service(tmp_path, "replicas") as running:
        await running.come_to_rest()
        running.freeze_workers()
        replica = running.redis.servers[running.redis.replica]
        replica.send(signal.SIGSTOP)
        asking = asyncio.create_task(running.users.request("u1", "room0", "#join"))
        await asyncio.sleep(3.0)
        assert not asking.done()
        assert await asyncio.to_thread(backlog, running.redis) == 1
        replica.send(signal.SIGCONT)
        assert await asking == 202
        assert await asyncio.to_thread(backlog, running.redis) == 1


async def test_effects_that_no_replica_had_come_again_under_the_same_call_id(tmp_path: Path) -> None:
    """Row 22: workers and edges run on while the primary dies. What the replica had not heard of is done
    again by the next owner: repeats, but none that a recipient could not recognise."""
    async with service(tmp_path, "replicas") as running:
        async with asyncio.TaskGroup() as group:
            for number in range(TALKERS):
                group.create_task(running.talk(f"u{number + 1}", f"room{number % ROOMS}"))
            await running.until_said(4 * TALKERS)
            await kill_primary(running)
            await running.until_said(TALKERS)
            running.silence.set()
        await running.come_to_rest()
        verdict = running.users.history.judge(ANCHORS)
    assert verdict.ok, (verdict, verdict.doubled[:5])
