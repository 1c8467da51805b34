"""Sending datagrams of one length in one system call."""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Iterator

import pytest

from imc_edge.transports.segmentation import MAX_BYTES, MAX_SEGMENTS, Segmentation
from tests.patience import PATIENCE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")

Sockets = tuple[socket.socket, socket.socket]


@pytest.fixture(params=["127.0.0.1", "::1"])
def sockets(request: pytest.FixtureRequest) -> Iterator[Sockets]:
    """A sender and a receiver on loopback."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with (
        socket.socket(family, socket.SOCK_DGRAM) as sender,
        socket.socket(family, socket.SOCK_DGRAM) as receiver,
    ):
        for each in (sender, receiver):
            each.bind((request.param, 0))
            each.settimeout(PATIENCE)
        yield sender, receiver


def received(sock: socket.socket, count: int) -> list[bytes]:
    """So many datagrams, as they come."""
    return [sock.recv(MAX_BYTES) for _ in range(count)]


def test_datagrams_arrive_one_by_one_in_order(sockets: Sockets) -> None:
    """The receiver sees no difference."""
    sender, receiver = sockets
    datagrams = [b"%03d" % number * 200 for number in range(20)]
    assert Segmentation(sender).send(datagrams, receiver.getsockname()[:2]) == 20
    assert received(receiver, 20) == datagrams


@pytest.mark.parametrize(("size", "sent"), [(10, MAX_SEGMENTS), (1300, MAX_BYTES // 1300)])
def test_one_call_sends_as_many_as_one_packet_holds(sockets: Sockets, size: int, sent: int) -> None:
    """The kernel's own limits: segments, and the bytes of an IP packet."""
    sender, receiver = sockets
    assert Segmentation(sender).send([b"x" * size] * 100, receiver.getsockname()[:2]) == sent


def test_a_single_datagram_is_left_to_a_plain_send(sockets: Sockets) -> None:
    """Segmentation would cost more; so would two that do not fit one packet."""
    sender, receiver = sockets
    assert Segmentation(sender).send([b"one"], receiver.getsockname()[:2]) == 0
    assert Segmentation(sender).send([b"x" * 40_000] * 2, receiver.getsockname()[:2]) == 0


class Refusing:
    """A socket whose sendmsg fails."""

    def __init__(self, code: int) -> None:
        self.code = code

    def sendmsg(self, *_: object) -> int:
        raise OSError(self.code, "refused")


@pytest.mark.parametrize(
    ("code", "goes_on"),
    [(errno.EIO, False), (errno.ENOPROTOOPT, False), (errno.EINVAL, True), (errno.EMSGSIZE, True)],
)
def test_what_the_kernel_refuses_is_left_to_a_plain_send(code: int, goes_on: bool) -> None:
    """A device without segmentation is not tried again; a path with a small MTU is, for shorter requests."""
    segmentation = Segmentation(Refusing(code))  # type: ignore[arg-type]
    assert segmentation.send([b"a", b"b"], ("127.0.0.1", 1)) == 0
    assert segmentation.works is goes_on


def test_a_full_send_buffer_raises_as_in_a_plain_send() -> None:
    """The caller waits and comes back."""
    segmentation = Segmentation(Refusing(errno.EAGAIN))  # type: ignore[arg-type]
    with pytest.raises(BlockingIOError):
        segmentation.send([b"a", b"b"], ("127.0.0.1", 1))
