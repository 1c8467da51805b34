"""A few simulated runs, and that they can be repeated. ``python -m tests.simulation`` makes many."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from imc_common.scripts import Scripts
from tests.servers import Server, redis_alone
from tests.simulation.check import Findings
from tests.simulation.redis import simulated_scripts
from tests.simulation.run import Run

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with redis_alone() as started:
        yield started


@pytest.fixture(scope="module")
def scripts() -> Iterator[Scripts]:
    with simulated_scripts() as copied:
        yield copied


def played(seed: int, server: Server, scripts: Scripts) -> Findings:
    run = Run(seed, server.socket, scripts)
    try:
        return run.play(6)
    finally:
        run.close()


@pytest.mark.parametrize("seed", range(3))
def test_every_member_gets_every_message_in_order(seed: int, server: Server, scripts: Scripts) -> None:
    """While members go away and come back, and edges, workers and connections fail."""
    findings = played(seed, server, scripts)
    assert not findings.problems, findings
    assert findings.deliveries > 50


def test_a_seed_repeats_its_run(server: Server, scripts: Scripts) -> None:
    """A finding can be looked into."""
    first, second = (played(3, server, scripts) for _ in range(2))
    assert first == second
