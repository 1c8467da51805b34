"""Edges and workers with the default lease die, join and leave; the others take over in time."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imc_common import keys
from imc_common.keys import Keys
from imc_common.rooms.request import RequestData, RoomRequest
from imc_common.settings import Endpoint, Settings
from imc_common.shards.ownership import HEARTBEATS_PER_LEASE
from imc_common.sip.message import Request
from tests.imc_edge.deliveries import ROOM, SHARD, Deployment, same
from tests.imc_edge.doubles import message
from tests.imc_edge.process import User as Sender
from tests.patience import PATIENCE, Stopwatch
from tests.servers import redis_alone

pytestmark = pytest.mark.integration

LEASE = Settings().lease_ttl
TWO_HEARTBEATS = 2 * LEASE / HEARTBEATS_PER_LEASE
ALLOWANCE = 10.0
"""Seconds that a busy machine may need on top of the stated time. Stalls of the machine are not counted."""
ROLES = {"edge": keys.EDGES, "worker": keys.WORKERS}
ALICE = "alice@example.org"


class Service(Deployment):
    """Edges and workers with default settings, and a room: Alice, its owner, writes; Bob receives."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.settings = {}
        names = Keys()
        self.redis.zadd(names.rooms(SHARD), {ROOM: 0})
        self.redis.hset(names.room(SHARD, ROOM), "private", "0")
        roles = {ALICE: "owner", self.bob.address: "member"}
        self.redis.hset(names.members(SHARD, ROOM), mapping=roles)  # type: ignore[arg-type]

    def join(self, role: str) -> subprocess.Popen[bytes]:
        """Start one more process; returns when it is registered as live."""
        child = self.start("-m", f"imc_{role}")
        self.until(lambda: self.lives(role, child))
        return child

    def lives(self, role: str, child: subprocess.Popen[bytes]) -> bool:
        """Whether this process is registered as live."""
        live: list[bytes] = self.redis.zrange(ROLES[role], 0, -1)  # type: ignore[assignment]
        return any(f"-{child.pid}-".encode() in name for name in live)

    def owner(self, role: str) -> subprocess.Popen[bytes]:
        """The process that owns the room's shard."""
        name = bytes(self.redis.get(keys.lease(SHARD, role))).decode()  # type: ignore[arg-type]
        return next(child for child in self.edges if f"-{child.pid}-" in name)

    def shares(self, role: str) -> list[int]:
        """How many shards each process of a role owns, in descending order; empty if a shard has no owner."""
        owners: list[bytes | None] = self.redis.mget([keys.lease(shard, role) for shard in range(16)])  # type: ignore[assignment]
        return [] if None in owners else sorted(Counter(owners).values(), reverse=True)

    def even(self, processes: int) -> bool:
        """Whether, of each role, so many processes own all shards and their shares differ by at most one."""
        each, over = divmod(16, processes)
        expected = [each + 1] * over + [each] * (processes - over)
        return all(self.shares(role) == expected for role in ROLES)

    def assert_soon_even(self, processes: int) -> None:
        """The shards are spread evenly within two heartbeats."""
        with Stopwatch() as watch:
            self.until(lambda: self.even(processes))
        assert watch.seconds < TWO_HEARTBEATS + ALLOWANCE

    def hear(self, came: dict[str, Request], seconds: float = PATIENCE) -> None:
        """Bob receives one MESSAGE, if one comes, and responds.

        A repeated one must have the same identity.
        """
        got = self.bob.receive(seconds)
        if got is not None:
            request = self.bob.respond(got)
            assert same(came.setdefault(request.body.decode(), request), request)

    def say(self, text: str) -> None:
        """Append a message of Alice's to the room's stream, as an edge does."""
        data = RequestData(body=text.encode(), call_id=text, at=int(time.time() * 1000)).pack()
        request = RoomRequest("message", ALICE, ROOM, data=data)
        fields = request.to_fields()
        self.redis.execute_command("XADD", keys.requests(SHARD), "*", *fields)

    def all_listening(self) -> list[Endpoint]:
        """The endpoints of the edges, in the order of their starts."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [Endpoint.parse(line["endpoints"][0]) for line in lines if "endpoints" in line]

    def listening(self) -> Endpoint:
        """The endpoint of the edge that was started last."""
        return self.all_listening()[-1]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with redis_alone() as server:
        service = Service(server, tmp_path)
        yield service
        service.end()


@pytest.mark.parametrize("fate", [signal.SIGKILL, signal.SIGSTOP], ids=lambda fate: fate.name)
def test_others_take_over_within_two_leases_when_an_owner_dies_or_freezes(
    service: Service, fate: signal.Signals
) -> None:
    """The edge and the worker that own a shard die (as by the OOM killer) or freeze.

    Within two leases, 6 s, others have handled a request and sent an event. Frozen ones change nothing when
    they continue.
    """
    for _ in range(2):
        for role in ROLES:
            service.join(role)
    service.until(lambda: service.even(2))
    owners = [service.owner(role) for role in ROLES]
    for owner in owners:
        owner.send_signal(fate)
    came: dict[str, Request] = {}
    with Stopwatch() as watch:
        service.event(service.bob, text="an event without an edge")
        service.say("a request without a worker")
        while len(came) < 2:
            service.hear(came)
    assert watch.seconds < 2 * LEASE + ALLOWANCE

    def settled() -> bool:
        service.hear(came, 0.1)
        return service.left() == 0

    service.until(settled)
    if fate == signal.SIGSTOP:
        for owner in owners:
            owner.send_signal(signal.SIGCONT)
        service.until(lambda: service.even(2))
        service.hear(came, 0.5)
        assert not service.redis.xlen(keys.requests(SHARD))
        assert service.left() == 0


def test_shards_are_spread_evenly_within_two_heartbeats_of_a_join_or_leave(service: Service) -> None:
    """From one process of each role to four, and back to two: shares differ by at most one shard."""
    running = {role: [service.join(role)] for role in ROLES}
    service.until(lambda: service.even(1))
    for count in (2, 3, 4):
        for role in ROLES:
            running[role].append(service.join(role))
        service.assert_soon_even(count)
    for count in (3, 2):
        leaving = [running[role].pop(0) for role in ROLES]
        for child in leaving:
            child.terminate()
        assert [child.wait(PATIENCE) for child in leaving] == [0, 0]
        service.assert_soon_even(count)


def test_an_edge_loses_nothing_when_a_second_sigterm_ends_its_drain(service: Service) -> None:
    """A member does not respond, so deliveries are pending when the edge gets two SIGTERMs.

    The next edge delivers each of them once, in order, and the first one with the same identity.
    """
    edge = service.join("edge")
    service.join("worker")
    service.until(lambda: service.even(1))
    accepted = []
    with Sender(service.listening()) as alice:
        for number in range(20):
            body = str(number).encode()
            via = f"SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK{number};rport"
            headers = {"From": f"<sip:{ALICE}>;tag=a", "To": f"<sip:{ROOM}>", "Call_ID": f"call-{number}"}
            assert alice.ask(message(body, uri=f"sip:{ROOM}", Via=via, **headers)).status == 202
            accepted.append(body)
    original = service.bob.receive()
    assert original is not None
    service.until(lambda: service.left() == len(accepted))
    edge.send_signal(signal.SIGTERM)
    service.until(lambda: "edge draining" in service.log.read_text())
    edge.send_signal(signal.SIGTERM)
    assert edge.wait(PATIENCE) == 1
    service.join("edge")
    got: list[Any] = []

    def delivered() -> bool:
        found = service.bob.receive(0.1)
        if found is not None and found[1] != original[1]:
            request = service.bob.respond(found)
            if not any(same(request, other) for other in got):
                got.append(request)
        return service.left() == 0 and found is None

    service.until(delivered)
    assert [request.body.rpartition(b" ")[2] for request in got] == accepted
    assert same(got[0], original[0])
    assert service.redis.xlen(keys.undelivered(SHARD)) == 0
