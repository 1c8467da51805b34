"""UDP sockets (RFC 3261 §18)."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from imc_edge.flow import Flow, Hop
from imc_edge.transports.network import ListenError
from imc_edge.transports.udp import PER_WAKE_UP, PlainReader, bind_udp
from tests.imc_edge.sockets import Errors, Inbox, network, until
from tests.patience import PATIENCE


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_a_datagram_has_its_source_and_the_response_leaves_from_the_same_port(
    host: str,
) -> None:
    """RFC 3581 §4: the response leaves from the address and port the request was received on."""
    inbox = Inbox(response=b"SIP/2.0 200 OK\r\n\r\n")
    edge = network(f"udp:{host}:0")
    edge.start(inbox)
    where = edge.addresses[0]
    family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as user:
        user.bind((where.host, 0))
        user.sendto(b"hello", (where.host, where.port))
        await inbox.wait_for(1)
        user.settimeout(PATIENCE)
        received, source = user.recvfrom(1000)
        assert received == b"SIP/2.0 200 OK\r\n\r\n"
        assert source[:2] == (where.host, where.port)
        assert inbox.flows[0].peer == user.getsockname()[:2]
        assert inbox.flows[0].transport == "udp"
    await edge.close()


async def test_more_datagrams_than_one_wake_up_reads_all_come_in_order() -> None:
    """Other work of the loop gets its turn in between."""
    inbox = Inbox()
    edge = network("udp:127.0.0.1:0")
    edge.start(inbox)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as user:
        expected = [b"%d" % number for number in range(PER_WAKE_UP * 3)]
        for data in expected:
            user.sendto(data, edge.addresses[0][1:])
        await inbox.wait_for(len(expected))
    assert inbox.got == expected
    await edge.close()


async def test_a_request_goes_out_from_the_listening_port() -> None:
    """So that the response reaches us, also through a firewall."""
    edge = network("udp:127.0.0.1:0")
    edge.start(Inbox())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as user:
        user.bind(("127.0.0.1", 0))
        user.settimeout(PATIENCE)
        edge.send(Hop("udp", *user.getsockname()), b"MESSAGE", Errors())
        await asyncio.sleep(0)
        assert user.recvfrom(100) == (b"MESSAGE", edge.addresses[0][1:])
    await edge.close()


async def test_processes_that_share_a_port_send_requests_from_their_own() -> None:
    """The kernel would hand a response on the shared port to any of them."""
    first, second = Inbox(), Inbox()
    one = network("udp:127.0.0.1:0", shared=True)
    port = one.addresses[0].port
    other = network(f"udp:127.0.0.1:{port}", shared=True)
    one.start(first)
    other.start(second)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as user:
        user.bind(("127.0.0.1", 0))
        user.settimeout(PATIENCE)
        hop = Hop("udp", *user.getsockname())
        for edge, inbox in ((one, first), (other, second)):
            edge.send(hop, b"MESSAGE", Errors())
            await asyncio.sleep(0)
            _, source = user.recvfrom(100)
            assert source[1] != port
            assert edge.via(hop) == f"SIP/2.0/UDP 127.0.0.1:{source[1]}"
            user.sendto(b"SIP/2.0 200 OK", source)
            await inbox.wait_for(1)
    await one.close()
    await other.close()


async def test_a_hop_of_an_address_family_without_a_socket_is_an_error() -> None:
    """Reported at once, so that the next target of RFC 3263 is tried."""
    edge = network("udp:127.0.0.1:0")
    edge.start(Inbox())
    errors = Errors()
    edge.send(Hop("udp", "::1", 5060), b"MESSAGE", errors)
    assert "no udp socket" in str(errors.got[0])
    await edge.close()


async def test_an_error_about_a_port_in_use_names_the_listen_entry() -> None:
    """A process that cannot listen does not start."""
    edge = network("udp:127.0.0.1:0")
    taken = str(edge.addresses[0])
    with pytest.raises(ListenError, match=taken):
        network(taken)
    await edge.close()


async def test_a_full_send_buffer_delays_datagrams_and_loses_none() -> None:
    """They are queued, and go out in order as soon as the kernel has room."""
    edge = network("udp:127.0.0.1:0")
    edge.start(Inbox())
    sender = edge._sending[False]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as user:
        user.bind(("127.0.0.1", 0))
        user.setblocking(False)
        to = user.getsockname()
        sender._queue((b"first", None), to)
        sender.send(b"second", to)
        got: list[bytes] = []

        def take() -> bool:
            with contextlib.suppress(BlockingIOError):
                got.append(user.recv(100))
            return len(got) == 2

        await until(take)
        assert got == [b"first", b"second"]
        assert sender.unsent == 0
    await edge.close()


async def test_datagrams_of_one_turn_all_arrive_whatever_their_lengths() -> None:
    """Those of one length go together, more of them than one system call takes."""
    edge = network("udp:127.0.0.1:0")
    edge.start(Inbox())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as user:
        user.bind(("127.0.0.1", 0))
        user.settimeout(PATIENCE)
        user.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        hop = Hop("udp", *user.getsockname())
        sent = [b"%03d" % number + b"x" * (number % 3) for number in range(300)]
        for data in sent:
            edge.send(hop, data, Errors())
        await asyncio.sleep(0)
        assert sorted(user.recv(100) for _ in sent) == sorted(sent)
    await edge.close()


async def test_a_refused_datagram_is_reported_to_its_user_only() -> None:
    """It is longer than a datagram can be; the others go out."""
    edge = network("udp:127.0.0.1:0")
    edge.start(Inbox())
    errors = Errors()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as user:
        user.bind(("127.0.0.1", 0))
        user.settimeout(PATIENCE)
        hop = Hop("udp", *user.getsockname())
        edge.send(hop, b"x" * 70_000, errors)
        edge.send(hop, b"fits", Errors())
        await asyncio.sleep(0)
        assert user.recv(100) == b"fits"
    assert "Message too long" in str(errors.got[0])
    await edge.close()


async def test_without_recvmmsg_datagrams_are_read_one_by_one() -> None:
    """Systems other than Linux."""
    with bind_udp("127.0.0.1", 0) as receiver, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as user:
        user.bind(("127.0.0.1", 0))
        for data in (b"one", b"two"):
            user.sendto(data, receiver.getsockname())
        reader = PlainReader(receiver)
        assert reader.read() == [b"one", b"two"]
        assert reader.source(1) == user.getsockname()
        assert reader.read() == []


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """In this block the kernel gives this process no file descriptor (EMFILE)."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_without_file_descriptors_a_request_fails_and_no_error_escapes() -> None:
    """EMFILE is the failure of one delivery. What was not known then is looked up again later."""
    edge = network("udp:0.0.0.0:0")
    edge.start(Inbox())
    port = edge.addresses[0].port
    errors, later = Errors(), Hop("tcp", "127.0.0.2", 5060)
    with no_descriptors():
        edge.via(later)
        edge.local_address(later)
        edge.send(Hop("tcp", "127.0.0.1", 5060), b"MESSAGE", errors)
        edge.send(Hop("tls", "127.0.0.1", 5061, "a.example"), b"MESSAGE", errors)
        await until(lambda: len(errors.got) == 2)
    assert all("Too many open files" in str(error) for error in errors.got)
    assert edge.via(Hop("udp", "127.0.0.2", 5060)) == f"SIP/2.0/UDP 127.0.0.1:{port}"
    assert edge.via(later).startswith("SIP/2.0/TCP 127.0.0.1")
    assert edge.pool.count == 0
    await edge.close()


