"""The codec's errors: each knows the SIP status that answers it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from imc_common.errors import ImcError

if TYPE_CHECKING:
    from imc_common.sip.message import Request


class SipError(ImcError):
    """A request that is refused: ``status`` and ``reason`` make the answer's first line.

    ``reason`` names the fault and never repeats bytes of the peer, so it can be sent as it is. ``headers``
    go into the answer (``Allow`` to a 405, ``Unsupported`` to a 420, ...).
    """

    def __init__(self, status: int, reason: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason
        self.headers = list(headers)


class SipParseError(SipError):
    """Bytes that are no SIP message.

    ``request`` is what could be read of it, if that is enough to answer to; ``None``: drop it in silence
    (not SIP, a response, no usable Via). ``fatal``: on a stream the end of this message is not known, so
    the connection has to be closed after the answer (RFC 3261 section 18.3).
    """

    def __init__(
        self, status: int, reason: str, request: Request | None = None, *, fatal: bool = False
    ) -> None:
        super().__init__(status, reason)
        self.request = request
        self.fatal = fatal
