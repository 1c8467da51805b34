"""How often the devices of a room are notified, and what becomes of it when things fail."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from imc_common.store import ReplyError
from imc_edge.delivering import rosters as module
from tests.imc_edge.sending import ROOM, Sending

OTHER = "chat-001@example.org"


@pytest.fixture
async def sending(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sending]:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.001)
    async with Sending() as running:
        yield running


def notified(sending: Sending) -> list[tuple[str, str]]:
    """Entry and room of each script."""
    return [(str(args[0]), str(args[1])) for args in sending.redis.of("notify_devices")]


async def test_a_room_is_notified_at_once_then_once_a_second(sending: Sending) -> None:
    """Other rooms do not wait for it."""
    first = await sending.event("roster")
    await sending.until(lambda: notified(sending) == [(first, ROOM)])
    second = await sending.event("roster")
    other = await sending.event("roster", room=OTHER)
    await sending.until(lambda: notified(sending)[1:] == [(other, OTHER)])
    assert sending.deliver.in_flight() == 1
    sending.clock.now += 1.0
    await sending.until(lambda: notified(sending)[2:] == [(second, ROOM)])
    assert sending.deliver.in_flight() == 0
    assert sending.wires.sent == []


async def test_an_outage_delays_it(sending: Sending) -> None:
    """And so does a refusal of Redis."""
    sending.redis.unreachable = True
    entry_id = await sending.event("roster")
    assert notified(sending) == []
    sending.redis.replies["notify_devices"] = [ReplyError("OOM")]
    sending.redis.unreachable = False
    await sending.until(lambda: notified(sending) == [(entry_id, ROOM)])


async def test_a_shard_that_is_lost_is_left_to_its_new_owner(sending: Sending) -> None:
    """Also at the end of the process."""
    sending.redis.unreachable = True
    await sending.event("roster")
    sending.owner.shards = frozenset()
    sending.turn()
    sending.redis.unreachable = False
    await sending.settle_down()
    assert notified(sending) == []
    sending.owner.shards = frozenset(range(16))
    sending.redis.unreachable = True
    await sending.event("roster")
    await sending.deliver.drain(sending.clock.now)
    assert sending.deliver.in_flight() == 0
