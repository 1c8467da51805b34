"""From a SIP request to the entry that workers read."""

from __future__ import annotations

from imc_common.rooms.commands import CommandParser
from imc_common.rooms.request import RequestData, RoomRequest
from imc_common.sip.message import Request
from imc_edge.identity.sender import Sender

DEFAULT_HOPS = 70
"""Max-Forwards of a request that has none (RFC 3261 §8.1.1.6)."""


def entry_of(
    request: Request, sender: Sender, to: str, *, is_plain: bool, parser: CommandParser, at: int
) -> RoomRequest:
    """The entry of a request that passed all checks; ``at`` in ms since the epoch.

    Only plain text can be a command. Max-Forwards is one less than the request's (RFC 7332 §5): what is sent
    on for it has come one hop further.
    """
    parsed = parser.parse(request.body, to) if is_plain else parser.message(to)
    hops = request.max_forwards
    data = RequestData(
        content_type=request.headers.get("Content-Type") or "text/plain",
        body=request.body,
        max_forwards=(DEFAULT_HOPS if hops is None else hops) - 1,
        display_name=sender.display_name,
        expires_at=expires_at(request, at),
        call_id=request.call_id,
        at=at,
    )
    return RoomRequest(
        parsed.type,
        sender.address,
        parsed.room,
        parsed.user,
        parsed.role,
        parsed.private,
        parsed.reason,
        parsed.command,
        parsed.detail,
        data.pack(),
        text=parsed.text,
    )


def expires_at(request: Request, at: int) -> int | None:
    """When the message is no longer worth delivering, in ms since the epoch (RFC 3428 §7).

    Counted from the sender's Date, or from now if there is none or it lies in the future: a fast clock must
    not make a message last longer than asked for. Zero asks for now or never, and gets the second that takes.
    """
    seconds = request.expires
    if seconds is None:
        return None
    if seconds == 0:
        return at + 1000
    date = request.date
    start = at if date is None else min(at, int(date.timestamp() * 1000))
    return start + seconds * 1000
