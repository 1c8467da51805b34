"""One TCP or TLS connection (RFC 3261 §18.3), whoever opened it.

It is a flow for what comes in and carries requests out. All that is written in one turn of the event loop
goes out in one write. The connection watches nothing itself: a sweep asks :meth:`Connection.overdue`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

from imc_common.sip.errors import SipParseError
from imc_common.sip.framing import Framer
from imc_edge.flow import Hop, Receiver, Sender, SocketAddress


@dataclass(frozen=True, slots=True)
class Times:
    """How long a peer may take, in seconds."""

    message: float = 10.0
    """From the first byte of a message to its last."""
    stuck: float = 5.0
    """With data waiting that the peer does not read."""
    idle: float = 120.0
    """Without a byte in either direction."""
    linger: float = 2.0
    """From our last byte to a refused peer until the connection is cut."""
    transaction: float = 32.0
    """How long a request that was written may still be told of the connection's end (Timer F)."""


WRITE_LIMIT = 256 * 1024
"""Bytes waiting for a peer that does not read; past it the connection is cut."""
PONG = b"\r\n"
"""Answer to a keep-alive (RFC 5626 §4.4.1)."""
STUCK_ABOVE = 16 * 1024
"""Bytes waiting from which on the peer's time to read runs."""
MAX_UNANSWERED = 4096
"""Requests per connection, or the last write's, that are told when it breaks; older ones have their
transaction's timer."""


class ConnectionOwner(Protocol):
    """What a connection reports to: the pool."""

    def opened(self, connection: Connection) -> None:
        """The connection can be used."""
        ...

    def lost(self, connection: Connection) -> None:
        """The connection is gone."""
        ...

    def answer_elsewhere(self, connection: Connection, data: bytes, to: SocketAddress) -> None:
        """A response whose connection is gone: RFC 3261 §18.2.2 wants a new one."""
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
        """Called once, when a connection that was made is gone."""
        self.was_made = False
        self.is_open = False
        """Whether something may still be sent."""
        self._framer = framer
        self._wire: asyncio.Transport | None = None
        self._gathered: list[bytes] = []
        self._gathered_size = 0
        self._to_tell: list[Sender] = []
        """Of the requests among what is gathered."""
        self._unanswered: deque[tuple[float, list[Sender]]] = deque()
        """Those of each write that may have no answer yet, and until when they may be told of the end."""
        self._unanswered_count = 0
        self._last_active = clock()
        self._message_since: float | None = None
        self._stuck_since: float | None = None
        self._ended_at: float | None = None

    # --- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: connected, and on TLS the handshake is done."""
        wire = self._wire = cast("asyncio.Transport", transport)  # uvloop's are no subclass of asyncio's
        self.was_made = self.is_open = True
        wire.set_write_buffer_limits(high=STUCK_ABOVE)
        self.peer = wire.get_extra_info("peername")[:2]
        self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes came; hand up every message that is whole now."""
        if self._ended_at is not None:
            return
        now = self._last_active = self._clock()
        self._framer.receive(data)
        answers = self._framer.plain_answers()
        for answer in answers:
            self._receiver.response(answer)
        any_whole = bool(answers)
        while self._hand_up_next():
            any_whole = True
        if not self._framer.waiting:
            self._message_since = None
        elif any_whole or self._message_since is None:
            self._message_since = now

    def _hand_up_next(self) -> bool:
        """Hand up one message, or its fault; False when there is no whole one left."""
        answer = self._framer.plain_answer()
        if answer is not None:
            self._receiver.response(answer)
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
        """asyncio: the peer takes less than we write."""
        self._stuck_since = self._clock()

    def resume_writing(self) -> None:
        """asyncio: all that was written is on its way."""
        self._stuck_since = None

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: gone; tell the requests that may still be waiting for an answer on it."""
        self._wire = None
        self.is_open = False
        self._gathered.clear()
        self._owner.lost(self)
        if self.on_closed is not None:
            self.on_closed()
        error = exc or ConnectionResetError(f"{self.transport} connection to {self.peer} closed")
        self._remember(self._clock())
        unanswered, self._unanswered = self._unanswered, deque()
        for _, told in unanswered:
            for sender in told:
                sender.transport_error(error)

    # --- our side

    def send(self, data: bytes, to: SocketAddress | None = None) -> None:
        """Send a response, or a keep-alive; see :class:`imc_edge.flow.Flow`."""
        if not self.is_open:
            if to is not None:
                self._owner.answer_elsewhere(self, data, to)
            return
        self._gather(data)

    def send_request(self, data: bytes, sender: Sender) -> None:
        """Send a request while `is_open`; ``sender`` hears of it when the connection breaks within a
        transaction's time."""
        self._to_tell.append(sender)
        self._gather(data)

    def _gather(self, data: bytes) -> None:
        if not self._gathered:
            asyncio.get_running_loop().call_soon(self._flush)
        self._gathered.append(data)
        self._gathered_size += len(data)
        if self._gathered_size > WRITE_LIMIT:
            self._flush()

    def end(self) -> None:
        """Refuse the peer: send what was gathered, read no more, close.

        On TCP our side is closed first and the peer's bytes are read away for a moment: closing with unread
        bytes makes the kernel send a reset, and the peer would lose our last answer.
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
        """Cut the connection now; what was waiting is lost."""
        self.is_open = False
        if self._wire is not None:
            self._wire.abort()

    def sweep(self) -> None:
        """Close what is idle, cut what is too slow; called about once a second."""
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
        """The requests of one write."""
        if self._to_tell:
            self._unanswered.append((now + self._times.transaction, self._to_tell))
            self._unanswered_count += len(self._to_tell)
            self._to_tell = []
            while self._unanswered_count > MAX_UNANSWERED and len(self._unanswered) > 1:
                self._forget_oldest()

    def _forget_oldest(self) -> None:
        self._unanswered_count -= len(self._unanswered.popleft()[1])


def _older(since: float | None, now: float, limit: float) -> bool:
    return since is not None and now - since > limit
