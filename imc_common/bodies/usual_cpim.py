"""CPIM as most clients send it: a text, read by one pattern, and written in a shorter form for Redis.

Reading costs a seventh of the full parser. `_USUAL` accepts only headers with one meaning: each once, in the
order in which Linphone writes them, without folding, escapes and parameters. Such a body passes every check
of `Content.parse_fully`, and has the same content; a test compares both. All others are left to that parser.

The shorter form has only what differs from message to message, so it saves two thirds of the headers. Redis
writes each body three times, and keeps it in the room's history. The body is the same bytes afterwards.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, final

from imc_common.bodies.cpim import MAX_MESSAGE_ID, Envelope, has_cpim_part

MAX_HEAD: Final = 1024
"""Bytes of all headers, those of the part included. More are rare, and might exceed a limit."""

_VALUE = rb"[^\x00-\x1f\x7f\\]++"
_USUAL = re.compile(
    rb"From: (%(value)b)\r\nTo: (%(value)b)\r\nDateTime: (%(value)b)\r\n"
    rb"(?>(?:NS: imdn <urn:ietf:params:imdn>\r\nimdn\.Message-ID: ([!-\[\]-~]{1,%(max)d}+)\r\n"
    rb"(?>(?:imdn\.Disposition-Notification: ([a-z][a-z, -]*+)\r\n)?))?)\r\n"
    rb"Content-Type: text/plain((?>(?:; ?charset=(?i:utf-8))?))\r\n"
    rb"(?>(?:Content-Length: ([0-9]++)\r\n)?)\r\n" % {b"value": _VALUE, b"max": MAX_MESSAGE_ID}
).match
_USUAL_WISH: Final = b"positive-delivery, negative-delivery, display"
_SAME: Final = b"*"
"""Stands for the usual wish: no other one has this character."""


@final
@dataclass(init=False, slots=True)
class UsualCpim:
    """What a CPIM body of the usual form says, the text in it, and the body in its shorter form."""

    envelope: Final[Envelope]
    text: Final[bytes]
    shortened: Final[bytes]

    def __init__(self, envelope: Envelope, text: bytes, shortened: bytes) -> None:
        self.envelope = envelope
        self.text = text
        self.shortened = shortened

    @classmethod
    def parse(cls, body: bytes) -> UsualCpim | None:
        """None if the body has another form: use the full parser."""
        found = _USUAL(body, 0, MAX_HEAD)
        if found is None:
            return None
        text = body[found.end() :]
        if has_cpim_part(text):
            return None
        sender, to, date, message_id, wish, charset, length = found.groups(b"")
        short_wish = _SAME if wish == _USUAL_WISH else wish
        return cls(
            Envelope((sender.decode("utf-8", "surrogateescape").strip(),), message_id.decode(), wish != b""),
            text,
            b"\n".join((sender, to, date, message_id, short_wish, charset, length, text)),
        )


def lengthened(shortened: bytes) -> bytes:
    """The body of which this is the shorter form. Raises ValueError if it is none of any."""
    sender, to, date, message_id, wish, charset, length, text = shortened.split(b"\n", 7)
    lines = [b"From: ", sender, b"\r\nTo: ", to, b"\r\nDateTime: ", date]
    if message_id:
        lines += (b"\r\nNS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: ", message_id)
    if wish:
        lines += (b"\r\nimdn.Disposition-Notification: ", _USUAL_WISH if wish == _SAME else wish)
    lines += (b"\r\n\r\nContent-Type: text/plain", charset)
    if length:
        lines += (b"\r\nContent-Length: ", length)
    lines += (b"\r\n\r\n", text)
    return b"".join(lines)
