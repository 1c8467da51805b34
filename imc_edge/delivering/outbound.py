"""Builds the MESSAGE requests we send (RFC 3428 §4), a few pieces of bytes joined per recipient.

What all recipients of an event have in common is made once (`Part`), what all events to a recipient have
in common once as well (`Recipient` keeps it). Call-ID, branch and From tag are two keyed hashes side by
side, one of the stream entry and one of the recipient: a repeat after a crash has the same ones, and
nobody can guess those of somebody else's delivery (RFC 3261 §19.3, §8.1.1.4).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from email.utils import formatdate
from functools import lru_cache
from typing import Final, NamedTuple

from imc_common.errors import ImcError
from imc_common.rooms.event import Event
from imc_common.rooms.texts import Text

PADDING: Final = 32
"""Requests are filled up to a multiple of so many bytes, apart from what all of them share: those of one
length go out together over UDP, at a fraction of the cost (`imc_edge.transports.segmentation`)."""
MOST_PADDED: Final = 640
"""Longer ones are seldom of one length, and need what is left of a datagram."""

LONGEST_NAME: Final = 128
"""Characters of a display name that are passed on; who sends more wants to fill screens."""

MAX_DATAGRAM: Final = 1300
"""RFC 3261 §18.1.1, RFC 3428 §8: a longer request must not go over UDP when the path MTU is unknown."""

_TOKEN = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+").fullmatch
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*").fullmatch
_WORD = r"[A-Za-z0-9\-.!%*_+`'~()<>:\\\"/\[\]?{}]{1,256}+"
_CALL_ID = re.compile(rf"{_WORD}(?:@{_WORD})?").fullmatch
_URI = re.compile(
    r"sips?:(?:[A-Za-z0-9\-_.!~*'()&=+$,;?/%:]+@)?"
    r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?(?:;[A-Za-z0-9\-_.!~*'()\[\]/:&+$%=]+)*"
).fullmatch


_ADDRESS = re.compile(
    r"[A-Za-z0-9\-_.!~*'()&=+$,;?/%:]++@(?:[A-Za-z0-9._\-]++|\[[0-9A-Fa-f:.]++\])(?::[0-9]{1,5}+)?"
    r"(?>(?:;[A-Za-z0-9\-_.!~*'()\[\]/:&+$%=]++)*)"
).fullmatch


class UnsendableError(ImcError):
    """A recipient's address, a header or a type that no SIP message may carry; says which."""


class Part(NamedTuple):
    """What is the same for every recipient of one MESSAGE of an event.

    `token` is the event's share of branch, Call-ID and tag, `first` the same with the number of the first
    request. `sender` runs from after the recipient's share of the Call-ID to its share of the From tag,
    `cseq` from there to the end of CSeq, `tail` from there to the end.
    """

    token: bytes
    first: bytes
    sender: bytes
    cseq: bytes
    tail: bytes


def make_part(token: bytes, event: Event, text: Text, extra_headers: tuple[tuple[str, str], ...]) -> Part:
    """Everything of an event's MESSAGE that no recipient changes. Raises `UnsendableError`."""
    data = event.data
    if event.name == "message":
        lines = f"Max-Forwards: {data.max_forwards}\r\n"
        sender = token + _from_member(data.display_name, event.actor, event.room)
    else:
        # RFC 3834 §5 as far as SIP has it: what answers by itself must not answer this
        lines = "Max-Forwards: 70\r\nAuto-Submitted: auto-generated\r\n"
        sender = token + _from("", event.room)
    if _CALL_ID(event.call_id):
        lines += f"In-Reply-To: {event.call_id}\r\n"
    if event.at:
        lines += f"Date: {_date(event.at // 1000)}\r\n"
        if data.expires_at is not None:
            # RFC 3428 §7: counted from Date, so that a store on the way sees the same end as we do
            lines += f"Expires: {max(0, data.expires_at - event.at) // 1000}\r\n"
    for name, value in extra_headers:
        lines += _header(name, value)
    lines += _header("Content-Type", text.content_type)
    length = str(len(text.body))
    size = len(sender) + len(lines) + len(length) + len(text.body)
    blanks = " " * _padding(size) if size < MOST_PADDED else ""
    tail = f"{lines}Content-Length: {blanks}{length}\r\n\r\n".encode() + text.body
    return Part(
        token=token,
        first=token + b"00",
        sender=sender,
        cseq=token + b"\r\nCSeq: 1 MESSAGE\r\n",
        tail=tail,
    )


