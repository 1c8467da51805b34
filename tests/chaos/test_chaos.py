"""A short chaos run on each kind of Redis: random faults under load, and the judge's verdict."""

from __future__ import annotations

import pytest

from tests.chaos.faults import faults_for
from tests.chaos.plant import redis_kinds
from tests.chaos.run import Scale, play
from tests.servers import program

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(400)]

SECONDS = 15.0
SEED = 4


@pytest.mark.parametrize("kind", ["single", "sentinel", "cluster"])
async def test_whatever_dies_nothing_accepted_is_lost_doubled_misdirected_or_out_of_order(kind: str) -> None:
    """Edges, workers and servers are killed, stopped and cut off, several at a time."""
    program("redis-server")
    scale = Scale(rooms=4, talkers=3, pause=0.1, fault_pause=1.0)
    outcome = await play(redis_kinds()[kind], SECONDS, SEED, faults_for(kind), scale)
    assert outcome.ok, f"seed {SEED}: {outcome}, {outcome.findings[:5]}, see {outcome.folder}"
    assert outcome.verdict.deliveries
    assert sum(outcome.faults.values()) >= len(faults_for(kind))
