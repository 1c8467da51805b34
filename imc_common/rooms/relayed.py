"""What members send, as other members get it: with or without CPIM, and with the sender in front."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, final

from imc_common.address import split
from imc_common.bodies.charsets import ASCII_COMPATIBLE, charset_of
from imc_common.bodies.content import Content
from imc_common.bodies.cpim import IMDN_NAMESPACE, Cpim, CpimHeader
from imc_common.bodies.encrypted import is_encrypted
from imc_common.bodies.errors import BodyError
from imc_common.bodies.essence import CPIM, IMDN, IS_COMPOSING, PLAIN, essence
from imc_common.bodies.imdn import Imdn, receipt_part
from imc_common.bodies.mime_part import MimePart
from imc_common.bodies.whole_text import whole_text
from imc_common.rooms.event import CPIM_CLIENT, DEVICE_CLIENT, TEXT_CLIENT, Event
from imc_common.rooms.names import shown_name
from imc_common.rooms.request import RequestData
from imc_common.settings import Settings

_CPIM_CLIENTS: Final = frozenset((CPIM_CLIENT, DEVICE_CLIENT))
_UNKNOWN_TYPE: Final = "application/octet-stream"
_IDLE: Final = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b'<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing"><state>idle</state></isComposing>'
)
UTF8: Final = "text/plain;charset=utf-8"


@final
@dataclass(init=False, slots=True)
class Text:
    """The body of one MESSAGE."""

    content_type: Final[str]
    body: Final[bytes]

    def __init__(
        self,
        content_type: str,
        body: bytes,
    ) -> None:
        self.content_type = content_type
        self.body = body


def relayed_message(event: Event, settings: Settings, message_id: str) -> Text:
    """A message of a member, as the clients of the recipients read it (`Event.client`).

    ``message_id`` is the Message-ID of one that has to be wrapped.
    """
    content_type, body = event.data.content_type, event.data.body
    if event.client:
        is_wrapped = event.client in _CPIM_CLIENTS and essence(content_type) != CPIM
        if is_wrapped and not (event.client == DEVICE_CLIENT and is_encrypted(content_type)):
            return wrapped(event, _author(event), content_type, body, message_id)
        if event.client == TEXT_CLIENT and essence(content_type) == CPIM:
            text = unwrapped(body)
            content_type, body = text.content_type, text.body
    if not settings.sender_prefix:
        return Text(content_type, body)
    charset = _prefix_charset(content_type)
    if charset is None:
        return Text(content_type, body)
    name = event.nick or shown_name(event.data.display_name) if "{name" in settings.sender_prefix else ""
    return Text(content_type, _prefix(settings.sender_prefix, event.actor, name, charset) + body)


def receipts_for_author(event: Event) -> list[Text]:
    """The receipts for one author. If there are others in the same body, each is a MESSAGE of its own."""
    data = event.data
    content = Content.parse(data.content_type, data.body)
    mine = set(event.list.split())
    imdns = [imdn for imdn in content.imdns if imdn.message_id in mine]
    # An author whose client is not known has written plain text if the receipt names a delivery.
    is_in_cpim = content.envelope is not None
    wants_cpim = event.client in _CPIM_CLIENTS or (not event.client and event.about is None and is_in_cpim)
    if event.about is not None:
        imdns = _renamed(imdns, event.about)
    elif len(imdns) == len(content.imdns) and wants_cpim == is_in_cpim:
        return [Text(data.content_type, data.body)]
    if not wants_cpim:
        return [Text(IMDN, imdn.document) for imdn in imdns]
    headers = Cpim.parse(data.body).headers if is_in_cpim else _headers(event, _author(event))
    return [Text(CPIM, Cpim(headers, receipt_part(imdn.document)).to_bytes()) for imdn in imdns]


def _renamed(imdns: Sequence[Imdn], about: RequestData) -> list[Imdn]:
    """The receipts under the name that the author has for the message: Message-ID in CPIM, else Call-ID.

    Without those that are written so that another name does not fit in: the author goes without.
    """
    renamed = []
    with suppress(BodyError):
        name = about.call_id
        if essence(about.content_type) == CPIM:
            name = Cpim.parse(about.body).envelope.message_id or name
        for imdn in imdns:
            renamed.append(imdn.renamed(name))  # noqa: PERF401 # those before an error count
    return renamed


def _author(event: Event) -> str:
    """The member who wrote, as a value of From (RFC 3862 §4.1)."""
    name = event.nick or shown_name(event.data.display_name)
    return f"{name} <sip:{event.actor}>" if name else f"<sip:{event.actor}>"


def _headers(event: Event, author: str) -> tuple[CpimHeader, ...]:
    return (
        CpimHeader("From", author),
        CpimHeader("To", f"<sip:{event.room}>"),
        CpimHeader("DateTime", _date_time(event.at)),
    )


def wrapped(event: Event, author: str, content_type: str, body: bytes, message_id: str) -> Text:
    """A body in CPIM (RFC 3862), so that a client shows its author."""
    headers = (
        *_headers(event, author),
        CpimHeader("NS", f"imdn <{IMDN_NAMESPACE}>"),
        CpimHeader("Message-ID", message_id, prefix="imdn"),
    )
    fields = (("Content-Type", content_type), ("Content-Length", str(len(body))))
    return Text(CPIM, Cpim(headers, MimePart(fields, body)).to_bytes())


def unwrapped(body: bytes) -> Text:
    """What is in a CPIM message, for a client without CPIM: all of its text, or the part if it has none."""
    cpim = Cpim.parse(body)
    part = cpim.part
    if essence(part.content_type) != PLAIN:
        text = whole_text(cpim)
        if text is not None:
            return Text(UTF8, text)
    # Both were accepted unread. What cannot stand in a SIP message must not stop the delivery to all others.
    content_type = part.content_type if part.content_type.isprintable() else _UNKNOWN_TYPE
    try:
        return Text(content_type, part.decoded())
    except BodyError:
        return Text(content_type, part.content)


def relayed_typing(event: Event) -> Text:
    """A typing notification, as the clients of the recipients read it."""
    content_type, body = event.data.content_type, event.data.body
    is_cpim = essence(content_type) == CPIM
    if event.client == TEXT_CLIENT and is_cpim:
        return unwrapped(body)
    if event.client in _CPIM_CLIENTS and not is_cpim:
        part = MimePart((("Content-Type", content_type), ("Content-Length", str(len(body)))), body)
        return Text(CPIM, Cpim(_headers(event, _author(event)), part).to_bytes())
    return Text(content_type, body)


def idle_notification(event: Event) -> Text:
    """Nobody in the room is typing (RFC 3994 §3.2), as the clients of the recipients read it."""
    if event.client not in _CPIM_CLIENTS:
        return Text(IS_COMPOSING, _IDLE)
    headers = CpimHeader("From", f"<sip:{event.room}>"), CpimHeader("To", f"<sip:{event.room}>")
    fields = (("Content-Type", IS_COMPOSING), ("Content-Length", str(len(_IDLE))))
    return Text(CPIM, Cpim(headers, MimePart(fields, _IDLE)).to_bytes())


def _date_time(at: int) -> str:
    """A time in ms since the epoch, as DateTime of CPIM has it (RFC 3862 §4.4)."""
    return datetime.fromtimestamp(at // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@lru_cache(maxsize=4096)
def _prefix(template: str, actor: str, name: str, charset: str) -> bytes:
    user, host = split(actor)
    return template.format(user=user, host=host, name=name or user).encode(charset, "replace")


@lru_cache(maxsize=256)
def _prefix_charset(content_type: str) -> str | None:
    """The charset a prefix is to be written in; None where it has no place: other types than text/plain, and
    charsets that are unknown or in which text cannot just be put in front (UTF-16 and the like)."""
    charset = charset_of(content_type) if essence(content_type) == PLAIN else ""
    return charset if charset in ASCII_COMPATIBLE else None
