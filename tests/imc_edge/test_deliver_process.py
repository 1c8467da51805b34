"""Real edge processes that deliver from a real Redis: killed, stopped, drained in the middle of an event."""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from imc_common import keys
from imc_common.rooms.request import RequestData
from imc_common.sip.message import Request
from tests.imc_edge.deliveries import SHARD, Deployment, User, same
from tests.no_ipv6 import SOCKET_CALL
from tests.patience import PATIENCE, Stopwatch
from tests.servers import Server, redis_alone

pytestmark = pytest.mark.integration

DEADLY = """
import os, sys, msgpack
os.environ["IMC_MAX_ATTEMPTS"] = "3"
unpackb = msgpack.unpackb
msgpack.unpackb = lambda data: os._exit(9) if b"deadly text" in data else unpackb(data)
from imc_edge import __main__
sys.exit(__main__.main())
"""
"""An edge that ends when it reads an event with the text ``deadly text``."""
DEADLY_TO_SEND = """
import os, socket, sys
os.environ["IMC_MAX_ATTEMPTS"] = "3"
class Socket(socket.socket):
    def sendto(self, data, *where):
        return os._exit(9) if b"deadly text" in data else super().sendto(data, *where)
    def sendmsg(self, buffers, *more):
        return os._exit(9) if b"deadly text" in b"".join(buffers) else super().sendmsg(buffers, *more)
socket.socket = Socket
from imc_edge import __main__
sys.exit(__main__.main())
"""
"""An edge that ends when it sends this text."""
SHORT_LEASE = 4.0
"""Seconds: short enough to wait for its end, too long for a moment in which the machine stops."""
EVENT_SECONDS = 25.0
"""Less than an event with a silent recipient takes."""
ALLOWANCE = 10.0
"""Seconds that a busy machine may need in addition; time in which it stops is not counted at all."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with redis_alone() as server:
        yield server


@pytest.fixture
def deployment(server: Server, tmp_path: Path) -> Iterator[Deployment]:
    deployment = Deployment(server, tmp_path)
    deployment.redis.flushall()
    yield deployment
    deployment.end()


def test_an_event_is_delivered_settled_and_deleted(deployment: Deployment) -> None:
    """Nothing of it is left in Redis."""
    deployment.start()
    deployment.event(deployment.bob, deployment.carol)
    deployment.bob.respond(deployment.bob.receive())
    deployment.carol.respond(deployment.carol.receive())
    deployment.until(lambda: deployment.left() == 0)
    assert deployment.redis.xlen(keys.events(SHARD)) == 0
    assert not deployment.redis.keys("imc:*:settled:*")


def test_after_a_kill_only_recipients_without_a_recorded_response_get_it_again(
    deployment: Deployment,
) -> None:
    """The message has the Call-ID, CSeq and From tag of the first one."""
    first = deployment.start()
    entry_id = deployment.event(deployment.bob, deployment.carol)
    deployment.bob.respond(deployment.bob.receive())
    settled = keys.settled(SHARD, entry_id)
    deployment.until(lambda: bool(deployment.redis.sismember(settled, deployment.bob.address)), EVENT_SECONDS)
    original = deployment.carol.receive()
    assert original is not None
    deployment.kill(first)
    deployment.start()
    repeat = deployment.carol.receive()
    while repeat is not None and repeat[1] == original[1]:  # a retransmission of the first edge
        repeat = deployment.carol.receive()
    assert same(deployment.carol.respond(repeat, 482), original[0])
    deployment.until(lambda: deployment.left() == 0)
    assert deployment.bob.receive(0.3) is None
    assert deployment.redis.xlen(keys.undelivered(SHARD)) == 0  # the 482 counts as delivered
    assert not deployment.redis.exists(settled)


def test_after_a_kill_no_more_recipients_get_it_again_than_documented(deployment: Deployment) -> None:
    """docs/reliability.md: those whose response had just come, and all those whose response had not."""
    users = [User(f"user-{number}") for number in range(30)]
    early, late, silent = users[:20], users[20:25], users[25:]
    try:
        first = deployment.start()
        settled = keys.settled(SHARD, deployment.event(*users))
        got = {user.address: user.receive() for user in users}
        old = {seen[1] for seen in got.values() if seen is not None}
        for user in early:
            user.respond(got[user.address])
        deployment.until(lambda: deployment.redis.scard(settled) == len(early))
        for user in late:
            user.respond(got[user.address])
        deployment.kill(first)
        deployment.start()
        again = set()

        def all_done() -> bool:
            for user in users:
                repeat = user.receive(0.002)
                if repeat is not None and repeat[1] not in old:
                    original = got[user.address]
                    assert original is not None
                    assert same(user.respond(repeat), original[0])
                    again.add(user.address)
            return deployment.left() == 0

        deployment.until(all_done, 30)
        assert {user.address for user in silent} <= again
        assert again <= {user.address for user in late + silent}
    finally:
        for user in users:
            user.close()


def test_an_edge_stopped_and_continued_sends_nothing_of_a_shard_it_lost(deployment: Deployment) -> None:
    """The next owner sends what waited behind the message in flight."""
    deployment.settings["lease_ttl"] = SHORT_LEASE
    first = deployment.start()
    deployment.event(deployment.bob, text="1")
    deployment.event(deployment.bob, text="2")
    got = deployment.bob.receive()
    assert got is not None
    old = got[1]
    first.send_signal(signal.SIGSTOP)
    deployment.start()
    bodies = []
    for _ in range(2):
        got = deployment.bob.receive()
        while got is not None and got[1] == old:
            got = deployment.bob.receive()
        bodies.append(deployment.bob.respond(got).body)
    assert bodies == [b"1", b"2"]
    first.send_signal(signal.SIGCONT)
    got = deployment.bob.receive(1.5)
    assert got is None, got
    assert deployment.left() == 0


def test_sigterm_finishes_what_is_in_flight_and_ends(deployment: Deployment) -> None:
    """The response comes a second after the signal; the process ends with status 0, soon after that."""
    edge = deployment.start()
    deployment.event(deployment.bob)
    got = deployment.bob.receive()
    edge.send_signal(signal.SIGTERM)
    time.sleep(1)
    assert edge.poll() is None
    deployment.bob.respond(got)
    assert edge.wait(PATIENCE) == 0
    assert deployment.left() == 0


def test_order_is_kept_when_shards_move(deployment: Deployment) -> None:
    """An edge joins while one recipient's messages flow: no gap, no duplicate, in order."""
    deployment.settings["lease_ttl"] = SHORT_LEASE
    deployment.start()
    for number in range(30):
        deployment.event(deployment.bob, text=str(number))
    got: list[Request] = []
    while len(got) < 30:
        if len(got) == 5 and len(deployment.edges) == 1:
            deployment.start()
        request = deployment.bob.respond(deployment.bob.receive())
        if not got or not same(request, got[-1]):  # not a retransmission
            got.append(request)
        time.sleep(0.1)
    assert [request.body for request in got] == [str(number).encode() for number in range(30)]
    deployment.until(lambda: deployment.left() == 0)


