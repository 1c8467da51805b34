"""How many duplicates the kill of a real edge causes, and that real edges record who has responded.

Covers transports/pending_requests.py.
"""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from imc_common import keys
from tests.imc_edge.crowd import Room
from tests.imc_edge.deliveries import SHARD, Deployment, User, same
from tests.servers import Server, running

pytestmark = pytest.mark.integration

MEMBERS = 2000
IN_FLIGHT = 50
PACE = 400
"""Responses a second: a member responds about 0.3 s after its MESSAGE, before it counts as unresponsive."""
T1 = 0.5
RECORDED_SECONDS = 0.2
ALLOWANCE = 1.0
"""Seconds, for a busy machine; at this pace the whole room takes five times as long."""
SHORT_LEASE = 4.0
"""Seconds: short enough to wait for its end, too long for a moment in which the machine stops."""


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    with tempfile.TemporaryDirectory() as folder:
        server: Server
        with running("redis-server", Path(folder), "--maxmemory-policy", "noeviction") as server:
            deployment = Deployment(server, tmp_path)
            yield deployment
            deployment.end()


def recorded_of(deployment: Deployment, events: dict[str, list[str]]) -> set[str]:
    """The members that have responded, as recorded in Redis."""
    open_ones = {entry_id.decode() for entry_id, _ in deployment.redis.xrange(keys.events(SHARD))}  # type: ignore[union-attr, str-unpack]
    recorded: set[str] = set()
    for event, members in events.items():
        if event in open_ones:
            found = deployment.redis.smembers(keys.settled(SHARD, event))
            recorded |= {member.decode() for member in found}  # type: ignore[union-attr]
        else:
            recorded.update(members)
    return recorded


@pytest.mark.parametrize("chunk", [64, 1000])
def test_the_number_of_duplicates_after_a_kill_is_within_the_bound(
    deployment: Deployment, chunk: int
) -> None:
    """docs/reliability.md, a room of 2,000 killed half way: no more come twice than responded in the last
    200 ms, plus `max_in_flight` + 126 that had not responded; and everybody gets it."""
    deployment.settings["max_in_flight"] = IN_FLIGHT
    room = Room(PACE, MEMBERS)
    try:
        edge = deployment.start()
        events = {}
        for first in range(0, MEMBERS, chunk):
            some = room.members[first : first + chunk]
            events[deployment.event_to(some)] = some
        deployment.until(lambda: len(room.responded) >= MEMBERS // 2, 60)
        edge.kill()
        killed = time.monotonic()
        room.pace = 0
        deployment.kill(edge)
        recorded = recorded_of(deployment, events)
        deployment.start()
        deployment.until(lambda: deployment.left() == 0, 60)
    finally:
        room.end()

    duplicates = room.again.keys() & room.first.keys()
    responded = {member for member, at in room.responded.items() if at <= killed}
    silent_ones = room.first.keys() - responded
    slow = [member for member in silent_ones if room.first[member][0] < killed - 0.8 * T1]
    assert len(room.first) < MEMBERS  # it was killed half way
    assert len(recorded) >= MEMBERS // 4
    assert not duplicates & recorded
    assert silent_ones <= duplicates
    assert len(silent_ones) <= IN_FLIGHT + 126 + len(slow)
    lately = PACE * (RECORDED_SECONDS + ALLOWANCE)
    assert len(duplicates) <= IN_FLIGHT + 126 + len(slow) + lately
    assert all(same(room.again[member], room.first[member][1]) for member in duplicates)
    assert recorded | room.again.keys() == set(room.members)


def test_responses_are_recorded_while_the_event_is_unfinished(deployment: Deployment) -> None:
    """One member is silent, so the event stays open until Timer F; each response is recorded before that.

    How soon is shown with a simulated clock, in `delivering/test_settlement.py`.
    """
    users = [User(f"user-{number}") for number in range(8)]
    silent, responsive = users[0], users[1:]
    try:
        deployment.start()
        settled = keys.settled(SHARD, deployment.event(*users))
        assert silent.receive() is not None
        for user in responsive:
            user.respond(user.receive())
            deployment.until(lambda user=user: bool(deployment.redis.sismember(settled, user.address)))  # type: ignore[misc]
        assert deployment.redis.scard(settled) == len(responsive)
        assert deployment.left() == 1
    finally:
        for user in users:
            user.close()


def test_an_edge_that_loses_a_shard_in_the_middle_of_a_large_event_sends_no_more_of_it(
    deployment: Deployment,
) -> None:
    """It is stopped between two parts of a room of 1,000, past its lease. When it wakes there is room for
    more in flight, but the rest has been sent by the next owner: nobody hears of the old one again."""
    deployment.settings["max_in_flight"] = IN_FLIGHT
    deployment.settings["lease_ttl"] = SHORT_LEASE
    room = Room(PACE, 1000)
    try:
        edge = deployment.start()
        deployment.event_to(room.members)
        deployment.until(lambda: len(room.responded) >= 200)
        edge.send_signal(signal.SIGSTOP)
        deployment.start()
        deployment.until(lambda: deployment.left() == 0, 60)
        assert len(room.first) < 1000
        assert room.first.keys() | room.again.keys() == set(room.members)
        woken = time.monotonic()
        edge.send_signal(signal.SIGCONT)
        deployment.until(lambda: "shard lost with deliveries pending" in deployment.log.read_text())
        time.sleep(1.5)  # for what must not come
        assert room.last_request < woken
        assert edge.poll() is None
    finally:
        room.end()