async def test_a_route_that_is_missing_is_looked_up_again() -> None:
    """The Via of a request without a route is never seen, and must not be that of later ones."""
    edge = network("udp:0.0.0.0:0")
    edge.via(Hop("udp", "255.255.255.255", 5060))  # EACCES: a broadcast address
    assert edge._sent_by == {}
    assert edge.local_address(Hop("udp", "255.255.255.255", 5060)) == ("0.0.0.0", 0)
    assert edge._local == {}
    await edge.close()


async def test_a_domain_that_no_certificate_can_name_fails_its_requests_only() -> None:
    """Python's IDNA codec refuses it with a ValueError."""
    edge = network("udp:127.0.0.1:0")
    edge.start(Inbox())
    errors = Errors()
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        edge.send(Hop("tls", *server.getsockname(), f"{'x' * 64}.example"), b"MESSAGE", errors)
        await until(lambda: len(errors.got) == 1)
    assert (edge.pool.count, edge.pool._pending) == (0, {})
    await edge.close()


async def test_an_error_in_handling_one_datagram_loses_no_other() -> None:
    """They are read many at a time."""

    class Broken(Inbox):
        def receive(self, data: bytes, flow: Flow) -> None:
            super().receive(data, flow)
            if data == b"bad":
                raise RuntimeError("a bug")

    inbox = Broken()
    edge = network("udp:127.0.0.1:0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as user, capture_logs() as logs:
        for data in (b"one", b"bad", b"two"):
            user.sendto(data, edge.addresses[0][1:])
        edge.start(inbox)
        await inbox.wait_for(3)
    assert inbox.got == [b"one", b"bad", b"two"]
    assert [line["event"] for line in logs] == ["datagram not handled"]
    await edge.close()
