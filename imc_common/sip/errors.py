"""Errors of the codec. Each has the status of the response to send."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from imc_common.errors import ImcError

if TYPE_CHECKING:
    from imc_common.sip.message import Request


class SipError(ImcError):
    """A refused request: ``status`` and ``reason`` for the Status-Line of the response.

    ``reason`` names the fault and never contains bytes of the request, so it can be sent as it is.
    ``headers`` are added to the response (``Allow`` to a 405, ``Unsupported`` to a 420).
    """

    def __init__(self, status: int, reason: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason
        self.headers = list(headers)


class SipParseError(SipError):
    """Bytes that are not a valid SIP message.

    ``request`` is what could be read of it, if that is enough for a response. ``None``: discard it without a
    response (not SIP, a response, no usable Via). ``fatal``: on a stream the end of this message is
    unknown, so the connection must be closed after the response (RFC 3261 §18.3).
    """

    def __init__(
        self, status: int, reason: str, request: Request | None = None, *, fatal: bool = False
    ) -> None:
        super().__init__(status, reason)
        self.request = request
        self.fatal = fatal
