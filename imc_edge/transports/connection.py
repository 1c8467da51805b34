"""One TCP or TLS connection (RFC 3261 §18.3), whichever side opened it.

It is a flow for what comes in, and carries requests out. Everything written in one turn of the event loop
goes out in one write. A connection has no timer of its own: the pool calls `Connection.sweep`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

from imc_common.sip.errors import SipParseError
from imc_common.sip.framing import Framer
from imc_edge.flow import Hop, Receiver, SocketAddress, TransportUser


@dataclass(frozen=True, slots=True)
class Times:
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
    """How long after a request was written its user is told that the connection broke (Timer F)."""


WRITE_LIMIT = 256 * 1024
"""Bytes waiting for a peer that does not read; with more, the connection is aborted."""
PONG = b"\r\n"
"""Response to a keep-alive (RFC 5626 §4.4.1)."""
STUCK_ABOVE = 16 * 1024
"""Bytes waiting from which on `Times.stuck` runs."""
MAX_UNANSWERED = 4096
"""Requests per connection whose users are told when it breaks, or those of the last write if they are more;
older ones have their transaction's timer."""


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
        times: Times,
    ) -> None:
        """``transport`` is ``tcp`` or ``tls``; ``clock`` is monotonic, in seconds."""
        self.transport = transport
        self.peer: SocketAddress = ("", 0)
        self._owner = owner
        self._receiver = receiver
        self._clock = clock
        self._times = times
        self.hop: Hop | None = None
        """The destination this connection serves: set by the pool."""
        self.on_closed: Callable[[], None] | None = None
        """Called once, when a connection that was made is closed."""
        self.was_made = False
        self.is_open = False
        """Whether something may still be sent."""
        self._framer = framer
        self._wire: asyncio.Transport | None = None
        self._gathered: list[bytes] = []
        self._gathered_size = 0
        self._users: list[TransportUser] = []
        """Of the requests in `_gathered`."""
        self._unanswered: deque[tuple[float, list[TransportUser]]] = deque()
        """Users by write: until when they are told of the end, and who. Some may have got their response."""
        self._unanswered_count = 0
        self._last_active = clock()
        self._message_since: float | None = None
        self._stuck_since: float | None = None
        self._ended_at: float | None = None

    # --- called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: connected, and on TLS the handshake is done."""
        wire = self._wire = cast("asyncio.Transport", transport)  # uvloop's are no subclass of asyncio's
        self.was_made = self.is_open = True
        wire.set_write_buffer_limits(high=STUCK_ABOVE)
        name = wire.get_extra_info("peername")
        if name:  # None if the peer has disconnected already; then it is what `accept` said
            self.peer = name[:2]
        self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes came; pass on every message that is complete now."""
        if self._ended_at is not None:
            return
        now = self._last_active = self._clock()
        self._framer.receive(data)
        responses = self._framer.plain_responses()
        for response in responses:
            self._receiver.response(response)
        any_complete = bool(responses)
        while self._pass_on_next():
            any_complete = True
        # the time limit runs per message: from its first byte, so anew whenever one was completed
        if not self._framer.waiting:
            self._message_since = None
        elif any_complete or self._message_since is None:
            self._message_since = now

    def _pass_on_next(self) -> bool:
        """Pass on one message, or its fault; False when there is no complete one left."""
        response = self._framer.plain_response()
        if response is not None:
            self._receiver.response(response)
            return True
        try:
            message = self._framer.next()
        except SipParseError as error:
            self._receiver.refuse(error, self)
            if error.fatal:
                self.end()
            return not error.fatal
        if message is None:
            return False
        if isinstance(message, str):  # PING
            self.send(PONG)
        else:
            self._receiver.take(message, self)
        return True

    def pause_writing(self) -> None:
        """asyncio: the peer reads less than we write."""
        self._stuck_since = self._clock()

    def resume_writing(self) -> None:
        """asyncio: what was written has been sent."""
        self._stuck_since = None

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: closed; tell the users of requests that may still wait for a response on it."""
        self._wire = None
        self.is_open = False
        self._gathered.clear()
        self._owner.lost(self)
        if self.on_closed is not None:
            self.on_closed()
        error = exc or ConnectionResetError(f"{self.transport} connection to {self.peer} closed")
        self._remember(self._clock())
        unanswered, self._unanswered = self._unanswered, deque()
        for _, users in unanswered:
            for user in users:
                user.transport_error(error)

    # --- called by us

    def send(self, data: bytes, to: SocketAddress | None = None) -> None:
        """Send a response, or a keep-alive; see `imc_edge.flow.Flow`."""
        if not self.is_open:
            if to is not None:
                self._owner.respond_elsewhere(self, data, to)
            return
        self._gather(data)

    def send_request(self, data: bytes, user: TransportUser) -> None:
        """Send a request while `is_open`; ``user`` hears of it when the connection breaks within a
        transaction's time."""
        self._users.append(user)
        self._gather(data)

    def _gather(self, data: bytes) -> None:
        if not self._gathered:
            asyncio.get_running_loop().call_soon(self._flush)
        self._gathered.append(data)
        self._gathered_size += len(data)
        if self._gathered_size > WRITE_LIMIT:
            self._flush()

    def end(self) -> None:
        """Refuse the peer: send what was gathered, process nothing more, close.

        On TCP our side is closed first, and the peer's bytes are discarded for a moment: closing with unread
        bytes makes the kernel send a reset, and the peer would lose our last response.
        """
        if self._wire is None or self._ended_at is not None:
            return
        self._flush()
        self.is_open = False
        self._ended_at = self._clock()
        if self._wire.can_write_eof():
            self._wire.write_eof()
        else:
            self._wire.close()

    def close(self) -> None:
        """Send what is waiting and close."""
        if self._wire is not None:
            self._flush()
            self.is_open = False
            self._wire.close()

    def abort(self) -> None:
        """Close the connection now; data not sent yet are lost."""
        self.is_open = False
        if self._wire is not None:
            self._wire.abort()

    def sweep(self) -> None:
        """Close it if it is idle, abort it if the peer is too slow; called about once a second."""
        now, times = self._clock(), self._times
        while self._unanswered and self._unanswered[0][0] <= now:
            self._forget_oldest()
        if (
            _older(self._message_since, now, times.message)
            or _older(self._stuck_since, now, times.stuck)
            or _older(self._ended_at, now, times.linger)
        ):
            self.abort()
        elif now - self._last_active > times.idle and not self._unanswered:
            self.close()

    def _flush(self) -> None:
        if self._wire is None or not self._gathered:
            return
        data = b"".join(self._gathered)
        self._gathered.clear()
        self._gathered_size = 0
        now = self._last_active = self._clock()
        self._remember(now)
        self._wire.write(data)
        if self._wire.get_write_buffer_size() > WRITE_LIMIT:
            self.abort()

    def _remember(self, now: float) -> None:
        """Note the users of one write's requests."""
        if self._users:
            self._unanswered.append((now + self._times.transaction, self._users))
            self._unanswered_count += len(self._users)
            self._users = []
            while self._unanswered_count > MAX_UNANSWERED and len(self._unanswered) > 1:
                self._forget_oldest()

    def _forget_oldest(self) -> None:
        self._unanswered_count -= len(self._unanswered.popleft()[1])


def _older(since: float | None, now: float, limit: float) -> bool:
    return since is not None and now - since > limit
