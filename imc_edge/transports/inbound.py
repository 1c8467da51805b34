"""What comes in on one connection: bytes to messages, few in a turn of the event loop, and counted.

A peer can send faster than we can parse. So a turn of the event loop passes on `PER_TURN` messages, and the
rest waits for the next turn. Each message is counted before it is parsed (`Receiver.admits`). Nothing more is
read from a peer that sends too many, until the next sweep; if that goes on, the connection is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from imc_common.sip.errors import SipParseError
from imc_common.sip.framing import Framer
from imc_common.sip.message import Request
from imc_edge.flow import Flow, Receiver

PER_TURN: Final = 64
"""Messages passed on before other work of the event loop gets its turn."""
MAX_TOGETHER: Final = 2 * PER_TURN
"""The same for plain responses to requests of ours, which cost less."""
RESPONSES_PER_REQUEST: Final = 3
"""Responses to a request of ours that are not counted as messages of the peer: a final one, and provisional
ones before it."""
MAX_SLOWED: Final = 10
"""Sweeps, so seconds, in which a peer may send too much."""


class Inbound:
    """Reads one connection and passes its messages on."""

    __slots__ = (
        "_clock",
        "_finish",
        "_flow",
        "_framer",
        "_is_paused",
        "_pong",
        "_receiver",
        "_slowed_sweeps",
        "expected",
        "is_slowed",
        "is_stopped",
        "last_active",
        "message_since",
        "unresponded",
        "wire",
    )

    def __init__(
        self,
        flow: Flow,
        receiver: Receiver,
        framer: Framer,
        clock: Callable[[], float],
        *,
        pong: Callable[[], None],
        finish: Callable[[], None],
    ) -> None:
        """``pong`` responds to a keep-alive. ``finish`` is called when no next message can be found."""
        self._flow = flow
        self._receiver = receiver
        self._framer = framer
        self._clock = clock
        self._pong = pong
        self._finish = finish
        self.wire: asyncio.Transport | None = None
        """Where bytes come from: set while the connection is open."""
        self.expected = 0
        """Responses that requests of ours may still get."""
        self.unresponded = 0
        """Requests that came in and have no response yet."""
        self.message_since: float | None = None
        """When the incomplete message began; None without one, or if it is we who do not read on."""
        self.last_active = clock()
        self.is_slowed = False
        """Whether the peer sends too much, and waits for the next sweep."""
        self.is_stopped = False
        """Whether everything that still comes is discarded."""
        self._is_paused = False
        """Whether reading is paused: for the next turn, or for the next sweep."""
        self._slowed_sweeps = 0

    def receive(self, data: bytes) -> None:
        """Bytes came; pass on the messages that are complete now."""
        if not self.is_stopped:
            self._framer.receive(data)
            if not self._is_paused:
                self._read_on()

    def stop(self) -> None:
        """Discard what still comes, until the peer closes its side."""
        self.is_stopped = True
        self.message_since = None
        self._resume()

    def sweep(self) -> bool:
        """Let a peer that sent too much go on. False if it has done so for long."""
        if not self.is_slowed or self.is_stopped:
            self._slowed_sweeps = max(0, self._slowed_sweeps - 1)
            return True
        self._slowed_sweeps += 1
        if self._slowed_sweeps > MAX_SLOWED:
            return False
        self.is_slowed = False
        self._read_on()
        return True

    def _read_on(self) -> None:
        """Pass on at most `PER_TURN` messages; the rest in the next turn."""
        framer, left = self._framer, PER_TURN
        now = self.last_active = self._clock()
        if self.expected:
            responses = framer.plain_responses(min(MAX_TOGETHER, self.expected))
            for response in responses:
                self._receiver.response(response)
            self.expected -= len(responses)
            # after many, the next turn is better: there may be as many again, and one by one they cost more
            left = left - len(responses) if len(responses) < PER_TURN // 2 else 0
        while left > 0 and self._pass_on_next():
            left -= 1
        if self.is_stopped:
            return
        if left <= 0 and framer.waiting:
            self._pause()
            asyncio.get_running_loop().call_soon(self._next_turn)
        elif self.is_slowed:
            self._pause()
        else:
            self._resume()
        # the time limit runs per message: from its first byte, so anew whenever one was completed
        if self._is_paused or not framer.waiting:
            self.message_since = None
        elif left < PER_TURN or self.message_since is None:
            self.message_since = now

    def _next_turn(self) -> None:
        if not self.is_stopped:
            self._read_on()

    def _pass_on_next(self) -> bool:
        """Pass on one message, or its fault; False when none can be passed on now."""
        framer = self._framer
        if framer.begins():
            if self.expected and framer.is_response():
                self.expected -= 1
            elif not self._receiver.admits(self._flow.peer[0]):
                self.is_slowed = True
                return False
            response = framer.plain_response()
            if response is not None:
                self._receiver.response(response)
                return True
        try:
            message = framer.next()
        except SipParseError as error:
            unresponded = self.unresponded
            self._receiver.refuse(error, self._flow)  # responds now, or not at all
            self.unresponded = unresponded
            if error.fatal:
                self._finish()
            return not error.fatal
        if message is None:
            return False
        if isinstance(message, str):  # PING
            self._pong()
        else:
            if isinstance(message, Request) and message.method != "ACK":
                self.unresponded += 1
            self._receiver.take(message, self._flow)
        return True

    def _pause(self) -> None:
        if not self._is_paused and self.wire is not None and not self.wire.is_closing():
            self._is_paused = True
            self.wire.pause_reading()

    def _resume(self) -> None:
        if self._is_paused and self.wire is not None and not self.wire.is_closing():
            self._is_paused = False
            self.wire.resume_reading()
