"""Builds the MESSAGE requests we send (RFC 3428 §4): a few pieces of bytes, joined for each recipient.

What every recipient of an event gets is built once, as a `MessageTemplate`; what every event to a recipient
needs is built once, too, and kept in `Recipient`. Two keyed hashes side by side, one of the recipient and one
of the event, identify a delivery in its branch, Call-ID and From tag::

    MESSAGE <uri> SIP/2.0                                   head, of the recipient
    Via: SIP/2.0/UDP <us>;branch=z9hG4bK<recipient_id>
    <branch_id><attempt>                                    branch_end, of the template
    ;rport                                                  to, of the recipient
    To: <sip:...>
    Call-ID: <recipient_id>
    <event_id>[.<position>]                                 from_, of the template
    From: "..." <sip:...>;tag=
    <recipient_id>                                          recipient_id
    <event_id>                                              cseq, of the template
    CSeq: 1 MESSAGE (or 2, `TEXT_CSEQ`)
    ...                                                     tail, of the template

(there is no line break before <branch_id>, <event_id>, <recipient_id> and ;rport). A delivery that is sent
again after a crash has the same identifiers, so the recipient can recognise it. Nobody can guess the
identifiers of another recipient's delivery (RFC 3261 §19.3, §8.1.1.4).

<branch_id> is <event_id>, but not for a message that comes from the room's history. A proxy that has just
responded for somebody who was away would take the old branch for a retransmission, and respond the same again
for 32 s (RFC 3261 §17.2.3, Timer J).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from typing import Final, final

from imc_common.errors import ImcError
from imc_common.rooms.event import DEVICE_CLIENT, RELAYED, Event
from imc_common.rooms.relayed import Text

PADDING: Final = 32
"""Blanks after a colon bring each request to a multiple of so many bytes: datagrams of one length go out
together, at a fraction of the cost (`imc_edge.transports.segmentation`)."""
MAX_PADDED: Final = 960
"""Bytes of a template that is still padded, so a text of some 250 bytes in CPIM. The request of a longer one
has no room to spare: padded, it might not fit a datagram (`MAX_DATAGRAM`) any more."""

MAX_NAME: Final = 128
"""Characters of a display name that are passed on; a longer one would only fill screens."""

MAX_DATAGRAM: Final = 1300
"""RFC 3261 §18.1.1, RFC 3428 §8: a longer request must not go over UDP when the path MTU is unknown."""

TEXT_CSEQ: Final = 2
"""CSeq of the text in a message in CPIM. It is the same whether the recipient has just refused the message
with CSeq 1, or is known to read text only. So a recipient recognises the text that it has."""

SESSION_MODE: Final = "Session-mode: true\r\n"
"""By this, Linphone knows a message of a conference from one of the user at the same address."""

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
    """An address, a header or a type that a SIP message must not contain; says which."""


@final
@dataclass(init=False, slots=True)
class MessageTemplate:
    """One MESSAGE of an event, without what differs by recipient; the module's docstring shows the pieces.

    `event_id` is the keyed hash of the event and the number of the MESSAGE. `branch_end` ends with the number
    of the first request, 00. `first_cseq` is the number in `cseq`.
    """

    event_id: Final[bytes]
    branch_end: Final[bytes]
    from_: Final[bytes]
    cseq: Final[bytes]
    tail: Final[bytes]
    first_cseq: Final[int]

    def __init__(
        self,
        event_id: bytes,
        branch_end: bytes,
        from_: bytes,
        cseq: bytes,
        tail: bytes,
        *,
        first_cseq: int = 1,
    ) -> None:
        self.event_id = event_id
        self.branch_end = branch_end
        self.from_ = from_
        self.cseq = cseq
        self.tail = tail
        self.first_cseq = first_cseq

    @classmethod
    def of_dialog(cls, event_id: bytes) -> MessageTemplate:
        """Stands for a request that is no MESSAGE (`Outgoing.in_dialog`), and has its branch."""
        return cls(event_id, event_id + b"00", b"", b"", b"")

    def branch(self, attempt: int) -> bytes:
        """The end of the branch of one request (RFC 3261 §8.1.1.7); `branch_end` is that of the first."""
        return b"%b%02d" % (self.branch_end[:-2], attempt)


def make_template(
    event_id: bytes,
    event: Event,
    text: Text,
    extra_headers: tuple[tuple[str, str], ...],
    *,
    branch_id: bytes = b"",
    names_position: bool = False,
    first_cseq: int = 1,
) -> MessageTemplate:
    """The template of an event's MESSAGE with this text. Raises `UnsendableError`.

    ``branch_id``: in the place of ``event_id`` in the branch, and as long.
    ``names_position``: the Call-ID ends with the message's place in the room. A receipt names the Call-ID, so
    its author can be found (`DeliveryIds.position_in`).
    ``first_cseq``: of the first request. Further ones of the same delivery count on.
    """
    data = event.data
    if event.name in RELAYED:
        lines = f"Max-Forwards: {data.max_forwards}\r\n"
        from_ = event_id
        if names_position and event.name == "message":
            from_ += f".{event.position}".encode()
        if event.client == DEVICE_CLIENT:  # its client shows the author inside CPIM, and a room without name
            from_ += _from("", event.room)
        else:
            # Cut before it is remembered: a name may be as long as a message, and thousands are remembered.
            name = (event.nick or data.display_name)[: MAX_NAME + 1]
            from_ += _from_member(name, event.actor, event.room)
    else:
        # RFC 3834 §5, as far as it applies to SIP: automatic responders must not respond to this
        lines = "Max-Forwards: 70\r\nAuto-Submitted: auto-generated\r\n"
        from_ = event_id + _from("", event.room)
    if event.client == DEVICE_CLIENT:
        lines += SESSION_MODE
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
    size = len(from_) + len(lines) + len(length) + len(text.body)
    blanks = " " * _padding(size) if size < MAX_PADDED else ""
    tail = f"{lines}Content-Length: {blanks}{length}\r\n\r\n".encode() + text.body
    return MessageTemplate(
        event_id=event_id,
        branch_end=(branch_id or event_id) + b"00",
        from_=from_,
        cseq=event_id + (b"\r\nCSeq: %d MESSAGE\r\n" % first_cseq),
        tail=tail,
        first_cseq=first_cseq,
    )


@lru_cache(maxsize=4096)
def _from_member(name: str, address: str, room: str) -> bytes:
    """From the end of the Call-ID to the tag of From, with the name of the member who wrote."""
    return _from(sender_display(name, address), room)


def sender_display(name: str, address: str) -> str:
    """The author of a message as a display name (RFC 3261 §25.1 `quoted-string`), with a space after it.

    The address always comes last in it, because anybody can choose any name.
    """
    if len(name) > MAX_NAME:
        name = name[: MAX_NAME - 3] + "..."
    text = f"{name} ({address})" if name else address
    # unprintable characters are replaced; some parsers break lines at U+2028 or U+0085
    clean = text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)
    escaped = clean.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}" '


def _from(display: str, room: str) -> bytes:
    """From the end of the Call-ID to the tag of From."""
    if not _ADDRESS(room):
        raise UnsendableError(f"the room {room!r} is not a SIP address")
    return f"\r\nFrom: {display}<sip:{room}>;tag=".encode()


def header_line(name: str, value: str) -> str:
    """One header line. Raises `UnsendableError` if the value could add further lines."""
    if not _TOKEN(name) or not _VALUE(value):
        raise UnsendableError(f"the header {name!r}: {value!r} must not be sent")
    return f"{name}: {value}\r\n"


_header = lru_cache(maxsize=256)(header_line)
"""For those that come again and again."""


@lru_cache(maxsize=16)
def _date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


def request_head(uri: str, via: str, recipient_id: bytes) -> bytes:
    """The head of a request to any URI. Raises `UnsendableError`."""
    if not _URI(uri):
        raise UnsendableError(f"{uri!r} is not a SIP URI")
    return f"MESSAGE {uri}".encode() + via_line(via) + recipient_id


def via_line(via: str) -> bytes:
    """The part of every head towards one hop between the URI and the recipient's id."""
    return f" SIP/2.0\r\nVia: {via};branch=z9hG4bK".encode()


