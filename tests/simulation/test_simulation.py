"""A few simulated runs, and that they can be repeated. ``python -m tests.simulation`` makes many."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from imc_common.scripts import Scripts
from tests.servers import Server, redis_alone
from tests.simulation.check import Findings
from tests.simulation.group_chats import GroupChatRun
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


def played(seed: int, server: Server, scripts: Scripts, kind: type[Run | GroupChatRun] = Run) -> Findings:
    run = kind(seed, server.socket, scripts)
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


@pytest.mark.parametrize("seed", range(4))
def test_phones_show_the_members_of_their_rooms(seed: int, server: Server, scripts: Scripts) -> None:
    """And get each message once, while the same fails, and replicas of the server are promoted."""
    findings = played(seed, server, scripts, GroupChatRun)
    assert not findings.problems, findings
    assert findings.deliveries > 20


@pytest.mark.parametrize("kind", [Run, GroupChatRun])
def test_a_seed_repeats_its_run(kind: type[Run | GroupChatRun], server: Server, scripts: Scripts) -> None:
    """A finding can be looked into."""
    first, second = (played(3, server, scripts, kind) for _ in range(2))
    for each in (first, second):  # ids of events have the server's own time
        each.events = [re.sub(r"[0-9a-f]{32}|\d{13}-\d+", "ID", event) for event in each.events]
    assert first == second
