"""Accepts TCP and TLS connections on one listening socket; each peer is admitted first of all."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from typing import Protocol

from imc_edge.flow import SocketAddress
from imc_edge.transports.connection import Connection
from imc_edge.transports.tls import Tls

BACKLOG = 1024
PER_WAKE_UP = 64
"""Connections accepted before other work of the event loop gets its turn."""
HANDSHAKE_TIMEOUT = 5.0
"""Seconds for a TLS handshake: then a peer that stalls, or does not speak TLS, is disconnected."""
NO_DESCRIPTORS_PAUSE = 1.0
"""Seconds without accepting, after the process ran out of file descriptors."""
_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def bind_stream(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A listening, non-blocking TCP socket; ``shared`` as in :func:`imc_edge.transports.udp.bind_udp`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


class ConnectionAdmission(Protocol):
    """Counts connections, decides whether one more is allowed, and makes it (the pool)."""

    def make_connection(self, transport: str) -> Connection:
        """A new connection object, not connected yet."""
        ...

    def admit(self, host: str) -> str | None:
        """Count one more connection of this IP address; returns the source that it is counted for.

        None, and not counted, if that is too many.
        """
        ...

    def release(self, source: str) -> None:
        """A connection that was counted for this source is closed."""
        ...


class StreamListener:
    """Accepts on one socket; for TLS, each accepted peer has a limited time for its handshake."""

    def __init__(
        self,
        sock: socket.socket,
        transport: str,
        admission: ConnectionAdmission,
        tls: Tls | None,
    ) -> None:
        """``tls`` is read for each connection, so that reloaded certificates apply from the next one on."""
        self._socket = sock
        self._admission = admission
        self._tls = tls
        self._handshakes: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.transport = transport
        self.address: SocketAddress = sock.getsockname()[:2]

    def start(self) -> None:
        """Begin to accept, in the running loop."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._readable)

    def close(self) -> None:
        """Stop accepting; handshakes in progress are cancelled."""
        if self._loop is not None:
            self._loop.remove_reader(self._socket)
        self._loop = None
        self._socket.close()
        for task in self._handshakes:
            task.cancel()

    def _readable(self) -> None:
        for _ in range(PER_WAKE_UP):
            try:
                sock, source = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _OUT_OF_RESOURCES:
                    self._pause()
                    return
                continue  # that peer has disconnected already
            counted_for = self._admission.admit(source[0])
            if counted_for is None:
                sock.close()
                continue
            sock.setblocking(False)
            task = asyncio.ensure_future(self._establish(sock, source[:2], counted_for))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    def _pause(self) -> None:
        assert self._loop is not None  # noqa: S101 - reading began in start()
        self._loop.remove_reader(self._socket)
        self._loop.call_later(NO_DESCRIPTORS_PAUSE, self._resume)

    def _resume(self) -> None:
        if self._loop is not None:
            self._loop.add_reader(self._socket, self._readable)

    async def _establish(self, sock: socket.socket, peer: SocketAddress, counted_for: str) -> None:
        context = self._tls.server if self._tls else None
        limits = {"ssl_handshake_timeout": HANDSHAKE_TIMEOUT} if context else {}
        connection = self._admission.make_connection(self.transport)
        connection.peer = peer
        connection.on_closed = lambda: self._admission.release(counted_for)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection, sock, ssl=context, **limits
            )
        except (Exception, asyncio.CancelledError):  # whatever a peer does in its handshake
            if not connection.was_made:
                self._admission.release(counted_for)
            with contextlib.suppress(OSError):
                sock.close()
