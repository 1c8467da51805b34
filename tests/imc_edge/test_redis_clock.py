"""Redis's time on an edge whose own clock is wrong."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from imc_common.store import Command, ReplyError, StoreUnreachable
from imc_edge import redis_clock
from imc_edge.redis_clock import RedisClock
from tests.imc_edge.sending import Clock


class Server:
    """A store that replies with the time a test sets."""

    def __init__(self) -> None:
        self.reply: Any = 0
        self.asked = 0

    def script(self, name: str, keys: list[str], args: list[Any]) -> Command:
        return (name, *keys, *args)

    async def run(self, commands: list[Command]) -> list[Any]:
        self.asked += 1
        if isinstance(self.reply, StoreUnreachable):
            raise self.reply
        return [self.reply]


async def test_the_time_is_that_of_redis_and_advances_with_the_own_clock() -> None:
    """The own clock may show anything. If Redis's clock is corrected, the next read follows it."""
    server, own = Server(), Clock()
    clock = RedisClock(server, own)  # type: ignore[arg-type]
    server.reply = 1_700_000_000_500
    await clock.read()
    assert clock() == pytest.approx(1_700_000_000.5)
    own.now += 10
    assert clock() == pytest.approx(1_700_000_010.5)
    server.reply = 1_600_000_000_000
    await clock.read()
    assert clock() == pytest.approx(1_600_000_000)


@pytest.mark.parametrize("reply", [StoreUnreachable("gone"), ReplyError("LOADING")])
async def test_the_offset_stays_while_redis_is_unreachable(reply: Any) -> None:
    """So nonces stay valid."""
    server, own = Server(), Clock()
    clock = RedisClock(server, own)  # type: ignore[arg-type]
    server.reply = 1_700_000_000_000
    await clock.read()
    server.reply = reply
    await clock.read()
    assert clock() == pytest.approx(1_700_000_000)


async def test_the_clock_is_read_periodically_and_sooner_before_the_first_reply(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Until then no other edge accepts this edge's nonces."""
    monkeypatch.setattr(redis_clock, "FIRST_READ_SECONDS", 0.001)
    monkeypatch.setattr(redis_clock, "READ_SECONDS", 3600)
    server = Server()
    server.reply = StoreUnreachable("gone")
    running = asyncio.create_task(RedisClock(server, Clock()).run())  # type: ignore[arg-type]
    while server.asked < 3:
        await asyncio.sleep(0.001)
    server.reply = 1_700_000_000_000
    before = server.asked
    while server.asked == before:
        await asyncio.sleep(0.001)
    told = server.asked
    await asyncio.sleep(0.02)
    assert server.asked == told
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
