"""The fast path for CPIM: a text as most clients send it, read by one pattern.

It costs a tenth of the full parser. `_USUAL` accepts only headers with one meaning: each once, in the order
in which Linphone writes them, without folding, escapes and parameters. Such a body passes every check of
`Content.parse_fully`, and has the same content; a test compares both. All others are left to that parser.
"""

from __future__ import annotations

import re
from typing import Final

from imc_common.bodies.cpim import MAX_MESSAGE_ID, Envelope, has_cpim_part

MAX_HEAD: Final = 1024
"""Bytes of all headers, those of the part included. More are rare, and might exceed a limit."""

_VALUE = rb"[^\x00-\x1f\x7f\\]++"
_USUAL = re.compile(
    rb"From: (%(value)b)\r\nTo: %(value)b\r\nDateTime: %(value)b\r\n"
    rb"(?>(?:NS: imdn <urn:ietf:params:imdn>\r\nimdn\.Message-ID: ([!-\[\]-~]{1,%(max)d}+)\r\n"
    rb"(?>(?:imdn\.Disposition-Notification: ([a-z][a-z, -]*+)\r\n)?))?)\r\n"
    rb"Content-Type: text/plain(?>(?:; ?charset=(?i:utf-8))?)\r\n(?>(?:Content-Length: [0-9]++\r\n)?)\r\n"
    % {b"value": _VALUE, b"max": MAX_MESSAGE_ID}
).match


def usual_text(body: bytes) -> tuple[Envelope, bytes] | None:
    """What a CPIM body says, and the text in it, if it has the usual form. None: use the full parser."""
    found = _USUAL(body, 0, MAX_HEAD)
    if found is None:
        return None
    sender, message_id, wish = found.groups()
    text = body[found.end() :]
    if has_cpim_part(text):
        return None
    return (
        Envelope(
            (sender.decode("utf-8", "surrogateescape").strip(),),
            "" if message_id is None else message_id.decode(),
            wish is not None,
        ),
        text,
    )
