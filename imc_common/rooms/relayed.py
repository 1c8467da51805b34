"""What members send, as other members get it: with or without CPIM, and with the sender in front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple

from imc_common.address import split
from imc_common.bodies.charsets import ASCII_COMPATIBLE, charset_of
from imc_common.bodies.content import Content
from imc_common.bodies.cpim import IMDN_NAMESPACE, Cpim, CpimHeader
from imc_common.bodies.errors import BodyError
from imc_common.bodies.essence import CPIM, IMDN, PLAIN, essence
from imc_common.bodies.imdn import Imdn, receipt_part
from imc_common.bodies.mime_part import MimePart
from imc_common.rooms.event import CPIM_CLIENT, TEXT_CLIENT, Event
from imc_common.rooms.names import shown_name
from imc_common.settings import Settings

_UNKNOWN_TYPE: Final = "application/octet-stream"
UTF8: Final = "text/plain;charset=utf-8"


class Text(NamedTuple):
    """The body of one MESSAGE."""

    content_type: str
    body: bytes


def relayed_message(event: Event, settings: Settings, message_id: str) -> Text:
    """A message of a member, as the clients of the recipients read it (`Event.client`).

    ``message_id`` is the Message-ID of one that has to be wrapped.
    """
    content_type, body = event.data.content_type, event.data.body
    if event.client:
        if event.client == CPIM_CLIENT and essence(content_type) != CPIM:
            return _wrapped_message(event, message_id)
        if event.client == TEXT_CLIENT and essence(content_type) == CPIM:
            content_type, body = unwrapped(body)
    if not settings.sender_prefix:
        return Text(content_type, body)
    charset = _prefix_charset(content_type)
    if charset is None:
        return Text(content_type, body)
    return Text(content_type, _prefix(settings.sender_prefix, event, charset) + body)


def receipts_for_author(event: Event) -> list[Text]:
    """The receipts for one author. If there are others in the same body, each is a MESSAGE of its own."""
    data = event.data
    content = Content.parse(data.content_type, data.body)
    words = event.list.split()
    names = dict(zip(words[::2], words[1::2], strict=True))
    if all(names.get(imdn.message_id) == imdn.message_id for imdn in content.imdns):
        return [Text(data.content_type, data.body)]
    documents = _renamed(content.imdns, names)
    if content.cpim is None:
        return [Text(IMDN, document) for document in documents]
    headers = content.cpim.headers
    return [Text(CPIM, Cpim(headers, receipt_part(document)).to_bytes()) for document in documents]


def _renamed(imdns: Sequence[Imdn], names: Mapping[str, str]) -> list[bytes]:
    """The documents about these messages, under the names of their authors."""
    documents = []
    for imdn in imdns:
        name = names.get(imdn.message_id)
        if name is not None:
            with suppress(BodyError):  # written so that another id does not fit in: the author goes without
                documents.append(imdn.renamed(name).document)
    return documents


def _wrapped_message(event: Event, message_id: str) -> Text:
    """The message in CPIM: From is the member who wrote it."""
    name = event.nick or shown_name(event.data.display_name)
    author = f"<sip:{event.actor}>"
    data = event.data
    return wrapped(event, f"{name} {author}" if name else author, data.content_type, data.body, message_id)


def wrapped(event: Event, author: str, content_type: str, body: bytes, message_id: str) -> Text:
    """A body in CPIM (RFC 3862), so that a client shows its author."""
    headers = (
        CpimHeader("From", author),
        CpimHeader("To", f"<sip:{event.room}>"),
        CpimHeader("DateTime", _date_time(event.at)),
        CpimHeader("NS", f"imdn <{IMDN_NAMESPACE}>"),
        CpimHeader("Message-ID", message_id, prefix="imdn"),
    )
    fields = (("Content-Type", content_type), ("Content-Length", str(len(body))))
    return Text(CPIM, Cpim(headers, MimePart(fields, body)).to_bytes())


def unwrapped(body: bytes) -> Text:
    """What is in a CPIM message, for a client without CPIM: the text if there is one, else the part."""
    cpim = Cpim.parse(body)
    part = cpim.part
    if essence(part.content_type) != PLAIN:
        text = Content.parse(CPIM, body).text
        if text is not None:
            return Text(UTF8, text)
    # Both were accepted unread. What cannot stand in a SIP message must not stop the delivery to all others.
    content_type = part.content_type if part.content_type.isprintable() else _UNKNOWN_TYPE
    try:
        return Text(content_type, part.decoded())
    except BodyError:
        return Text(content_type, part.content)


def relayed_typing(event: Event) -> Text:
    """A typing notification; for a client without CPIM, what is in it."""
    data = event.data
    if event.client == TEXT_CLIENT and essence(data.content_type) == CPIM:
        return unwrapped(data.body)
    return Text(data.content_type, data.body)


def _date_time(at: int) -> str:
    """A time in ms since the epoch, as DateTime of CPIM has it (RFC 3862 §4.4)."""
    return datetime.fromtimestamp(at // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _prefix(template: str, event: Event, charset: str) -> bytes:
    user, host = split(event.actor)
    name = event.nick or shown_name(event.data.display_name) if "{name" in template else ""
    return template.format(user=user, host=host, name=name or user).encode(charset, "replace")


@lru_cache(maxsize=256)
def _prefix_charset(content_type: str) -> str | None:
    """The charset a prefix is to be written in; None where it has no place: other types than text/plain, and
    charsets that are unknown or in which text cannot just be put in front (UTF-16 and the like)."""
    charset = charset_of(content_type) if essence(content_type) == PLAIN else ""
    return charset if charset in ASCII_COMPATIBLE else None
