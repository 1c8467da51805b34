"""Group commit: commands of many requests in one pipeline, and each reply to the one that waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from imc_common.store import ReplyError, StoreUnreachable
from imc_edge.commit import MAX_BATCH, GroupCommit
from tests.patience import PATIENCE


class Redis:
    """Replies to each command with itself; waits for ``gate`` before."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.pipelines: list[list[Any]] = []
        self.is_unreachable = False

    async def run(self, commands: list[Any]) -> list[Any]:
        self.pipelines.append(commands)
        await self.gate.wait()
        if self.is_unreachable:
            raise StoreUnreachable("gone")
        return list(commands)


class Waiting:
    """Keeps the reply."""

    def __init__(self, replies: list[Any]) -> None:
        self._replies = replies

    def on_reply(self, reply: Any) -> None:
        self._replies.append(reply)


@asynccontextmanager
async def running(commit: GroupCommit[Any]) -> AsyncIterator[None]:
    """A commit that runs."""
    task = asyncio.create_task(commit.run())
    await asyncio.sleep(0)
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def drained(commit: GroupCommit[Any]) -> None:
    """Return when nothing is pending; fail if that takes long."""
    await commit.drain(asyncio.get_running_loop().time() + PATIENCE)
    assert len(commit) == 0


async def test_what_arrives_while_a_pipeline_is_in_flight_goes_into_the_next() -> None:
    """The first one does not wait for others; replies come in the order of the commands."""
    redis, replies = Redis(), list[Any]()
    commit: GroupCommit[Any] = GroupCommit(redis.run, 1000)
    async with running(commit):
        redis.gate.clear()
        commit.submit(0, Waiting(replies))
        while not redis.pipelines:
            await asyncio.sleep(0)
        for number in range(1, 9):
            commit.submit(number, Waiting(replies))
        assert (len(commit), replies) == (9, [])
        redis.gate.set()
        await drained(commit)
    assert redis.pipelines == [[0], [1, 2, 3, 4, 5, 6, 7, 8]]
    assert replies == list(range(9))


async def test_a_pipeline_has_a_limited_number_of_commands() -> None:
    """So that the first of them has its reply soon."""
    redis, replies = Redis(), list[Any]()
    commit: GroupCommit[Any] = GroupCommit(redis.run, 10 * MAX_BATCH)
    for number in range(2 * MAX_BATCH + 1):
        commit.submit(number, Waiting(replies))
    async with running(commit):
        await drained(commit)
    assert [len(pipeline) for pipeline in redis.pipelines] == [MAX_BATCH, MAX_BATCH, 1]
    assert replies == list(range(2 * MAX_BATCH + 1))


async def test_no_more_commands_wait_than_allowed() -> None:
    """The caller is told, and nothing comes of the command later."""
    redis, replies = Redis(), list[Any]()
    commit: GroupCommit[Any] = GroupCommit(redis.run, 2)
    assert [commit.submit(number, Waiting(replies)) for number in range(4)] == [True, True, False, False]
    async with running(commit):
        await drained(commit)
    assert replies == [0, 1]


async def test_an_unreachable_redis_is_the_reply_to_every_command_and_the_next_pipeline_runs() -> None:
    """One line in the log says how many commands failed, and why."""
    redis, replies = Redis(), list[Any]()
    commit: GroupCommit[Any] = GroupCommit(redis.run, 1000)
    async with running(commit):
        redis.is_unreachable = True
        with capture_logs() as lines:
            for number in range(3):
                commit.submit(number, Waiting(replies))
            await drained(commit)
        assert [type(reply) for reply in replies] == [StoreUnreachable] * 3
        assert [(line["event"], line["commands"], line["reason"]) for line in lines] == [
            ("redis commands failed", 3, "gone")
        ]
        redis.is_unreachable = False
        commit.submit(3, Waiting(replies))
        await drained(commit)
    assert replies[3:] == [3]


async def test_an_error_reply_concerns_its_own_command() -> None:
    """It is passed on like any reply, and logged."""
    redis, replies = Redis(), list[Any]()
    commit: GroupCommit[Any] = GroupCommit(redis.run, 1000)
    error = ReplyError("OOM command not allowed")
    async with running(commit):
        with capture_logs() as lines:
            for command in ("fine", error):
                commit.submit(command, Waiting(replies))
            await drained(commit)
    assert replies == ["fine", error]
    assert [line["commands"] for line in lines] == [1]


async def test_a_drain_ends_at_its_deadline() -> None:
    """An edge that stops does not wait for a Redis that does not reply."""
    redis = Redis()
    commit: GroupCommit[Any] = GroupCommit(redis.run, 1000)
    async with running(commit):
        redis.gate.clear()
        commit.submit(0, Waiting([]))
        await commit.drain(asyncio.get_running_loop().time() + 0.05)
        assert len(commit) == 1


@pytest.mark.parametrize("more", [0, 1])
async def test_what_a_reply_makes_pending_is_drained_too(more: int) -> None:
    """As an invitation that is accepted once it is charged."""
    redis, replies = Redis(), list[Any]()
    commit: GroupCommit[Any] = GroupCommit(redis.run, 1000)

    class Charging:
        def on_reply(self, reply: Any) -> None:
            commit.submit(f"after {reply}", Waiting(replies))

    async with running(commit):
        for number in range(1 + more):
            commit.submit(number, Charging())
        await drained(commit)
    assert replies == [f"after {number}" for number in range(1 + more)]


async def test_an_error_in_handling_one_reply_keeps_no_other_from_being_handled() -> None:
    """Nor does it end the process: it is logged."""

    class Broken:
        def on_reply(self, reply: Any) -> None:
            raise RuntimeError("a bug")

    replies: list[Any] = []
    commit: GroupCommit[Any] = GroupCommit(Redis().run, 10)
    async with running(commit):
        with capture_logs() as logs:
            commit.submit("a", Broken())
            commit.submit("b", Waiting(replies))
            await drained(commit)
        commit.submit("c", Waiting(replies))
        await drained(commit)
    assert replies == ["b", "c"]
    assert [line["event"] for line in logs] == ["request not continued"]
