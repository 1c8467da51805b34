"""Coroutines that ask Redis without tasks of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from imc_common.store import Command, ReplyError, StoreUnreachable
from imc_edge.identity import lookups as module
from imc_edge.identity.lookups import Lookups, ask
from tests.patience import PATIENCE


class Redis:
    """Replies to GET with the key, to FAIL with an error."""

    def __init__(self) -> None:
        self.pipelines: list[list[Command]] = []
        self.is_unreachable = False

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        self.pipelines.append(list(commands))
        if self.is_unreachable:
            raise StoreUnreachable("gone")
        return [ReplyError("ERR") if command[0] == "FAIL" else command[1] for command in commands]


@asynccontextmanager
async def running(lookups: Lookups) -> AsyncIterator[None]:
    """Lookups that run; at the end of the block no coroutine waits any more."""
    task = asyncio.create_task(lookups.run())
    await asyncio.sleep(0)
    yield
    await lookups.drain(asyncio.get_running_loop().time() + PATIENCE)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def asking(name: str, said: list[Any], *questions: tuple[Command, ...]) -> None:
    """Ask one question after the other, and keep the replies or the error."""
    try:
        for commands in questions:
            replies = await ask(*commands)
            said.append((name, *replies))
    except (StoreUnreachable, ReplyError) as error:
        said.append((name, type(error)))


async def test_a_coroutine_runs_at_once_up_to_its_first_question() -> None:
    """One that asks nothing is finished then, without the event loop."""
    said: list[Any] = []

    async def refuse() -> None:
        said.append("refused")

    Lookups(Redis()).start(refuse())
    assert said == ["refused"]


async def test_questions_of_several_coroutines_share_a_pipeline() -> None:
    """Each gets its own replies, in the order of its commands, and goes on to its next question."""
    redis, said = Redis(), list[Any]()
    lookups = Lookups(redis)
    async with running(lookups):
        lookups.start(asking("a", said, (("GET", 1), ("GET", 2)), (("GET", 3),)))
        lookups.start(asking("b", said, (("GET", 4),)))
    assert redis.pipelines == [[("GET", 1), ("GET", 2), ("GET", 4)], [("GET", 3)]]
    assert said == [("a", 1, 2), ("b", 4), ("a", 3)]


@pytest.mark.parametrize("question", [(("FAIL", 1), ("GET", 2)), (("GET", 1), ("FAIL", 2))])
async def test_an_error_reply_is_raised_where_the_coroutine_asked(question: tuple[Command, ...]) -> None:
    """Once, whatever the other commands of the question got; other coroutines are not concerned."""
    redis, said = Redis(), list[Any]()
    lookups = Lookups(redis)
    async with running(lookups):
        lookups.start(asking("a", said, question, (("GET", 3),)))
        lookups.start(asking("b", said, (("GET", 4),)))
    assert sorted(said, key=str) == [("a", ReplyError), ("b", 4)]


async def test_an_unreachable_redis_is_raised_where_the_coroutine_asked() -> None:
    """In each coroutine that waits."""
    redis, said = Redis(), list[Any]()
    redis.is_unreachable = True
    lookups = Lookups(redis)
    async with running(lookups):
        for name in "ab":
            lookups.start(asking(name, said, (("GET", 1), ("GET", 2))))
    assert said == [("a", StoreUnreachable), ("b", StoreUnreachable)]


@pytest.mark.parametrize("room", [0, 1, 2, 3])
async def test_a_coroutine_that_finds_too_many_waiting_gets_store_unreachable(
    monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """Also if only a part of its commands found room."""
    monkeypatch.setattr(module, "MAX_WAITING", room)
    said: list[Any] = []
    lookups = Lookups(Redis())
    lookups.start(asking("a", said, (("GET", 1), ("GET", 2), ("GET", 3))))
    async with running(lookups):
        pass
    assert said == [("a", 1, 2, 3) if room == 3 else ("a", StoreUnreachable)]
