"""Failovers with each `durability`. Without protection they must lose messages, or the checker is blind."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.chaos.history import Verdict
from tests.chaos.replicated import Replicated, replicated
from tests.chaos.scenario import Scenario, service
from tests.chaos.streams import backlog
from tests.servers import program

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(300)]

REPLICATION_DELAY = 0.05
TALKERS = 24
ROOMS = 2


@asynccontextmanager
async def slow_replication(folder: Path, durability: str) -> AsyncIterator[tuple[Scenario, Replicated]]:
    """An edge and a worker on a primary with slow replication, and rooms."""
    program("redis-server")
    async with (
        replicated(folder, durability, REPLICATION_DELAY) as redis,
        service(folder, redis, edges=1, workers=1) as scenario,
    ):
        await scenario.open_rooms(ROOMS)
        yield scenario, redis


async def run_with_fault(
    folder: Path, durability: str, fault: Callable[[Replicated], Awaitable[None]]
) -> Verdict:
    """Users talk, and the fault happens with a backlog; returns the verdict when all streams are empty."""
    async with slow_replication(folder, durability) as (scenario, redis):
        async with scenario.talking(TALKERS, pause=0):
            await scenario.wait_for_accepted(4 * TALKERS)
            scenario.suspend_workers()
            await scenario.wait_for_accepted(TALKERS)
            await fault(redis)
            scenario.resume_workers()
            await scenario.wait_for_accepted(TALKERS)
        await scenario.wait_until_idle()
        return scenario.verdict()


async def kill_primary(redis: Replicated) -> None:
    """Kill the primary; data that it had not sent to the replica are lost."""
    redis.replication_link.pause()  # when a machine dies, data in its send buffers are lost, too
    await asyncio.to_thread(redis.servers[redis.primary].end)
    redis.replication_link.point_at(redis.replica)
    await redis.fail_over()


async def partition(redis: Replicated) -> None:
    """Isolate the replica for three seconds and promote it; the old primary becomes its replica."""
    redis.replication_link.pause()
    await asyncio.sleep(3)
    await redis.fail_over()


FAULTS = pytest.mark.parametrize("fault", [kill_primary, partition])


@FAULTS
async def test_with_durability_memory_a_failover_loses_accepted_messages(
    tmp_path: Path, fault: Callable[[Replicated], Awaitable[None]]
) -> None:
    """The control: the checker finds what is lost."""
    verdict = await run_with_fault(tmp_path, "memory", fault)
    assert verdict.lost
    assert all("never had its turn" in finding for finding in verdict.lost)


@FAULTS
async def test_with_durability_replicas_a_failover_loses_nothing_that_was_accepted(
    tmp_path: Path, fault: Callable[[Replicated], Awaitable[None]]
) -> None:
    """Each 202 waited for the replica, over the same slow link."""
    verdict = await run_with_fault(tmp_path, "replicas", fault)
    assert verdict.ok, verdict
    assert verdict.messages > 5 * TALKERS


async def test_a_request_whose_redis_reply_is_lost_is_one_entry_after_its_retransmission(
    tmp_path: Path,
) -> None:
    """The request is in Redis, but the edge gets no reply and responds with 503; the client retries."""
    async with slow_replication(tmp_path, "memory") as (scenario, redis):
        await scenario.wait_until_idle()
        scenario.suspend_workers()
        asking = asyncio.create_task(scenario.users.request("u1", "room0", "#join"))
        await settle_down(redis)
        redis.client_link.drop_replies = True
        lost = asyncio.create_task(scenario.users.request("u2", "room0", "#join"))
        await asyncio.sleep(4.0)  # longer than the store's timeout
        assert not lost.done()
        redis.client_link.drop_replies = False
        assert await asking == 202
        assert await lost == 202
        assert await asyncio.to_thread(backlog, redis) == 2


async def settle_down(redis: Replicated) -> None:
    """Wait until the first request is in Redis."""
    async with asyncio.timeout(20):
        while not await asyncio.to_thread(backlog, redis):
            await asyncio.sleep(0.05)


async def test_while_the_replica_is_suspended_requests_get_503_and_are_one_entry_afterwards(
    tmp_path: Path,
) -> None:
    """WAIT reports too few replicas, so there is no 202. Later the same request is accepted once."""
    async with slow_replication(tmp_path, "replicas") as (scenario, redis):
        await scenario.wait_until_idle()
        scenario.suspend_workers()
        replica = redis.servers[redis.replica]
        replica.send(signal.SIGSTOP)
        asking = asyncio.create_task(scenario.users.request("u1", "room0", "#join"))
        await asyncio.sleep(3.0)
        assert not asking.done()
        assert await asyncio.to_thread(backlog, redis) == 1
        replica.send(signal.SIGCONT)
        assert await asking == 202
        assert await asyncio.to_thread(backlog, redis) == 1


async def test_effects_that_were_not_replicated_are_repeated_with_the_same_call_id(tmp_path: Path) -> None:
    """Workers and edges keep running while the primary dies.

    What the replica did not have is done again: recipients get repeated deliveries that they can recognise.
    """
    async with slow_replication(tmp_path, "replicas") as (scenario, redis):
        async with scenario.talking(TALKERS, pause=0):
            await scenario.wait_for_accepted(4 * TALKERS)
            await kill_primary(redis)
            await scenario.wait_for_accepted(TALKERS)
        await scenario.wait_until_idle()
        verdict = scenario.verdict()
    assert verdict.ok, (verdict, verdict.doubled[:5])
