"""WWW-Authenticate, Authorization, Proxy-Authenticate and Proxy-Authorization.

RFC 3261 §20.7, §20.27, §20.28 and §20.44.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from imc_common.sip.grammar import QUOTED, TOKEN, WS, quote, unquote

_SCHEME = re.compile(rf"{WS}Digest[ \t]++", re.IGNORECASE | re.ASCII).match
_PARAM = re.compile(rf"{WS}({TOKEN}){WS}={WS}({TOKEN}|{QUOTED}){WS}(?:,|\Z)").match
_COUNT = re.compile(r"[0-9A-Fa-f]{8}").fullmatch


def parse_digest(value: str) -> dict[str, str]:
    """The parameters of a Digest header value: names in lower case, values unquoted. Raises ValueError."""
    scheme = _SCHEME(value)
    if scheme is None:
        raise ValueError("the scheme is not Digest")
    found: dict[str, str] = {}
    position = scheme.end()
    while position < len(value):
        match = _PARAM(value, position)
        if match is None or match[1].lower() in found:
            raise ValueError("malformed digest parameters")
        found[match[1].lower()] = unquote(match[2])
        position = match.end()
    return found


@dataclass(frozen=True, slots=True)
class Challenge:
    """One WWW-Authenticate or Proxy-Authenticate."""

    realm: str
    nonce: str
    algorithm: str = "MD5"
    opaque: str | None = None
    qop: bool = False
    """Whether ``qop=auth`` is offered. Without qop the response is computed as in RFC 2069."""
    stale: bool = False
    """The credentials were right, but their nonce has expired."""

    @classmethod
    def parse(cls, value: str) -> Challenge:
        """The challenge in a header value. Raises ValueError, also if it offers only ``qop=auth-int``."""
        params = parse_digest(value)
        if "realm" not in params or "nonce" not in params:
            raise ValueError("a challenge without realm or nonce")
        offered = {option.strip().lower() for option in params.get("qop", "").split(",")} - {""}
        if offered and "auth" not in offered:
            raise ValueError("no supported qop")
        return cls(
            params["realm"],
            params["nonce"],
            params.get("algorithm", "MD5").upper(),
            params.get("opaque"),
            bool(offered),
            params.get("stale", "").lower() == "true",
        )

    def __str__(self) -> str:
        params = [f"realm={quote(self.realm)}", f"nonce={quote(self.nonce)}"]
        if self.opaque is not None:
            params.append(f"opaque={quote(self.opaque)}")
        if self.stale:
            params.append("stale=true")
        params.append(f"algorithm={self.algorithm}")
        if self.qop:
            params.append('qop="auth"')
        return "Digest " + ", ".join(params)


@dataclass(frozen=True, slots=True)
class Authorization:
    """One Authorization or Proxy-Authorization: the credentials for a challenge.

    ``count`` and ``cnonce`` are empty without qop (RFC 2069).
    """

    username: str
    realm: str
    nonce: str
    uri: str
    response: str
    algorithm: str = "MD5"
    cnonce: str = ""
    count: str = ""
    """The nonce count, eight hexadecimal digits."""
    opaque: str | None = None

    @classmethod
    def parse(cls, value: str) -> Authorization:
        """The credentials in a header value. Raises ValueError if parts are missing or inconsistent.

        With ``qop``, which must be ``auth``, cnonce and nc are mandatory; without it they are forbidden
        (RFC 7616 §3.4).
        """
        params = parse_digest(value)
        missing = [name for name in ("username", "realm", "nonce", "uri", "response") if not params.get(name)]
        if missing:
            raise ValueError(f"credentials without {missing[0]}")
        qop, cnonce, count = params.get("qop"), params.get("cnonce", ""), params.get("nc", "")
        if qop is None:
            if cnonce or count:
                raise ValueError("cnonce or nc without qop")
        elif qop.lower() != "auth" or not cnonce or _COUNT(count) is None:
            raise ValueError("malformed qop, cnonce or nc")
        return cls(
            params["username"],
            params["realm"],
            params["nonce"],
            params["uri"],
            params["response"].lower(),
            params.get("algorithm", "MD5").upper(),
            cnonce,
            count,
            params.get("opaque"),
        )

    def __str__(self) -> str:
        params = [
            f"username={quote(self.username)}",
            f"realm={quote(self.realm)}",
            f"nonce={quote(self.nonce)}",
            f"uri={quote(self.uri)}",
            f'response="{self.response}"',
            f"algorithm={self.algorithm}",
        ]
        if self.cnonce:
            params += ["qop=auth", f"nc={self.count}", f"cnonce={quote(self.cnonce)}"]
        if self.opaque is not None:
            params.append(f"opaque={quote(self.opaque)}")
        return "Digest " + ", ".join(params)
