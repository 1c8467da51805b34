"""Hops that are backed off are forgotten when their time is over, and few are remembered."""

from __future__ import annotations

import pytest

from imc_edge.flow import Hop
from imc_edge.routing import back_off as module
from imc_edge.routing.back_off import BackOff
from tests.imc_edge.sending import Clock


def hop(number: int) -> Hop:
    return Hop("udp", "192.0.2.1", 1024 + number)


def test_a_hop_that_nothing_is_sent_to_any_more_is_forgotten() -> None:
    """While one is known, no delivery takes the short way."""
    clock = Clock()
    back_off = BackOff(clock)
    back_off.start(hop(1), 1.0)
    back_off.start(hop(2), 30.0)
    back_off.turn()
    assert len(back_off.until) == 2
    clock.now += 1.5
    back_off.turn()
    assert list(back_off.until) == [hop(2)]
    clock.now += 30
    back_off.turn()
    assert not back_off.until


def test_addresses_of_members_do_not_fill_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each could be at another port that refuses connections."""
    monkeypatch.setattr(module, "MAX_HOPS", 10)
    back_off = BackOff(Clock())
    for number in range(25):
        back_off.start(hop(number), 3600.0)
    assert len(back_off.until) <= 10
    assert back_off.applies_to(hop(24))