def test_a_killed_edge_is_replaced_within_two_leases(deployment: Deployment) -> None:
    """SIGKILL: the other edge takes over its shards and sends what comes."""
    deployment.settings["lease_ttl"] = SHORT_LEASE
    deployment.start()
    deployment.start()
    deployment.until(lambda: sorted(deployment.spread()) == [8, 8])
    owner = bytes(deployment.redis.get(keys.lease(SHARD, "edge"))).decode()  # type: ignore[arg-type]
    (edge,) = [edge for edge in deployment.edges if f"-{edge.pid}-" in owner]
    edge.kill()
    with Stopwatch() as watch:
        deployment.event(deployment.bob)
        deployment.bob.respond(deployment.bob.receive())
    assert watch.seconds < 2 * SHORT_LEASE + ALLOWANCE
    deployment.until(lambda: deployment.spread() == [16] and deployment.left() == 0)


@pytest.mark.parametrize("deadly", [DEADLY, DEADLY_TO_SEND], ids=["reading", "sending"])
def test_an_event_that_ends_edges_becomes_a_dead_letter(deployment: Deployment, deadly: str) -> None:
    """The room's other messages are delivered, before it and after it."""
    deployment.event(deployment.bob, text="1")
    deployment.event(deployment.bob, text="deadly text", call_id="deadly")
    deployment.event(deployment.bob, text="3")
    bodies: list[bytes] = []

    def all_there() -> bool:
        if not deployment.edges or deployment.edges[-1].poll() is not None:
            assert len(deployment.edges) < 9, deployment.log.read_text()[-3000:]
            for edge in deployment.edges[-1:]:
                deployment.kill(edge)
            deployment.start("-c", deadly)
        got = deployment.bob.receive(0.1)
        if got is not None:
            deployment.bob.respond(got)
            bodies.append(got[0].body)
        return deployment.left() == 0

    deployment.until(all_there, 90)
    assert list(dict.fromkeys(bodies)) == [b"1", b"3"]
    ((_, letter),) = deployment.redis.xrange(keys.dead(SHARD))  # type: ignore[union-attr, str-unpack]
    assert RequestData.unpack(letter[b"data"]).call_id == "deadly"
    assert b"ended" in letter[b"dead_reason"]


