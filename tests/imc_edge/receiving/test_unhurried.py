"""A herd of REGISTERs holds up no message: what a turn of the event loop cannot take waits."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from imc_common.sip.message import Request
from imc_common.sip.parse import parse_message
from imc_edge.flow import Flow
from imc_edge.receiving import unhurried
from imc_edge.receiving.unhurried import PER_TURN, Unhurried
from tests.imc_edge.doubles import Edge, FakeFlow, edge, message

FLOW = FakeFlow()


class Handled:
    """Keeps what was handled, and counts what was dropped."""

    def __init__(self) -> None:
        self.got: list[int] = []
        self.dropped = 0
        self.unhurried = Unhurried(self.drop)

    def __call__(self, request: int, flow: Flow) -> None:
        assert flow is FLOW
        self.got.append(request)

    def drop(self) -> None:
        self.dropped += 1

    def take(self, *requests: int) -> None:
        for request in requests:
            self.unhurried.take(self, request, FLOW)


def test_a_turn_handles_some_and_the_rest_waits_in_order() -> None:
    """Also what comes while others wait."""
    handled = Handled()
    handled.take(*range(2 * PER_TURN + 1))
    assert handled.got == list(range(PER_TURN))
    assert handled.unhurried.turn()
    handled.take(2 * PER_TURN + 1)
    assert handled.got == list(range(2 * PER_TURN))
    assert handled.unhurried.turn()
    assert handled.got == list(range(2 * PER_TURN + 2))
    assert not handled.unhurried.turn()


def test_after_a_turn_without_any_the_next_ones_are_handled_at_once() -> None:
    """Single REGISTERs never wait."""
    handled = Handled()
    for first in range(0, 3 * PER_TURN, PER_TURN):
        handled.take(*range(first, first + PER_TURN))
        assert not handled.unhurried.turn()
    assert handled.got == list(range(3 * PER_TURN))


def test_more_than_fit_are_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer sends them again."""
    monkeypatch.setattr(unhurried, "MAX_WAITING", 3)
    handled = Handled()
    handled.take(*range(PER_TURN + 5))
    assert handled.dropped == 2
    handled.unhurried.turn()
    assert handled.got == list(range(PER_TURN + 3))


async def test_other_work_has_its_turn_in_between() -> None:
    """The event loop goes round once for each turn."""
    handled = Handled()
    running = asyncio.create_task(handled.unhurried.run())
    handled.take(*range(4 * PER_TURN))
    sizes = []
    while len(handled.got) < 4 * PER_TURN:
        sizes.append(len(handled.got))
        await asyncio.sleep(0)
    assert sizes[0] == PER_TURN
    assert all(later - earlier <= PER_TURN for earlier, later in pairwise(sizes))
    running.cancel()


def register(number: int, **headers: str) -> bytes:
    return message(
        b"",
        method="REGISTER",
        uri="sip:example.org",
        To=f"<sip:user{number}@example.org>",
        Call_ID=f"register-{number}",
        lines=["Contact: <sip:user@192.0.2.9>"],
        **headers,
    )


def registered(herd: FakeFlow) -> int:
    assert {response.status for response in herd.responses} <= {200}
    return len(herd.responses)


def frame(tested: Edge, data: bytes, flow: FakeFlow) -> None:
    parsed = parse_message(data, stream=True)
    assert isinstance(parsed, Request)
    tested.acceptor.take(parsed, flow)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_message_behind_a_herd_of_registers_does_not_wait_for_it(transport: str) -> None:
    """It is accepted with the first of them; all get their 200."""
    async with edge(history_max_messages=500) as tested:
        herd, chat = FakeFlow(transport), FakeFlow(transport)
        for number in range(20 * PER_TURN):
            if transport == "udp":
                tested.acceptor.receive(register(number), herd)
            else:
                frame(tested, register(number), herd)
        tested.acceptor.receive(message(), chat)
        while not chat.responses:
            await asyncio.sleep(0)
        assert chat.responses[0].status == 202
        assert registered(herd) <= 10 * PER_TURN
        while registered(herd) < 20 * PER_TURN:
            await asyncio.sleep(0)


async def test_registers_of_others_do_not_take_the_place_of_trusted_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They get their 405 at once."""
    monkeypatch.setattr(unhurried, "MAX_WAITING", 1)
    async with edge(trusted_peers="192.0.2.1", max_requests_per_source=1000) as tested:
        stranger, trusted = FakeFlow(peer=("198.51.100.1", 5060)), FakeFlow()
        for number in range(2 * PER_TURN):
            tested.acceptor.receive(register(number), stranger)
        assert [response.status for response in stranger.responses] == [405] * (2 * PER_TURN)
        for number in range(PER_TURN + 2):
            tested.acceptor.receive(register(number), trusted)
        await tested.settle()
        assert registered(trusted) == PER_TURN + 1
        assert b'imc_ignored_total{reason="overload"} 1.0' in tested.metrics.page()
