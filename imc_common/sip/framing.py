"""Message framing on TCP and TLS (RFC 3261 §7.5 and §18.3, RFC 5626 §4.4.1)."""

from __future__ import annotations

import re
from typing import Final, Literal

from imc_common.sip.errors import SipParseError
from imc_common.sip.head import Head, parse_head
from imc_common.sip.limits import DEFAULT, Limits
from imc_common.sip.message import Request, Response
from imc_common.sip.parse import finish

PING: Final = "ping"
"""A keep-alive: two CRLF between messages. The reply is one CRLF."""

MAX_TOGETHER: Final = 24 * 1024
"""Bytes in which plain responses are looked for together: a bound of the work that one call does."""

_CR: Final = 0x0D
_PAIR = b"\r\n\r\n"
_2XX = b"SIP/2.0 2"
_lengths = re.compile(rb"\r\n(?:Content-Length|l)[ \t]*+:[ \t]*+([^\r\n]*+)", re.IGNORECASE).findall
_TOKEN_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.!%*_+`'~\r")


class Framer:
    """Splits the bytes of one connection into messages.

    Pass the received bytes to ``receive``, then call ``next`` until it returns None, and only then read
    more. So it never holds more than one read and one incomplete message, whose size is limited. If messages
    are limited in number, ask ``begins`` before ``next``. ``waiting`` is true while a message is incomplete;
    use it for a read timeout.
    """

    def __init__(self, limits: Limits = DEFAULT) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._searched = 0
        self._end = -1
        """Where the head of the first message ends, once that is known; -1: it is not."""
        self._pinged = False
        self._head: Head | None = None
        self._closed = False

    def receive(self, data: bytes) -> None:
        """Add bytes from the connection. After a fatal error they are ignored."""
        if not self._closed:
            self._buffer += data

    @property
    def waiting(self) -> bool:
        """Whether a message has begun and is incomplete. Half a keep-alive does not count."""
        return self._head is not None or not _PAIR.startswith(self._buffer)

    def begins(self) -> bool:
        """Whether ``next`` would parse the head of a message: the time to count it, before it costs much.

        True once for each message, unless it is asked again before ``next``.
        """
        buffer = self._buffer
        if self._head is not None or not buffer:
            return False
        if buffer[0] == _CR:
            self._pinged = self._skip_empty_lines() or self._pinged
        return not self._pinged and self._head_can_be_read()

    def is_response(self) -> bool:
        """Whether the first message is a response."""
        return self._head is None and self._buffer.startswith(b"SIP/2.0 ")

    def next(self) -> Request | Response | Literal["ping"] | None:
        """The next complete message, ``PING``, or None if more bytes are needed.

        Several successive keep-alives count as one. Raises SipParseError: send the response; if it is
        ``fatal``, close the connection, otherwise continue.
        """
        if self._head is None:
            if self._end < 0 and (self._skip_empty_lines() or self._pinged):
                self._pinged = False
                return PING
            self._head = self._read_head()
            if self._head is None:
                return None
        return self._read_body(self._head)

    def plain_responses(self, limit: int) -> list[bytes]:
        """The bytes of the first messages, at most ``limit``, that are complete 2xx responses without a body.

        On a connection that imc sends requests on, nearly all messages are of this kind, and they can be
        matched to their requests without being parsed. All messages are checked together, and none may give
        another length than 0. Call it after `receive`, then call `plain_response`. It looks at `MAX_TOGETHER`
        bytes.
        """
        if self._head is not None or not self._buffer.startswith(_2XX):
            return []
        whole = bytes(self._buffer[: self._buffer.rfind(_PAIR, 0, MAX_TOGETHER) + 4])
        lower = whole.lower()
        messages = whole.split(_PAIR)
        messages.pop()  # the empty piece after the last pair
        if (
            lower.count(b"\r\ncontent-length: 0\r\n\r\n") != len(messages)
            or lower.count(b"\r\ncontent-length") != len(messages)
            or b"\r\nl" in lower
        ):
            return []
        responses = []
        size = 0
        for message in messages[:limit]:
            if not message.startswith(_2XX) or len(message) > self._limits.head:
                break
            responses.append(message + _PAIR)
            size += len(message) + 4
        del self._buffer[:size]
        self._searched, self._end = 0, -1
        return responses

    def plain_response(self) -> bytes | None:
        """The bytes of the next message if it is a complete 2xx response without a body; else call
        ``next``."""
        buffer = self._buffer
        if self._head is not None or not buffer.startswith(_2XX):
            return None
        end = self._end if self._end >= 0 else buffer.find(_PAIR, 0, self._limits.head + 4)
        if end < 0:
            return None
        response = bytes(buffer[: end + 4])
        if _lengths(response) != [b"0"]:
            return None
        del buffer[: end + 4]
        self._searched, self._end = 0, -1
        return response

    def _skip_empty_lines(self) -> bool:
        """Remove CRLFs between messages; returns whether there was a keep-alive among them."""
        buffer = self._buffer
        if buffer[:1] != b"\r":
            return False
        end = 0
        while buffer.startswith(_PAIR, end):
            end += 4
        pinged = end > 0
        if len(buffer) >= end + 3 and buffer.startswith(b"\r\n", end) and buffer[end + 2] != 0x0D:
            end += 2
        del buffer[:end]
        return pinged

    def _head_can_be_read(self) -> bool:
        """Whether the first head is complete, too long, or no head at all."""
        buffer, limits = self._buffer, self._limits
        if self._end >= 0:
            return True
        if not self.waiting:
            return False
        if buffer[0] not in _TOKEN_BYTES:
            return True
        self._end = buffer.find(_PAIR, self._searched, limits.head + 4)
        if self._end < 0:
            self._searched = max(0, len(buffer) - 3)
        return self._end >= 0 or len(buffer) > limits.head + 3

    def _read_head(self) -> Head | None:
        buffer, limits = self._buffer, self._limits
        if not self._head_can_be_read():
            return None
        if buffer[0] not in _TOKEN_BYTES:
            # The first byte of a TLS handshake or of garbage: do not wait for an empty line.
            raise self._close(SipParseError(400, "Malformed Start Line", fatal=True))
        end = self._end
        if end < 0:
            head = parse_head(bytes(buffer[: limits.head + 1]), limits)
            head.fail(513, "Header Block Too Large", fatal=True)
        else:
            head = parse_head(bytes(buffer[:end]), limits)
            del buffer[: end + 4]
            self._searched, self._end = 0, -1
            if head.content_length is None:
                head.fail(400, "Missing Content-Length header", fatal=True)
            elif head.content_length > limits.body:
                head.fail(413, "Request Entity Too Large", fatal=True)
        return head

    def _read_body(self, head: Head) -> Request | Response | None:
        length = 0 if head.fatal else head.content_length or 0
        if len(self._buffer) < length:
            return None
        body = bytes(self._buffer[:length])
        del self._buffer[:length]
        self._head = None
        try:
            return finish(head, body)
        except SipParseError as error:
            raise self._close(error) if error.fatal else error from None

    def _close(self, error: SipParseError) -> SipParseError:
        self._closed = True
        self._buffer.clear()
        self._end = -1
        self._head = None
        return error