def started_with(*lines: str) -> tuple[str, str]:
    """Arguments of an edge that runs these lines first."""
    return "-c", "\n".join(
        [*lines, "import sys", "from imc_edge import __main__", "sys.exit(__main__.main())"]
    )


@pytest.mark.skipif(SOCKET_CALL is None, reason="the seccomp filter is not written for this machine")
def test_without_ipv6_an_address_of_it_fails_and_nothing_else(deployment: Deployment) -> None:
    """EAFNOSUPPORT: an edge that listens on a wildcard starts, and delivers to all others."""
    deployment.settings["listen"] = "udp:0.0.0.0:0"
    edge = deployment.start(*started_with("from tests.no_ipv6 import refuse_ipv6", "refuse_ipv6()"))
    for number in range(2):
        deployment.event_to(["x@[2600:1::1]", deployment.bob.address], text=str(number))
        assert deployment.bob.respond(deployment.bob.receive()).body == str(number).encode()
    assert edge.poll() is None
    assert "Traceback" not in deployment.log.read_text()


def test_idle_connections_leave_descriptors_for_deliveries(deployment: Deployment) -> None:
    """Of 400, which the start says: however many peers connect, requests go out over TCP as well."""
    deployment.settings |= {"listen": "tcp:127.0.0.1:0", "max_connections_per_trusted_peer": 4096}
    limit = "resource.setrlimit(resource.RLIMIT_NOFILE, (400, 400))"
    edge = deployment.start(*started_with("import resource", limit))
    deployment.until(lambda: "edge started" in deployment.log.read_text())
    log = deployment.log.read_text()
    assert "max_connections lowered" in log
    assert "208" in log
    (port,) = set(re.findall(r"tcp:127\.0\.0\.1:(\d+)", log))
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.settimeout(PATIENCE)
        for _ in range(450):
            stack.enter_context(socket.create_connection(("127.0.0.1", int(port))))
        deployment.event_to([f"eve@127.0.0.1:{listener.getsockname()[1]};transport=tcp"])
        peer, _ = listener.accept()
        stack.enter_context(peer).settimeout(PATIENCE)
        assert peer.recv(65536).startswith(b"MESSAGE sip:eve@")
    assert edge.poll() is None
    assert "Traceback" not in deployment.log.read_text()