def head_to_address(address: str, via_line: bytes, recipient_id: bytes) -> bytes:
    """The head of a request to a recipient's own URI, whose address `to_lines` has checked already."""
    return b"".join((b"MESSAGE sip:", address.encode(), via_line, recipient_id))


def to_lines(address: str, recipient_id: bytes, target: str = "") -> bytes:
    """From the end of the branch to the recipient's id in the Call-ID; `rport` as of RFC 3581 §3.

    ``target`` is the address in the Request-URI, if that is another one. Raises `UnsendableError`.
    """
    if not _ADDRESS(address) or (target and not _ADDRESS(target)):
        raise UnsendableError(f"{target or address!r} is not a SIP address")
    blanks = -(len(address) + len(target or address)) % PADDING
    return b"".join((_TO[blanks], address.encode(), b">\r\nCall-ID: ", recipient_id))


_TO: Final = tuple([b";rport\r\nTo: " + b" " * blanks + b"<sip:" for blanks in range(PADDING)])


def _padding(size: int) -> int:
    """Blanks that fill up to whole `PADDING`s. RFC 3261 §25.1 allows any number after a colon (HCOLON)."""
    return -size % PADDING


def first_request(head: bytes, to: bytes, recipient_id: bytes, template: MessageTemplate) -> bytes:
    """The first request of a delivery."""
    from_, cseq, tail = template.from_, template.cseq, template.tail
    return b"".join((head, template.branch_end, to, from_, recipient_id, cseq, tail))


def later_request(
    head: bytes,
    to: bytes,
    recipient_id: bytes,
    template: MessageTemplate,
    *,
    attempt: int,
    cseq: int,
    headers: Iterable[tuple[str, str]],
) -> bytes:
    """A further request of the same delivery: a new branch, and credentials or a new CSeq where needed."""
    event_id = template.event_id
    lines = f"\r\nCSeq: {cseq} MESSAGE\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers)
    return b"".join(
        (
            head,
            template.branch(attempt),
            to,
            template.from_,
            recipient_id,
            event_id,
            lines.encode(),
            template.tail,
        )
    )
