"""One UDP socket (RFC 3261 §18): datagrams in, datagrams out.

A plain socket with ``add_reader`` costs less per datagram than asyncio's DatagramProtocol: one wake-up of the
event loop reads many of them, on Linux in one system call, and what is sent in one turn of the loop goes out
in few system calls (`segmentation`).
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import structlog

from imc_edge.flow import Receiver, SocketAddress, TransportUser
from imc_edge.transports.recvmmsg import Reader, is_supported
from imc_edge.transports.segmentation import MAX_SEGMENTS, Segmentation

Datagram = tuple[bytes, TransportUser | None]
"""What is sent, and who hears of it if the network refuses it."""

PER_WAKE_UP = 64
"""Datagrams read or sent before other work of the event loop gets its turn."""
MAX_DATAGRAM = 65535
BUFFER = 4 * 1024 * 1024
"""Bytes asked of the kernel for each direction; it gives what ``net.core.rmem_max`` allows."""
MAX_WAITING = 4096
"""Datagrams kept while the kernel's send buffer is full; more are dropped, as on a congested network."""
MAX_FLOWS = 1024
"""Sources remembered."""

log = structlog.get_logger()

_Gathered = tuple[list[bytes], list[TransportUser | None]]
"""Datagrams of one length to one address, and who hears of it if one is refused."""


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


class PlainReader:
    """Replaces `recvmmsg.Reader` where the system has no such call."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._sources: list[SocketAddress] = []

    def read(self) -> list[bytes]:
        """The datagrams in the socket's buffer, at most `PER_WAKE_UP`. Raises OSError."""
        datagrams: list[bytes] = []
        self._sources.clear()
        with suppress(BlockingIOError):
            while len(datagrams) < PER_WAKE_UP:
                data, source = self._socket.recvfrom(MAX_DATAGRAM)
                datagrams.append(data)
                self._sources.append(source[:2])
        return datagrams

    def source(self, index: int) -> SocketAddress:
        """The source of a datagram of the last `read`."""
        return self._sources[index]


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
        """Respond from the port that the request came to (RFC 3581 §4); what the network refuses is lost."""
        self.socket.send(data, to or self.peer)


class _Loop(Protocol):
    """What is used of the event loop; uvloop's methods return other things than asyncio's."""

    def add_reader(self, fd: socket.socket, callback: Callable[[], None], /) -> object: ...

    def remove_reader(self, fd: socket.socket, /) -> object: ...

    def add_writer(self, fd: socket.socket, callback: Callable[[], None], /) -> object: ...

    def remove_writer(self, fd: socket.socket, /) -> object: ...

    def call_soon(self, callback: Callable[[], None], /) -> object: ...


class UdpSocket:
    """Reads a bound socket from the event loop, and writes to it."""

    def __init__(self, sock: socket.socket) -> None:
        """Take a socket of `bind_udp`; nothing is read before `start`."""
        self._socket = sock
        self._reader = Reader(sock) if is_supported() else PlainReader(sock)
        self._segmentation = Segmentation(sock)
        self._receiver: Receiver | None = None
        self._gathered: dict[tuple[SocketAddress, int], _Gathered] = {}
        self._flows: dict[SocketAddress, UdpFlow] = {}
        self._waiting: deque[tuple[Datagram, SocketAddress]] = deque()
        self._loop: _Loop | None = None
        self.family = sock.family
        self.address: SocketAddress = sock.getsockname()[:2]
        self.unsent = 0
        """Datagrams that were dropped or refused, and whose user was not told."""

    def start(self, receiver: Receiver) -> None:
        """Begin to read, in the running loop."""
        self._receiver = receiver
        loop: _Loop = asyncio.get_running_loop()
        loop.add_reader(self._socket, self._readable)
        self._loop = loop

    def close(self) -> None:
        """Send what was gathered, stop reading and close the socket."""
        if self._loop is not None:
            self._flush()
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
        self._socket.close()

    def send(self, data: bytes, to: SocketAddress, user: TransportUser | None = None) -> None:
        """Send one datagram at the end of this turn of the event loop, or as soon as the kernel has room.

        Datagrams of one turn to one address go out together, those of one length in one system call. So
        datagrams to one address may overtake each other within a turn. ``user`` hears of a refusal.
        """
        place = (to, len(data))
        gathered = self._gathered.get(place)
        if gathered is None:
            if not self._gathered and self._loop is not None:
                self._loop.call_soon(self._flush)
            self._gathered[place] = ([data], [user])
        else:
            gathered[0].append(data)
            gathered[1].append(user)

    def _flush(self) -> None:
        gathered, self._gathered = self._gathered, {}
        for (to, _), (datagrams, users) in gathered.items():
            sent = 0
            if not self._waiting and len(datagrams) > 1:
                sent = self._send_together(datagrams, to)
            for datagram in zip(datagrams[sent:], users[sent:], strict=True):
                self._send_one(datagram, to)

    def _send_together(self, datagrams: list[bytes], to: SocketAddress) -> int:
        """Send as many as possible by segmentation; returns how many, from the first on."""
        sent = 0
        try:
            while sent < len(datagrams):
                count = self._segmentation.send(datagrams[sent : sent + MAX_SEGMENTS], to)
                if not count:
                    break
                sent += count
        except BlockingIOError:
            pass  # the next plain send finds out, and queues the rest
        return sent

    def _send_one(self, datagram: Datagram, to: SocketAddress) -> None:
        if self._waiting:
            self._queue(datagram, to)
            return
        try:
            self._socket.sendto(datagram[0], to)
        except BlockingIOError:
            self._queue(datagram, to)
        except OSError as error:
            self._refused(datagram, error)

    def _refused(self, datagram: Datagram, error: OSError) -> None:
        _, user = datagram
        if user is None:
            self.unsent += 1
        else:
            user.transport_error(error)

    def _readable(self) -> None:
        reader, receiver = self._reader, self._receiver
        if receiver is None:
            return
        try:
            datagrams = reader.read()
        except OSError:
            return  # an ICMP error of an earlier datagram: its transaction has a timer
        response = receiver.response
        for index, data in enumerate(datagrams):
            try:
                if data.startswith(b"SIP/2.0 "):
                    response(data)
                else:
                    receiver.receive(data, self._flow(reader.source(index)))
            except Exception:  # whatever it is, other datagrams were read with this one
                log.exception("datagram not handled")

    def _flow(self, source: SocketAddress) -> UdpFlow:
        """The flow of this source, remembered: peers are mostly proxies, a few that send much."""
        flow = self._flows.get(source)
        if flow is None:
            if len(self._flows) >= MAX_FLOWS:
                self._flows.clear()
            flow = self._flows[source] = UdpFlow(source, self)
        return flow

    def _queue(self, datagram: Datagram, to: SocketAddress) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self.unsent += 1
            return
        if not self._waiting and self._loop is not None:
            self._loop.add_writer(self._socket, self._writable)
        self._waiting.append((datagram, to))

    def _writable(self) -> None:
        for _ in range(PER_WAKE_UP):
            if not self._waiting:
                break
            datagram, to = self._waiting[0]
            try:
                self._socket.sendto(datagram[0], to)
            except BlockingIOError:
                return
            except OSError as error:
                self._refused(datagram, error)
            self._waiting.popleft()
        if not self._waiting and self._loop is not None:
            self._loop.remove_writer(self._socket)
