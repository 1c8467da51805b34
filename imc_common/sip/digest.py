"""Digest authentication: challenges, and the values that answer them (RFC 3261 §22.4, RFC 7616, RFC 8760)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from imc_common.sip.grammar import QUOTED, TOKEN, WS, quote, unquote

ALGORITHMS: Final = ("SHA-512-256", "SHA-256", "MD5")
"""Those we can compute, the strongest first; names as RFC 8760 §2.1 has them."""

_NAMES = {"SHA-512-256": "sha512_256", "SHA-256": "sha256", "MD5": "md5"}
_SCHEME = re.compile(r"[ \t]*+Digest[ \t]++", re.IGNORECASE).match
_PARAM = re.compile(rf"{WS}({TOKEN}){WS}={WS}({TOKEN}|{QUOTED}){WS}(?:,|\Z)").match


def parse_digest(value: str) -> dict[str, str]:
    """The parameters of a value of scheme Digest, names in lower case, quotes undone. Raises ValueError."""
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
    """Whether ``qop=auth`` is offered; without any qop the answer is computed as RFC 2069 had it."""
    stale: bool = False
    """The credentials were right, only the nonce was too old."""

    @classmethod
    def parse(cls, value: str) -> Challenge:
        """The challenge of a header value. Raises ValueError, also where only ``auth-int`` would do."""
        params = parse_digest(value)
        if "realm" not in params or "nonce" not in params:
            raise ValueError("a challenge without realm or nonce")
        offered = {option.strip().lower() for option in params.get("qop", "").split(",")} - {""}
        if offered and "auth" not in offered:
            raise ValueError("no quality of protection that we have")
        return cls(
            params["realm"],
            params["nonce"],
            params.get("algorithm", "MD5").upper(),
            params.get("opaque"),
            bool(offered),
            params.get("stale", "").lower() == "true",
        )


def digest_response(
    algorithm: str, ha1: str, method: str, uri: str, nonce: str, *, cnonce: str = "", count: str = ""
) -> str:
    """The ``response`` of RFC 7616 §3.4.1 with ``qop=auth``, or of RFC 2069 if there is no ``cnonce``."""
    ha2 = digest(algorithm, f"{method}:{uri}")
    middle = f"{nonce}:{count}:{cnonce}:auth" if cnonce else nonce
    return digest(algorithm, f"{ha1}:{middle}:{ha2}")


def digest(algorithm: str, text: str) -> str:
    """Hexadecimal hash of a text; ``digest(a, "user:realm:password")`` is HA1."""
    return hashlib.new(_NAMES[algorithm], text.encode(), usedforsecurity=False).hexdigest()


def authorization(
    challenge: Challenge, user: str, password: str, *, method: str, uri: str, cnonce: str
) -> str:
    """The value of Authorization or Proxy-Authorization that answers a challenge for the first time.

    Raises ValueError for an algorithm not in ``ALGORITHMS``, and for values that no header can carry.
    """
    if challenge.algorithm not in ALGORITHMS:
        raise ValueError(f"no digest algorithm {challenge.algorithm}")
    ha1 = digest(challenge.algorithm, f"{user}:{challenge.realm}:{password}")
    cnonce = cnonce if challenge.qop else ""
    response = digest_response(
        challenge.algorithm, ha1, method, uri, challenge.nonce, cnonce=cnonce, count="00000001"
    )
    params = [
        f"username={quote(user)}",
        f"realm={quote(challenge.realm)}",
        f"nonce={quote(challenge.nonce)}",
        f"uri={quote(uri)}",
        f'response="{response}"',
        f"algorithm={challenge.algorithm}",
    ]
    if cnonce:
        params += ["qop=auth", "nc=00000001", f"cnonce={quote(cnonce)}"]
    if challenge.opaque is not None:
        params.append(f"opaque={quote(challenge.opaque)}")
    return "Digest " + ", ".join(params)
