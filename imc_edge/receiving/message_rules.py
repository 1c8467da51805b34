"""The rules for a MESSAGE to be accepted (RFC 3261 §8.2, RFC 3428 §8). The codec has checked its syntax."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from imc_common.address import MAX_ADDRESS, without_case
from imc_common.bodies.content import Content
from imc_common.bodies.encoding import TooLargeError, UnknownEncodingError, inflate
from imc_common.bodies.errors import BodyError
from imc_common.bodies.essence import PLAIN
from imc_common.bodies.mime_part import MAX_CONTENT
from imc_common.rooms.room_rules import RoomRules
from imc_common.settings import Settings
from imc_common.sip.errors import SipError
from imc_common.sip.message import Request
from imc_edge.identity.sender import usable_address
from imc_edge.receiving.options import ACCEPT_ENCODING, Capabilities

_MAX_KNOWN_TYPES: Final = 1024


def inflated(request: Request, max_body: int) -> bytes:
    """The body without its Content-Encoding (RFC 3261 §20.12), up to ``max_body`` bytes. Raises SipError."""
    if request.headers.get("Content-Encoding") is None:
        return request.body
    try:
        return inflate(request.body, request.tokens("Content-Encoding"), max_body)
    # one name each: compiled, a variable has the type of the first error that it is bound to
    except UnknownEncodingError as unknown:
        # RFC 3261 §21.4.13: a 415 says which encodings are supported.
        raise SipError(415, str(unknown), [("Accept-Encoding", ACCEPT_ENCODING)]) from None
    except TooLargeError as too_large:
        raise SipError(413, str(too_large)) from None
    except BodyError as malformed:
        raise SipError(400, str(malformed)) from None


class MessageRules:
    """The rules of one set of settings."""

    def __init__(self, settings: Settings, capabilities: Capabilities) -> None:
        """Refusals name the ``capabilities``."""
        self._rooms = RoomRules(settings)
        self._capabilities = capabilities
        self._ranges = frozenset(settings.accept_types)
        self._by_target = settings.room_from == "request-uri"
        self._max_body = settings.max_body
        self._ignores_case = not settings.case_sensitive_users
        self._known_types: dict[str, str] = {}

    def check(self, request: Request) -> str:
        """The canonical address of the room. Raises SipError with the status of the response."""
        check_require(request)
        self._check_content(request)
        # RFC 3261 §16.3: an edge sends what it accepts on to others, as a proxy does, so this ends loops.
        if request.max_forwards == 0:
            raise SipError(483, "Too Many Hops")
        return self._room(request)

    def media_type(self, request: Request) -> str:
        """``type/subtype`` of the body, in lower case; a request without a body counts as text.

        Raises SipError for control characters. They are legal behind a backslash, but every member would get
        them, and they only serve an attack.
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
            if len(self._known_types) >= _MAX_KNOWN_TYPES:
                self._known_types.clear()
            self._known_types[raw] = known
        return known

    def _check_content(self, request: Request) -> None:
        # RFC 3261 §8.2.3, §21.4.13: a 415 says what is supported. RFC 3428 §9: text/plain always is.
        media_type = self.media_type(request)
        if media_type != PLAIN and not self._accepts(media_type):
            raise SipError(415, "Unsupported Media Type", [("Accept", self._capabilities.accept)])

    def content_of(self, request: Request) -> bytes:
        """The body without its Content-Encoding (RFC 3261 §20.12). Raises SipError.

        It may be longer than `max_body`: `check_size`.
        """
        return inflated(request, MAX_CONTENT)

    def check_size(self, body: bytes, content: Content | None) -> None:
        """Raises SipError for an inflated body that is too large.

        Receipts may be larger than messages, because no room keeps them. Linphone packs those of all messages
        that it has missed into one body, and would take a refusal for an answer.
        """
        if len(body) > self._max_body and not (content is not None and content.imdns):
            raise SipError(413, "Inflated Body Too Large")

    def _accepts(self, media_type: str) -> bool:
        return (
            media_type in self._ranges
            or f"{media_type.partition('/')[0]}/*" in self._ranges
            or "*/*" in self._ranges
        )

    def _room(self, request: Request) -> str:
        """The room of the Request-URI, which says where a request goes (RFC 3261 §8.2.2.1), or that of To.

        A Request-URI without a user part means this server; then To names the room.
        """
        room = request.plain_target if self._by_target else request.plain_to
        if not room or len(room) > MAX_ADDRESS:
            uri = request.target
            if not self._by_target or uri.user is None:
                uri = request.to.uri
            if not uri.is_sip:
                raise SipError(400, "To Is Not A SIP URI")
            if uri.user is None:
                raise SipError(404, "To Has No User")
            room = usable_address(uri.user, uri.host, uri.port)
        if self._ignores_case:
            room = without_case(room)
        if not room or not self._rooms.takes(room):
            raise SipError(404, "Not Found")
        return room


def check_require(request: Request, supported: Collection[str] = ()) -> None:
    """RFC 3261 §8.2.2.3: a required option tag that is not supported is refused. Raises SipError."""
    if "Require" in request.headers:
        unknown = ", ".join(tag for tag in request.tokens("Require") if tag.lower() not in supported)
        if unknown:
            raise SipError(420, "Bad Extension", [("Unsupported", unknown)])


def is_automatic(request: Request) -> bool:
    """Whether Auto-Submitted (RFC 3834 §5) says that no human sent this."""
    value = request.headers.get("Auto-Submitted")
    return value is not None and value.partition(";")[0].strip().lower() != "no"