def _from_member(name: str, address: str, room: str) -> bytes:
    """From the end of the Call-ID to the tag of From, with the name of the member who wrote."""
    return _from(sender_display(name, address), room)


def sender_display(name: str, address: str) -> str:
    """The quoted display name that tells who wrote (RFC 3261 §25.1 `quoted-string`), with a space after it.

    The address always stands in it, last: a name is what somebody calls himself.
    """
    if len(name) > LONGEST_NAME:
        name = name[: LONGEST_NAME - 3] + "..."
    text = f"{name} ({address})" if name else address
    # what cannot be printed has no business in a name, and some parsers break lines at U+2028 or U+0085
    clean = text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)
    escaped = clean.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}" '


def _from(display: str, room: str) -> bytes:
    """From the end of the Call-ID to the tag of From."""
    if not _ADDRESS(room):
        raise UnsendableError(f"the room {room!r} is no SIP address")
    return f"\r\nFrom: {display}<sip:{room}>;tag=".encode()


@lru_cache(maxsize=256)
def _header(name: str, value: str) -> str:
    """One header line. Raises `UnsendableError` for what would make more of it."""
    if not _TOKEN(name) or not _VALUE(value):
        raise UnsendableError(f"the header {name!r}: {value!r} may not be sent")
    return f"{name}: {value}\r\n"


@lru_cache(maxsize=16)
def _date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


def request_head(uri: str, via: str, share: bytes) -> bytes:
    """From the start line to the recipient's share of the branch. Raises `UnsendableError`."""
    if not _URI(uri):
        raise UnsendableError(f"{uri!r} is no SIP URI")
    return f"MESSAGE {uri}".encode() + end_of_head(via) + share


def end_of_head(via: str) -> bytes:
    """What stands in every `request_head` towards one hop between the URI and the recipient's share."""
    return f" SIP/2.0\r\nVia: {via};branch=z9hG4bK".encode()


def usual_head(address: str, end: bytes, share: bytes) -> bytes:
    """The same as `request_head` of a recipient's own URI, whose address `request_to` has taken already."""
    return b"".join((b"MESSAGE sip:", address.encode(), end, share))


def request_to(address: str, share: bytes) -> bytes:
    """From behind the branch to the recipient's share of the Call-ID; `rport` as of RFC 3581 §3."""
    if not _ADDRESS(address):
        raise UnsendableError(f"{address!r} is no SIP address")
    # it stands in the Request-URI, too
    return b"".join((_TO[-2 * len(address) % PADDING], address.encode(), b">\r\nCall-ID: ", share))


_TO: Final = tuple([b";rport\r\nTo: " + b" " * blanks + b"<sip:" for blanks in range(PADDING)])


def _padding(size: int) -> int:
    """How many more blanks behind a colon, where §25.1 allows any number (HCOLON), make whole `PADDING`s."""
    return -size % PADDING


def first_request(head: bytes, to: bytes, share: bytes, part: Part) -> bytes:
    """The first request of a delivery."""
    return b"".join((head, part.first, to, part.sender, share, part.cseq, part.tail))


def later_request(
    head: bytes,
    to: bytes,
    share: bytes,
    part: Part,
    *,
    attempt: int,
    cseq: int,
    headers: Iterable[tuple[str, str]],
) -> bytes:
    """A further request of the same delivery: a new branch, and credentials or a new CSeq where needed."""
    lines = f"\r\nCSeq: {cseq} MESSAGE\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers)
    branch = b"%b%02d" % (part.token, attempt)
    return b"".join((head, branch, to, part.sender, share, part.token, lines.encode(), part.tail))
