"""Many datagrams read at once."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from imc_edge.transports import recvmmsg
from imc_edge.transports.recvmmsg import MAX_DATAGRAMS, Reader

pytestmark = pytest.mark.skipif(not recvmmsg.is_supported(), reason="no recvmmsg here")

Sockets = tuple[socket.socket, socket.socket]


@pytest.fixture(params=["127.0.0.1", "::1"])
def sockets(request: pytest.FixtureRequest) -> Iterator[Sockets]:
    """A sender and a non-blocking receiver on loopback."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with (
        socket.socket(family, socket.SOCK_DGRAM) as sender,
        socket.socket(family, socket.SOCK_DGRAM) as receiver,
    ):
        for each in (sender, receiver):
            each.bind((request.param, 0))
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        receiver.setblocking(False)
        yield sender, receiver


def test_all_that_wait_come_whole_and_in_order_with_their_sources(sockets: Sockets) -> None:
    """The empty one and the longest one too."""
    sender, receiver = sockets
    datagrams = [b"a", b"", b"x" * 65_000, b"z"]
    for datagram in datagrams:
        sender.sendto(datagram, receiver.getsockname())
    reader = Reader(receiver)
    assert reader.read() == datagrams
    assert [reader.source(index) for index in range(4)] == [sender.getsockname()[:2]] * 4


def test_one_call_takes_no_more_than_its_share(sockets: Sockets) -> None:
    """The rest waits for the next, which may be shorter."""
    sender, receiver = sockets
    for number in range(MAX_DATAGRAMS + 2):
        sender.sendto(b"%d" % number, receiver.getsockname())
    reader = Reader(receiver)
    assert reader.read() == [b"%d" % number for number in range(MAX_DATAGRAMS)]
    assert reader.read() == [b"64", b"65"]


def test_nothing_waiting_is_no_datagrams(sockets: Sockets) -> None:
    """Not an error: another reader may have been faster."""
    assert Reader(sockets[1]).read() == []


def test_a_closed_socket_raises(sockets: Sockets) -> None:
    """What the kernel says is told as OSError."""
    reader = Reader(sockets[1])
    sockets[1].close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        reader.read()
