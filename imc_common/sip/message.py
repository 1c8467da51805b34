"""Requests and responses, with their headers as values (RFC 3261 §7)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from imc_common.sip.cseq import CSeq
from imc_common.sip.date import parse_date
from imc_common.sip.errors import SipError
from imc_common.sip.headers import Headers
from imc_common.sip.lazy_property import lazy_property
from imc_common.sip.media_type import MediaType
from imc_common.sip.name_addr import NameAddr
from imc_common.sip.number import decimal
from imc_common.sip.tokens import split_commas
from imc_common.sip.uri import Uri
from imc_common.sip.via import Via


@dataclass(frozen=True)
class Message:
    """The common part of requests and responses.

    A header is parsed when its property is read first. If it is malformed, or mandatory and missing, the
    property raises SipError (400) with a reason that names the header.
    """

    headers: Headers = field(kw_only=True, default=Headers())
    body: bytes = field(kw_only=True, default=b"")

    @lazy_property
    def via(self) -> Via:
        """The topmost Via."""
        value = self._needed("Via")
        try:
            return Via.parse(split_commas(value)[0] if "," in value else value)
        except ValueError:
            raise SipError(400, "Malformed Via header") from None

    @lazy_property
    def response_via(self) -> Via:
        """The topmost Via. Of a malformed one only transport and sent-by, which a response needs.

        Raises SipError if these cannot be read either: then no response can be sent.
        """
        try:
            return self.via
        except SipError as error:
            try:
                return Via.parse_sent_by(self._needed("Via"))
            except ValueError:
                raise error from None

    @lazy_property
    def vias(self) -> list[Via]:
        """All Vias of all lines, the topmost first."""
        try:
            return [Via.parse(part) for value in self.headers.get_all("Via") for part in split_commas(value)]
        except ValueError:
            raise SipError(400, "Malformed Via header") from None

    @lazy_property
    def further_vias(self) -> str:
        """The header lines of all Vias but the first line, each with its CRLF."""
        return "".join([f"Via: {line}\r\n" for line in self.headers.get_all("Via")[1:]])

    @lazy_property
    def from_(self) -> NameAddr:
        """From."""
        return self._name_addr("From")

    @lazy_property
    def to(self) -> NameAddr:
        """To."""
        return self._name_addr("To")

    @lazy_property
    def from_tag(self) -> str | None:
        """The tag of From."""
        return self.from_.tag

    @lazy_property
    def from_name(self) -> str:
        """The display name of From, empty if there is none."""
        return self.from_.display_name

    @lazy_property
    def to_tag(self) -> str | None:
        """The tag of To."""
        return self.to.tag

    @lazy_property
    def plain_from(self) -> str:
        """The address in From if it is written in canonical form (`imc_common.address`); else empty.

        Only `imc_common.sip.fast_message` sets it. If it is empty, use `from_`.
        """
        return ""

    @lazy_property
    def plain_to(self) -> str:
        """The same of To."""
        return ""

    @lazy_property
    def call_id(self) -> str:
        """Call-ID as received: it is compared byte by byte (RFC 3261 §8.1.1.4)."""
        value = self._needed("Call-ID")
        if not value or " " in value or "\t" in value or not value.isascii():
            raise SipError(400, "Malformed Call-ID header")
        return value

    @lazy_property
    def cseq(self) -> CSeq:
        """CSeq."""
        value = self._needed("CSeq")
        try:
            return CSeq.parse(value)
        except ValueError:
            raise SipError(400, "Malformed CSeq header") from None

    @lazy_property
    def content_type(self) -> MediaType | None:
        """Content-Type, None if there is none."""
        value = self.headers.get("Content-Type")
        if value is None:
            return None
        try:
            return MediaType.parse(value)
        except ValueError:
            raise SipError(400, "Malformed Content-Type header") from None

    @lazy_property
    def date(self) -> datetime | None:
        """Date; None if there is none, or if it is malformed (RFC 4475 §3.1.2.12: ignore it)."""
        value = self.headers.get("Date")
        return None if value is None else parse_date(value)

    def tokens(self, name: str) -> list[str]:
        """The items of all lines of a header that is a list of tokens (Require, Supported)."""
        return [
            part
            for value in self.headers.get_all(name)
            for raw in value.split(",")
            if (part := raw.strip(" \t"))
        ]

    def _needed(self, name: str) -> str:
        value = self.headers.first.get(name)
        if value is None:
            raise SipError(400, f"Missing {name} header")
        return value

    def _name_addr(self, name: str) -> NameAddr:
        try:
            return NameAddr.parse(self._needed(name))
        except ValueError:
            raise SipError(400, f"Malformed {name} header") from None

    def _number(self, name: str, maximum: int) -> int | None:
        value = self.headers.first.get(name)
        if value is None:
            return None
        number = decimal(value, maximum)
        if number is None:
            raise SipError(400, f"Malformed {name} header")
        return number


@dataclass(frozen=True)
class Request(Message):
    """A request. ``uri`` is the Request-URI as received, ``target`` is the parsed one."""

    method: str
    uri: str
    version: str = field(kw_only=True, default="SIP/2.0")
    size: int = field(kw_only=True, default=0, compare=False)
    """Bytes of the datagram it came in; 0: unknown."""

    @lazy_property
    def target(self) -> Uri:
        """The Request-URI."""
        try:
            return Uri.parse(self.uri)
        except ValueError:
            raise SipError(400, "Malformed Request-URI") from None

    @lazy_property
    def plain_target(self) -> str:
        """The address in the Request-URI if it is written in canonical form; else empty. See `plain_from`."""
        return ""

    @lazy_property
    def max_forwards(self) -> int | None:
        """Max-Forwards, at most 255; None if there is none, as from elements of RFC 2543."""
        return self._number("Max-Forwards", 255)

    @lazy_property
    def expires(self) -> int | None:
        """Expires in seconds, None if there is none (RFC 3428 §7)."""
        return self._number("Expires", 0xFFFF_FFFF)

    def to_bytes(self) -> bytes:
        """The request as bytes, without adding any header."""
        return f"{self.method} {self.uri} {self.version}\r\n{self.headers}\r\n".encode() + self.body


@dataclass(frozen=True)
class Response(Message):
    """A response."""

    status: int
    reason: str = ""
    version: str = field(kw_only=True, default="SIP/2.0")

    def to_bytes(self) -> bytes:
        """The response as bytes, without adding any header."""
        return f"{self.version} {self.status:03} {self.reason}\r\n{self.headers}\r\n".encode() + self.body
