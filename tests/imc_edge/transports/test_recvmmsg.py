"""Reading many datagrams in one system call: `recvmmsg.py` and `mmsghdr.py`."""

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


def test_all_waiting_datagrams_are_read_whole_in_order_and_with_their_sources(sockets: Sockets) -> None:
    """The empty one and the longest one, too."""
    sender, receiver = sockets
    datagrams = [b"a", b"", b"x" * 65_000, b"z"]
    for datagram in datagrams:
        sender.sendto(datagram, receiver.getsockname())
    reader = Reader(receiver)
    assert reader.read() == datagrams
    assert [reader.source(index) for index in range(4)] == [sender.getsockname()[:2]] * 4


def test_one_call_reads_a_limited_number(sockets: Sockets) -> None:
    """The rest is read by the next call, which may be shorter."""
    sender, receiver = sockets
    for number in range(MAX_DATAGRAMS + 2):
        sender.sendto(b"%d" % number, receiver.getsockname())
    reader = Reader(receiver)
    assert reader.read() == [b"%d" % number for number in range(MAX_DATAGRAMS)]
    assert reader.read() == [b"64", b"65"]


def test_without_waiting_datagrams_the_result_is_empty(sockets: Sockets) -> None:
    """Not an error: another reader may have been faster."""
    assert Reader(sockets[1]).read() == []


def test_a_closed_socket_raises(sockets: Sockets) -> None:
    """The kernel's error is raised as OSError."""
    reader = Reader(sockets[1])
    sockets[1].close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        reader.read()
