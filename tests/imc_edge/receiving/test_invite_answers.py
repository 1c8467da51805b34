"""The 200 to an INVITE is sent until its ACK comes (RFC 3261 §13.3.1.4)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from imc_edge.receiving.invite_answers import LAST, InviteAnswers

EXCHANGE = ("abc", 1)


class Later:
    """The event loop's timers, which fire when the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waits: list[tuple[float, Any, tuple[Any, ...]]] = []
        monkeypatch.setattr(asyncio.get_running_loop(), "call_later", self._call_later, raising=False)

    def _call_later(self, seconds: float, call: Any, *args: Any) -> asyncio.TimerHandle:
        self.waits.append((seconds, call, args))
        return asyncio.get_running_loop().call_at(1e9, lambda: None)

    def fire(self) -> float:
        """The next timer; gives its seconds."""
        seconds, call, args = self.waits.pop(0)
        call(*args)
        return seconds


async def test_a_200_is_repeated_at_growing_intervals_and_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """T1, doubled up to T2, for 64*T1."""
    answers, later, sent = InviteAnswers(), Later(monkeypatch), []
    answers.repeat(EXCHANGE, lambda: sent.append(1))
    waits = []
    while later.waits:
        waits.append(later.fire())
    assert waits[:5] == [0.5, 1.0, 2.0, 4.0, 4.0]
    assert sum(waits) >= LAST
    assert len(sent) == len(waits) - 1
    assert len(answers) == 0


async def test_an_ack_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that comes again, or of another exchange, changes nothing."""
    answers, later, sent = InviteAnswers(), Later(monkeypatch), []
    answers.repeat(EXCHANGE, lambda: sent.append(1))
    answers.repeat(EXCHANGE, lambda: sent.append(2))
    assert len(later.waits) == 1
    answers.acknowledged(("abc", 2))
    assert len(answers) == 1
    answers.acknowledged(EXCHANGE)
    answers.acknowledged(EXCHANGE)
    assert len(answers) == 0


@pytest.mark.uncompiled  # a constant is replaced
async def test_a_flood_of_invites_gets_its_answers_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered is bounded."""
    monkeypatch.setattr("imc_edge.receiving.invite_answers.MAX_ANSWERS", 1)
    answers, later = InviteAnswers(), Later(monkeypatch)
    for number in range(3):
        answers.repeat(("abc", number), lambda: None)
    assert (len(answers), len(later.waits)) == (1, 1)
