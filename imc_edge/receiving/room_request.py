"""From a SIP request to the room request that workers read."""

from __future__ import annotations

from typing import Final

from imc_common.bodies.charsets import charset_of
from imc_common.bodies.content import Content
from imc_common.bodies.cpim import Envelope
from imc_common.bodies.essence import PLAIN, essence
from imc_common.bodies.imdn import RECEIVED
from imc_common.rooms.commands import CommandParser, Parsed
from imc_common.rooms.request import RequestData, RoomRequest
from imc_common.sip.message import Request
from imc_edge.conference.sender_device import device_in_from
from imc_edge.identifiers import DeliveryIds
from imc_edge.identity.sender import Sender

DEFAULT_MAX_FORWARDS: Final = 70
"""Max-Forwards of a request that has none (RFC 3261 §8.1.1.6)."""
MAX_TYPING_MS: Final = 10_000
"""How long a typing notification may wait for a recipient: after that it says nothing true."""
_UTF8: Final = "text/plain;charset=utf-8"


def room_request_of(
    request: Request,
    sender: Sender,
    to: str,
    *,
    body: bytes,
    content: Content | None,
    delivery_ids: DeliveryIds,
    parser: CommandParser,
    at: int,
) -> RoomRequest:
    """The room request of a SIP request that passed all checks; ``at`` in ms since the epoch.

    ``body`` is without Content-Encoding; ``content`` is what is in it, None if it is nothing but text/plain.

    ``delivery_ids`` recognise the ids of our deliveries.

    Its type is ``nothing`` if there is no text to send. Deliveries start with a Max-Forwards one less than
    the request's (RFC 7332 §5): they have come one hop further.
    """
    content_type = request.headers.get("Content-Type") or PLAIN
    parsed = parser.parse(body, to) if content is None else _parse(parser, content, body, to)
    if parsed.body is not None:
        body = parsed.body
        if essence(content_type) != PLAIN or charset_of(content_type) != "utf-8":
            content_type = _UTF8
    expires = expires_at(request, at)
    if parsed.type == "typing":
        expires = min(expires or at + MAX_TYPING_MS, at + MAX_TYPING_MS)
    is_cpim = content is not None and _envelope(content) is not None and parsed.body is None
    hops = request.max_forwards
    data = RequestData(
        content_type=content_type,
        body=body,
        max_forwards=(DEFAULT_MAX_FORWARDS if hops is None else hops) - 1,
        display_name=sender.display_name,
        expires_at=expires,
        call_id=request.call_id,
        at=at,
        shortened=content.shortened if content is not None and is_cpim else b"",
    )
    kept_ms = None
    if parsed.type == "message" and expires is not None:
        kept_ms = max(0, expires - at) if request.expires else 0
    return RoomRequest(
        type=parsed.type,
        sender=sender.address,
        room=parsed.room,
        user=parsed.user,
        role=parsed.role,
        private=parsed.private,
        reason=parsed.reason,
        command=parsed.command,
        detail=parsed.detail if content is None else _detail(content, parsed),
        data=data.pack(),
        text=parsed.text,
        kept_ms=kept_ms,
        message_id=_message_id(content, parsed, delivery_ids, sender.address) if content is not None else "",
        cpim=is_cpim and parsed.type in {"message", "typing", "disposition"},
        device="" if request.plain_from else device_in_from(request, sender.address),
    )


def _parse(parser: CommandParser, content: Content, body: bytes, to: str) -> Parsed:
    """What a body of another type than just text/plain asks for."""
    if content.imdns:
        return Parsed("disposition", to)
    if content.composing is not None:
        return Parsed("typing", to)
    if content.text is not None or not body:
        return parser.parse(content.text or b"", to)
    return parser.unread(body, to)


def _message_id(content: Content, parsed: Parsed, delivery_ids: DeliveryIds, sender: str) -> str:
    """The field of the same name (`RoomRequest`)."""
    if content.imdns:
        ids = dict.fromkeys([imdn.message_id for imdn in content.imdns])
        positions = [delivery_ids.position_in(each, parsed.room, sender) or "-" for each in ids]
        return " ".join([word for pair in zip(ids, positions, strict=True) for word in pair])
    envelope = _envelope(content)
    # Whether the author of an encrypted message asks for receipts is encrypted, too.
    is_wanted = envelope is not None and (envelope.wants_receipts or content.clear_envelope is not None)
    return envelope.message_id if envelope is not None and is_wanted and parsed.type == "message" else ""


def _envelope(content: Content) -> Envelope | None:
    return content.envelope or content.clear_envelope


def _detail(content: Content, parsed: Parsed) -> str:
    """The field of the same name (`RoomRequest`)."""
    if content.imdns:
        return _statuses(content)
    if content.composing is not None and not content.composing.is_active:
        return "idle"
    return parsed.detail


def _statuses(content: Content) -> str:
    """How each message of `message_id` was received, in the same order: the last that the body says of it."""
    statuses = {imdn.message_id: imdn.status for imdn in content.imdns}
    return " ".join([each if each in RECEIVED else "other" for each in statuses.values()])


def expires_at(request: Request, at: int) -> int | None:
    """When the message expires (RFC 3428 §7), in ms since the epoch; None if it does not.

    Expires counts from the sender's Date. It counts from now if there is no Date or a Date in the future: a
    fast clock must not make a message last longer than wanted. Expires 0 means now or never, so it gets one
    second.
    """
    seconds = request.expires
    if seconds is None:
        return None
    if seconds == 0:
        return at + 1000
    date = request.date
    start = at if date is None else min(at, int(date.timestamp() * 1000))
    return start + seconds * 1000
