"""SIP and SIPS URIs (RFC 3261 §19.1). Of other URIs only the scheme is parsed."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from imc_common.address import canonical
from imc_common.sip.errors import SipError
from imc_common.sip.grammar import ESCAPED, UNRESERVED
from imc_common.sip.host import HOST, check_host
from imc_common.sip.params import Params, print_params

_USER = rf"(?>(?:[{UNRESERVED}&=+$,;?/]++|{ESCAPED})+)"
_PASSWORD = rf"(?>(?:[{UNRESERVED}&=+$,]++|{ESCAPED})*)"
_PART = rf"(?>(?:[{UNRESERVED}\[\]/:&+$]++|{ESCAPED})+)"
_HEADER_CHAR = rf"(?:[{UNRESERVED}\[\]/?:+$]++|{ESCAPED})"
_HEADER = rf"(?>{_HEADER_CHAR}+)=(?>{_HEADER_CHAR}*)"
_SIP = re.compile(
    rf"[sS][iI][pP]([sS]?+):"
    rf"(?>(?:({_USER})(?>(?::({_PASSWORD}))?)@)?)"
    rf"({HOST})(?>(?::([0-9]{{1,5}}+))?)"
    rf"((?>(?:;{_PART}(?>(?:={_PART})?))*))"
    rf"(?>(?:\?({_HEADER}(?>(?:&{_HEADER})*)))?)"
).fullmatch
_OTHER = re.compile(r"([A-Za-z][A-Za-z0-9+\-.]*+):([!#-;=?-\[\]_a-z~]++)").fullmatch


class Uri(NamedTuple):
    """One URI. User, password, parameters and headers keep their escapes; the host is in lower case.

    ``scheme`` is in lower case. A scheme other than sip and sips has the rest of the URI in ``opaque``, and
    no host.
    """

    scheme: str
    user: str | None = None
    password: str | None = None
    host: str = ""
    port: int | None = None
    params: Params = ()
    headers: tuple[tuple[str, str], ...] = ()
    opaque: str = ""

    @classmethod
    @lru_cache(maxsize=4096)  # the same users and rooms occur in most messages
    def parse(cls, text: str) -> Uri:
        """Parse a whole URI. Raises ValueError."""
        match = _SIP(text)
        if match is None:
            return cls._parse_other(text)
        secure, user, password, host, port, params, headers = match.groups()
        known = check_host(host)
        if known is None:
            raise ValueError("malformed host")
        number = None if port is None else int(port)
        if number is not None and number > 65_535:
            raise ValueError("port above 65535")
        return cls(
            "sips" if secure else "sip",
            user,
            password,
            known,
            number,
            _split_params(params) if params else (),
            _split_headers(headers) if headers else (),
        )

    @classmethod
    def _parse_other(cls, text: str) -> Uri:
        match = _OTHER(text)
        if match is None or match[1].lower() in {"sip", "sips"}:
            raise ValueError("malformed URI")
        return cls(match[1].lower(), opaque=match[2])

    def __str__(self) -> str:
        if self.opaque:
            return f"{self.scheme}:{self.opaque}"
        text = f"{self.scheme}:"
        if self.user is not None:
            text += self.user if self.password is None else f"{self.user}:{self.password}"
            text += "@"
        text += self.host if self.port is None else f"{self.host}:{self.port}"
        if self.params:
            text += print_params(self.params)
        if self.headers:
            text += "?" + "&".join([f"{name}={value}" for name, value in self.headers])
        return text

    @property
    def is_sip(self) -> bool:
        """Whether this is a sip or sips URI, which has a host."""
        return not self.opaque

    def address(self) -> str:
        """The identity of a user or room: ``user@host``, or ``host`` without a user.

        Canonical, as described in :mod:`imc_common.address`. Raises SipError (416) for a scheme without
        hosts.
        """
        if self.opaque:
            raise SipError(416, "Unsupported URI Scheme")
        place = canonical(self.user or "", self.host, self.port)
        return place if self.user else place[1:]


def _split_params(text: str) -> Params:
    """URI parameters. Repeated names are refused (RFC 3261 §19.1.1)."""
    found: dict[str, str | None] = {}
    for part in text[1:].split(";"):
        name, equals, value = part.partition("=")
        name = name.lower()
        if name in found:
            raise ValueError("repeated URI parameter")
        found[name] = value if equals else None
    return tuple(found.items())


def _split_headers(text: str) -> tuple[tuple[str, str], ...]:
    pairs = [part.partition("=") for part in text.split("&")]
    return tuple([(name, value) for name, _, value in pairs])
