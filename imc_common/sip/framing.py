"""Messages out of a byte stream: TCP and TLS (RFC 3261 sections 7.5 and 18.3, RFC 5626 section 4.4.1)."""

from __future__ import annotations

import re
from typing import Final, Literal

from imc_common.sip.errors import SipParseError
from imc_common.sip.head import Head, parse_head
from imc_common.sip.limits import DEFAULT, Limits
from imc_common.sip.message import Request, Response
from imc_common.sip.parse import finish

PING: Final = "ping"
"""A keep-alive (two CRLF between messages), to be answered with one CRLF."""

_PAIR = b"\r\n\r\n"
_ANSWER = b"SIP/2.0 2"
_lengths = re.compile(rb"\r\n(?:Content-Length|l)[ \t]*+:[ \t]*+([^\r\n]*+)", re.IGNORECASE).findall
_TOKEN_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.!%*_+`'~\r")


class Framer:
    """Cuts one connection's incoming bytes into messages.

    Give it what came with ``receive``, then call ``next`` until it returns None, and only then read on: so
    it never holds more than one unfinished message, bounded by the limits, and one read. ``waiting`` says
    whether a message has begun and is not complete, which is what a read time limit is measured by.
    """

    def __init__(self, limits: Limits = DEFAULT) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._searched = 0
        self._head: Head | None = None
        self._closed = False

    def receive(self, data: bytes) -> None:
        """Takes bytes as they came from the connection; after a fatal error it ignores them."""
        if not self._closed:
            self._buffer += data

    @property
    def waiting(self) -> bool:
        """Whether part of a message is here; an idle connection or half a keep-alive is none."""
        return self._head is not None or not _PAIR.startswith(self._buffer)

    def next(self) -> Request | Response | Literal["ping"] | None:
        """The next complete message, ``PING``, or None if more bytes are needed.

        Several keep-alives in a row count as one. Raises SipParseError; if it is ``fatal``, answer its
        request (if any) and close the connection, otherwise go on.
        """
        if self._head is None:
            if self._skip_empty_lines():
                return PING
            self._head = self._read_head()
            if self._head is None:
                return None
        return self._read_body(self._head)

    def plain_answers(self) -> list[bytes]:
        """The messages up to the first that is no whole 2xx without a body, as they came.

        Nearly all that comes on a connection that requests go out on is of this kind, and whoever sent them
        finds the one it belongs to without having it parsed. All are looked at together: none of them may say
        anything else of its length. Ask once for what was received; then ask `plain_answer`.
        """
        if self._head is not None or not self._buffer.startswith(_ANSWER):
            return []
        whole = bytes(self._buffer[: self._buffer.rfind(_PAIR) + 4])
        lower = whole.lower()
        messages = whole.split(_PAIR)
        messages.pop()  # what comes after the last pair: nothing
        if (
            lower.count(b"\r\ncontent-length: 0\r\n\r\n") != len(messages)
            or lower.count(b"\r\ncontent-length") != len(messages)
            or b"\r\nl" in lower
        ):
            return []
        answers = []
        size = 0
        for message in messages:
            if not message.startswith(_ANSWER) or len(message) > self._limits.head:
                break
            answers.append(message + _PAIR)
            size += len(message) + 4
        del self._buffer[:size]
        self._searched = 0
        return answers

    def plain_answer(self) -> bytes | None:
        """The next message as it came, if it is a whole 2xx that says it has no body; else ask ``next``."""
        buffer = self._buffer
        if self._head is not None or not buffer.startswith(_ANSWER):
            return None
        end = buffer.find(_PAIR, 0, self._limits.head + 4)
        if end < 0:
            return None
        answer = bytes(buffer[: end + 4])
        if _lengths(answer) != [b"0"]:
            return None
        del buffer[: end + 4]
        self._searched = 0
        return answer

    def _skip_empty_lines(self) -> bool:
        """Removes CRLFs between messages; whether there was a keep-alive among them."""
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

    def _read_head(self) -> Head | None:
        buffer, limits = self._buffer, self._limits
        if not self.waiting:
            return None
        if buffer[0] not in _TOKEN_BYTES:
            # The first byte of a TLS handshake or of noise: no need to wait for an empty line.
            raise self._close(SipParseError(400, "Malformed Start Line", fatal=True))
        end = buffer.find(_PAIR, self._searched, limits.head + 4)
        if end < 0:
            self._searched = max(0, len(buffer) - 3)
            if len(buffer) <= limits.head + 3:
                return None
            head = parse_head(bytes(buffer[: limits.head + 1]), limits)
            head.fail(513, "Header Block Too Large", fatal=True)
        else:
            head = parse_head(bytes(buffer[:end]), limits)
            del buffer[: end + 4]
            self._searched = 0
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
        self._head = None
        return error
