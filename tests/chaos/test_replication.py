"""What a failover costs at each `durability`: the unprotected runs must lose, or the judge sees nothing."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.chaos.case import Case, service
from tests.chaos.history import Verdict
from tests.chaos.replicated import Replicated, replicated
from tests.chaos.streams import backlog
from tests.servers import program

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(300)]

LINE_SECONDS = 0.05
TALKERS = 24
ROOMS = 2


@asynccontextmanager
async def slow_line(folder: Path, durability: str) -> AsyncIterator[tuple[Case, Replicated]]:
    """An edge and a worker on a primary with a replica far away, and rooms that are open."""
    program("redis-server")
    async with (
        replicated(folder, durability, LINE_SECONDS) as redis,
        service(folder, redis, edges=1, workers=1) as case,
    ):
        await case.open_rooms(ROOMS)
        yield case, redis


async def verdict_on(
    folder: Path, durability: str, fault: Callable[[Replicated], Awaitable[None]]
) -> Verdict:
    """Users talk, the fault happens with a backlog waiting, all comes to rest."""
    async with slow_line(folder, durability) as (case, redis):
        async with case.talking(TALKERS, pause=0):
            await case.until_said(4 * TALKERS)
            case.freeze_workers()
            await case.until_said(TALKERS)
            await fault(redis)
            case.wake_workers()
            await case.until_said(TALKERS)
        await case.come_to_rest()
        return case.verdict()


async def kill_primary(redis: Replicated) -> None:
    """SIGKILL; what was on the line arrives, what the primary had not sent is gone."""
    redis.line.hold()  # a machine that dies takes with it what its network card still holds
    await asyncio.to_thread(redis.servers[redis.primary].end)
    redis.line.point_at(redis.replica)
    await redis.fail_over()


async def partition(redis: Replicated) -> None:
    """Three seconds in which the replica hears nothing, and is then made primary; the old one follows it."""
    redis.line.hold()
    await asyncio.sleep(3)
    await redis.fail_over()


FAULTS = pytest.mark.parametrize("fault", [kill_primary, partition])


@FAULTS
async def test_control_without_protection_a_failover_loses_accepted_messages(
    tmp_path: Path, fault: Callable[[Replicated], Awaitable[None]]
) -> None:
    """`durability = memory` promises nothing here, and the judge finds what is gone."""
    verdict = await verdict_on(tmp_path, "memory", fault)
    assert verdict.lost
    assert all("never had its turn" in finding for finding in verdict.lost)


@FAULTS
async def test_with_replicas_a_failover_loses_nothing_that_was_accepted(
    tmp_path: Path, fault: Callable[[Replicated], Awaitable[None]]
) -> None:
    """Rows 9 and 10: each 202 waited for a replica on the same slow line."""
    verdict = await verdict_on(tmp_path, "replicas", fault)
    assert verdict.ok, verdict
    assert verdict.messages > 5 * TALKERS


async def test_row_12_a_reply_that_is_lost_leads_to_one_entry(tmp_path: Path) -> None:
    """The request is in Redis, its reply never comes: 503, and the client's repetition finds it known."""
    async with slow_line(tmp_path, "memory") as (case, redis):
        await case.come_to_rest()
        case.freeze_workers()
        asking = asyncio.create_task(case.users.request("u1", "room0", "#join"))
        await settle_down(redis)
        redis.front.swallow_replies = True
        lost = asyncio.create_task(case.users.request("u2", "room0", "#join"))
        await asyncio.sleep(4.0)  # longer than the store waits
        assert not lost.done()
        redis.front.swallow_replies = False
        assert await asking == 202
        assert await lost == 202
        assert await asyncio.to_thread(backlog, redis) == 2


async def settle_down(redis: Replicated) -> None:
    """Waits until the first request is in Redis."""
    async with asyncio.timeout(20):
        while not await asyncio.to_thread(backlog, redis):
            await asyncio.sleep(0.05)


async def test_row_13_a_replica_that_is_paused_means_503_and_the_repetition_is_one_entry(
    tmp_path: Path,
) -> None:
    """WAIT comes back short: never a 202; when the replica is back, the same request is accepted once."""
    async with slow_line(tmp_path, "replicas") as (case, redis):
        await case.come_to_rest()
        case.freeze_workers()
        replica = redis.servers[redis.replica]
        replica.send(signal.SIGSTOP)
        asking = asyncio.create_task(case.users.request("u1", "room0", "#join"))
        await asyncio.sleep(3.0)
        assert not asking.done()
        assert await asyncio.to_thread(backlog, redis) == 1
        replica.send(signal.SIGCONT)
        assert await asking == 202
        assert await asyncio.to_thread(backlog, redis) == 1


async def test_effects_that_no_replica_had_come_again_under_the_same_call_id(tmp_path: Path) -> None:
    """Row 22: workers and edges run on while the primary dies. What the replica had not heard of is done
    again by the next owner: repeats, but none that a recipient could not recognise."""
    async with slow_line(tmp_path, "replicas") as (case, redis):
        async with case.talking(TALKERS, pause=0):
            await case.until_said(4 * TALKERS)
            await kill_primary(redis)
            await case.until_said(TALKERS)
        await case.come_to_rest()
        verdict = case.verdict()
    assert verdict.ok, (verdict, verdict.doubled[:5])
