"""One UDP socket (RFC 3261 §18): datagrams in, datagrams out.

A bare socket with ``add_reader`` and a loop of ``recvfrom`` costs less per datagram than asyncio's
DatagramProtocol, because one wake-up of the event loop takes many of them.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from dataclasses import dataclass

from imc_edge.flow import Receiver, SocketAddress

PER_WAKE_UP = 64
"""Datagrams taken before other work of the loop gets its turn."""
MAX_DATAGRAM = 65535
BUFFER = 4 * 1024 * 1024
"""Asked of the kernel for both directions; it gives what ``net.core.rmem_max`` allows."""
MAX_WAITING = 4096
"""Datagrams kept while the kernel's send buffer is full; more are dropped, as a full network would."""


def bind_udp(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A bound, non-blocking UDP socket. ``shared``: several processes may bind this port (SO_REUSEPORT)."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


@dataclass(frozen=True, slots=True)
class UdpFlow:
    """The source of one datagram."""

    peer: SocketAddress
    socket: UdpSocket

    @property
    def transport(self) -> str:
        """``udp``."""
        return "udp"

    def send(self, data: bytes, to: SocketAddress | None = None) -> None:
        """Answer from the port the request came to (RFC 3581 §4); what the network refuses is lost."""
        try:
            self.socket.send(data, to or self.peer)
        except OSError:
            self.socket.unsent += 1


class UdpSocket:
    """Reads a bound socket from the event loop, and writes to it."""

    def __init__(self, sock: socket.socket) -> None:
        """Take a socket of :func:`bind_udp`; nothing is read before :meth:`start`."""
        self._socket = sock
        self._receiver: Receiver | None = None
        self._waiting: deque[tuple[bytes, SocketAddress]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.family = sock.family
        self.address: SocketAddress = sock.getsockname()[:2]
        self.unsent = 0
        """Responses and queued datagrams that the network did not take."""

    def start(self, receiver: Receiver) -> None:
        """Begin to read, in the running loop."""
        self._receiver = receiver
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._readable)

    def close(self) -> None:
        """Stop reading and close the socket."""
        if self._loop is not None:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
        self._socket.close()

    def send(self, data: bytes, to: SocketAddress) -> None:
        """Send one datagram now, or as soon as the kernel has room. Raises OSError when it is refused."""
        if self._waiting:
            self._queue(data, to)
            return
        try:
            self._socket.sendto(data, to)
        except BlockingIOError:
            self._queue(data, to)

    def _readable(self) -> None:
        if self._receiver is None:
            return
        recvfrom, receive = self._socket.recvfrom, self._receiver.receive
        for _ in range(PER_WAKE_UP):
            try:
                data, source = recvfrom(MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error of an earlier datagram; its transaction's timer will tell
            receive(data, UdpFlow(source[:2], self))

    def _queue(self, data: bytes, to: SocketAddress) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self.unsent += 1
            return
        if not self._waiting and self._loop is not None:
            self._loop.add_writer(self._socket, self._writable)
        self._waiting.append((data, to))

    def _writable(self) -> None:
        for _ in range(PER_WAKE_UP):
            if not self._waiting:
                break
            data, to = self._waiting[0]
            try:
                self._socket.sendto(data, to)
            except BlockingIOError:
                return
            except OSError:
                self.unsent += 1
            self._waiting.popleft()
        if not self._waiting and self._loop is not None:
            self._loop.remove_writer(self._socket)
