"""What a MESSAGE has to be for us to take it (RFC 3261 §8.2, RFC 3428 §8); the codec judged its syntax."""

from __future__ import annotations

from imc_common.address import MAX_ADDRESS
from imc_common.rooms.room_rules import RoomRules
from imc_common.settings import Settings
from imc_common.sip.errors import SipError
from imc_common.sip.message import Request
from imc_edge.identity.sender import canonical
from imc_edge.receiving.options import ACCEPT_ENCODING, Abilities

_MOST_KNOWN_TYPES = 1024
PLAIN = "text/plain"


class MessageRules:
    """The rules of one set of settings."""

    def __init__(self, settings: Settings, abilities: Abilities) -> None:
        """``abilities`` are told to senders whose content is refused."""
        self._rooms = RoomRules(settings)
        self._abilities = abilities
        self._ranges = frozenset(settings.accept_types)
        self._known_types: dict[str, str] = {}

    def check(self, request: Request) -> str:
        """The canonical address that To names. Raises SipError with the status that answers the request."""
        check_require(request)
        self._check_content(request)
        if request.max_forwards == 0:
            raise SipError(483, "Too Many Hops")
        return self._addressee(request)

    def media_type(self, request: Request) -> str:
        """``type/subtype`` of the body, lower case; a body-less request counts as text.

        Raises SipError for one with what cannot be printed: legal behind a backslash, but it would go to
        every member, and nobody means well by it.
        """
        raw = request.headers.get("Content-Type")
        if raw is None or raw == PLAIN:
            return PLAIN
        known = self._known_types.get(raw)
        if known is None:
            if not raw.replace("\t", " ").isprintable():
                raise SipError(400, "Control Character In Content-Type")
            content_type = request.content_type
            known = content_type.essence if content_type else PLAIN
            if len(self._known_types) >= _MOST_KNOWN_TYPES:
                self._known_types.clear()
            self._known_types[raw] = known
        return known

    def _check_content(self, request: Request) -> None:
        media_type = self.media_type(request)
        if media_type != PLAIN and not self._takes(media_type):
            raise SipError(415, "Unsupported Media Type", [("Accept", self._abilities.accept)])
        encodings = request.headers.get("Content-Encoding")
        if encodings is not None and any(
            encoding.lower() != ACCEPT_ENCODING for encoding in request.tokens("Content-Encoding")
        ):
            raise SipError(415, "Unsupported Content-Encoding", [("Accept-Encoding", ACCEPT_ENCODING)])

    def _takes(self, media_type: str) -> bool:
        return (
            media_type in self._ranges
            or f"{media_type.partition('/')[0]}/*" in self._ranges
            or "*/*" in self._ranges
        )

    def _addressee(self, request: Request) -> str:
        to = request.plain_to
        if not to or len(to) > MAX_ADDRESS:
            uri = request.to.uri
            if not uri.is_sip:
                raise SipError(400, "To Is Not A SIP URI")
            if uri.user is None:
                raise SipError(404, "To Names No Room")
            to = canonical(uri.user, uri.host, uri.port)
        if not to or not self._rooms.takes(to):
            raise SipError(404, "Not Found")
        return to


def check_require(request: Request) -> None:
    """RFC 3261 §8.2.2.3: we know no option tag, so whatever is required is not supported."""
    if "Require" in request.headers:
        required = ", ".join(request.tokens("Require"))
        if required:
            raise SipError(420, "Bad Extension", [("Unsupported", required)])


def is_automatic(request: Request) -> bool:
    """Whether a machine says that it sent this by itself (RFC 3834 §5 ``Auto-Submitted``)."""
    value = request.headers.get("Auto-Submitted")
    return value is not None and value.partition(";")[0].strip().lower() != "no"
