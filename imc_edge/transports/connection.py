"""One TCP or TLS connection (RFC 3261 §18.3), whichever side opened it.

It is a flow for what comes in, and carries requests out. Everything written in one turn of the event loop
goes out in one write. A connection has no timer of its own: the pool calls `Connection.sweep`.

A connection ends in up to three steps. *Finishing*: nothing more is read, but the responses to what came in
still go out on it. *Ended*: our side is closed. Then the transport is closed.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, cast

import structlog

from imc_common.sip.framing import Framer
from imc_edge.flow import Hop, Receiver, SocketAddress, TransportUser
from imc_edge.transports.inbound import RESPONSES_PER_REQUEST, Inbound
from imc_edge.transports.pending_requests import PendingRequests


@dataclass(frozen=True, slots=True)
class ConnectionTimeouts:
    """Time limits for a peer, in seconds."""

    message: float = 10.0
    """From the first byte of a message to its last."""
    stuck: float = 5.0
    """With data waiting to be sent that the peer does not read."""
    idle: float = 120.0
    """Without a byte in either direction."""
    linger: float = 2.0
    """From our last byte to a refused peer until the connection is aborted."""
    transaction: float = 32.0
    """Timer F: how long a request may wait for its response, on either side."""


WRITE_LIMIT = 256 * 1024
"""Bytes waiting for a peer that does not read; with more, the connection is aborted."""
PONG = b"\r\n"
"""Response to a keep-alive (RFC 5626 §4.4.1)."""
STUCK_ABOVE = 16 * 1024
"""Bytes waiting from which on `ConnectionTimeouts.stuck` runs."""

_log = structlog.get_logger()


class ConnectionOwner(Protocol):
    """What a connection reports to (the pool)."""

    def opened(self, connection: Connection) -> None:
        """The connection can be used."""
        ...

    def lost(self, connection: Connection) -> None:
        """The connection is closed."""
        ...

    def respond_elsewhere(self, connection: Connection, data: bytes, to: SocketAddress) -> None:
        """A response whose connection is closed: RFC 3261 §18.2.2 asks for a new one."""
        ...


class Connection(asyncio.Protocol):
    """Framing, gathered writes and limits of one connection."""

    def __init__(
        self,
        transport: str,
        owner: ConnectionOwner,
        receiver: Receiver,
        framer: Framer,
        *,
        clock: Callable[[], float],
        timeouts: ConnectionTimeouts,
    ) -> None:
        """``transport`` is ``tcp`` or ``tls``; ``clock`` is monotonic, in seconds."""
        self.transport = transport
        self.peer: SocketAddress = ("", 0)
        self._owner = owner
        self._clock = clock
        self._timeouts = timeouts
        self.hop: Hop | None = None
        """The destination this connection serves: set by the pool."""
        self.on_closed: Callable[[], None] | None = None
        """Called once, when a connection that was made is closed."""
        self.was_made = False
        self.is_open = False
        """Whether something may still be sent."""
        self._inbound = Inbound(self, receiver, framer, clock, pong=self._pong, finish=self.finish)
        self._wire: asyncio.Transport | None = None
        self._gathered: list[bytes] = []
        self._gathered_size = 0
        self._pending_requests = PendingRequests(timeouts.transaction)
        self._last_responses: list[tuple[bytes, SocketAddress]] = []
        """Sent while finishing, with the address to send them to if the peer did not get them."""
        self._last_written = clock()
        self._stuck_since: float | None = None
        self._finishing_since: float | None = None
        self._ended_at: float | None = None

    # --- called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: connected, and on TLS the handshake is done."""
        wire = cast("asyncio.Transport", transport)  # uvloop's are no subclass of asyncio's
        self._wire = self._inbound.wire = wire
        self.was_made = self.is_open = True
        wire.set_write_buffer_limits(high=STUCK_ABOVE)
        name = wire.get_extra_info("peername")
        if name:  # None if the peer has disconnected already; then it is what `accept` said
            self.peer = name[:2]
        self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes came."""
        self._inbound.receive(data)

    def eof_received(self) -> bool:
        """asyncio: the peer sends nothing more. Keep the connection for responses, if any are due.

        asyncio's TLS cannot do that: there, they go to the address in the Via.
        """
        if self._wire is None or self._ended_at is not None:
            return False
        if not self._inbound.unresponded or not self._wire.can_write_eof():
            self._flush()
            return False
        self.finish()
        return True

    def pause_writing(self) -> None:
        """asyncio: the peer reads less than we write."""
        self._stuck_since = self._clock()

    def resume_writing(self) -> None:
        """asyncio: what was written has been sent."""
        self._stuck_since = None

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: closed; tell the users of requests that may still wait for a response on it."""
        self._wire = self._inbound.wire = None
        self._inbound.is_stopped = True
        self.is_open = False
        self._gathered.clear()
        self._owner.lost(self)
        if self.on_closed is not None:
            self.on_closed()
        self._tell_users(exc)
        if exc is not None:
            self._respond_elsewhere()

    def _tell_users(self, exc: Exception | None) -> None:
        """No response can come any more to the requests that went out on this connection."""
        error = exc or ConnectionResetError(f"{self.transport} connection to {self.peer} closed")
        self._pending_requests.fail(error, self._clock())

    def _respond_elsewhere(self) -> None:
        """RFC 3261 §18.2.2: the peer has closed the connection, and did not get its last responses."""
        responses, self._last_responses = self._last_responses, []
        for data, to in responses:
            self._owner.respond_elsewhere(self, data, to)

    # --- called by us

    def send(self, data: bytes, to: SocketAddress | None = None) -> None:
        """Send a response; see `imc_edge.flow.Flow`."""
        inbound = self._inbound
        inbound.unresponded = max(0, inbound.unresponded - 1)
        if self.is_open:
            self._gather(data)
        elif self._finishing_since is not None and self._ended_at is None and self._wire is not None:
            self._gather(data)
            if to is not None:
                self._last_responses.append((data, to))
            if not inbound.unresponded:
                self.end()
        elif to is not None:
            self._owner.respond_elsewhere(self, data, to)

    def send_request(self, data: bytes, user: TransportUser) -> None:
        """Send a request while `is_open`; ``user`` hears of it when the connection breaks within a
        transaction's time."""
        self._pending_requests.add(user)
        self._inbound.expected += RESPONSES_PER_REQUEST
        self._gather(data)

    def _pong(self) -> None:
        self._gather(PONG)

    def _gather(self, data: bytes) -> None:
        if not self._gathered:
            asyncio.get_running_loop().call_soon(self._flush)
        self._gathered.append(data)
        self._gathered_size += len(data)
        if self._gathered_size > WRITE_LIMIT:
            self._flush()

    def finish(self) -> None:
        """Read nothing more; end once all requests that came in have their response (RFC 3261 §18.2.2)."""
        if self._wire is None or self._finishing_since is not None or self._ended_at is not None:
            return
        self.is_open = False
        self._finishing_since = self._clock()
        self._inbound.stop()
        self._tell_users(None)
        if not self._inbound.unresponded:
            self.end()

    def end(self) -> None:
        """Send what was gathered, process nothing more, close.

        On TCP our side is closed first, and the peer's bytes are discarded for a moment: closing with unread
        bytes makes the kernel send a reset, and the peer would lose our last response.
        """
        if self._wire is None or self._ended_at is not None:
            return
        self._inbound.stop()
        self._flush()
        self.is_open = False
        self._ended_at = self._clock()
        if not self._wire.can_write_eof():
            self._wire.close()
            return
        try:
            self._wire.write_eof()
        except OSError:  # the peer has reset the connection
            self._respond_elsewhere()
            self.abort()

    def close(self) -> None:
        """Send what is waiting and close."""
        self._inbound.is_stopped = True
        if self._wire is not None:
            self._flush()
            self.is_open = False
            self._wire.close()

    def abort(self) -> None:
        """Close the connection now; data not sent yet are lost."""
        self.is_open = False
        self._inbound.is_stopped = True
        if self._wire is not None:
            self._wire.abort()

    def sweep(self) -> None:
        """Close it if it is idle, abort it if the peer is too slow; called about once a second."""
        now, timeouts, inbound = self._clock(), self._timeouts, self._inbound
        self._pending_requests.expire(now)
        if _older(inbound.message_since, now, timeouts.message) or _older(
            self._stuck_since, now, timeouts.stuck
        ):
            self.abort()
        elif _older(self._ended_at, now, timeouts.linger):
            if self._was_reset():
                self._respond_elsewhere()
            self.abort()
        elif _older(self._finishing_since, now, timeouts.transaction):
            self.end()
        elif not inbound.sweep():
            _log.warning("connection closed", peer=self.peer[0], reason="the peer sends too much")
            self.end()
        elif (
            now - max(inbound.last_active, self._last_written) > timeouts.idle and not self._pending_requests
        ):
            self.close()

    def _was_reset(self) -> bool:
        """Whether the peer has reset the connection. While it is not read, only the socket knows."""
        peer_socket = self._wire.get_extra_info("socket") if self._wire is not None else None
        if peer_socket is None:
            return False
        with suppress(OSError):
            return bool(peer_socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        return True

    def _flush(self) -> None:
        if self._wire is None or not self._gathered:
            return
        data = b"".join(self._gathered)
        self._gathered.clear()
        self._gathered_size = 0
        now = self._last_written = self._clock()
        self._pending_requests.written(now)
        self._wire.write(data)
        if self._wire.get_write_buffer_size() > WRITE_LIMIT:
            self.abort()


def _older(since: float | None, now: float, limit: float) -> bool:
    return since is not None and now - since > limit
