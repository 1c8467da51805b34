"""Digest authentication: compute and verify (RFC 3261 §22.4, RFC 7616, RFC 8760)."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from imc_common.sip.auth import Authorization, Challenge

ALGORITHMS: Final = ("SHA-512-256", "SHA-256", "MD5")
"""The supported algorithms, the strongest first, named as in RFC 8760 §2.1."""

_NAMES = {"SHA-512-256": "sha512_256", "SHA-256": "sha256", "MD5": "md5"}


def digest(algorithm: str, text: str) -> str:
    """The hash of a text in hexadecimal digits. ``digest(a, "user:realm:password")`` is HA1."""
    # surrogates stand for bytes of the message that were not UTF-8: hash those bytes
    data = text.encode(errors="surrogateescape")
    return hashlib.new(_NAMES[algorithm], data, usedforsecurity=False).hexdigest()


def digest_response(
    algorithm: str, ha1: str, method: str, uri: str, nonce: str, *, cnonce: str = "", count: str = ""
) -> str:
    """The ``response`` of RFC 7616 §3.4.1 with ``qop=auth``, or of RFC 2069 without ``cnonce``."""
    ha2 = digest(algorithm, f"{method}:{uri}")
    middle = f"{nonce}:{count}:{cnonce}:auth" if cnonce else nonce
    return digest(algorithm, f"{ha1}:{middle}:{ha2}")


def authorization(
    challenge: Challenge, user: str, password: str, *, method: str, uri: str, cnonce: str, count: int = 1
) -> str:
    """The value of Authorization or Proxy-Authorization for a challenge.

    ``count`` is the number of requests sent with this nonce, including this one. Raises ValueError for an
    algorithm not in ``ALGORITHMS`` and for values that a header cannot hold.
    """
    algorithm = challenge.algorithm
    if algorithm not in ALGORITHMS:
        raise ValueError(f"digest algorithm {algorithm} is not supported")
    cnonce, nc = (cnonce, f"{count:08x}") if challenge.qop else ("", "")
    ha1 = digest(algorithm, f"{user}:{challenge.realm}:{password}")
    response = digest_response(algorithm, ha1, method, uri, challenge.nonce, cnonce=cnonce, count=nc)
    credentials = Authorization(
        user, challenge.realm, challenge.nonce, uri, response, algorithm, cnonce, nc, challenge.opaque
    )
    return str(credentials)


def is_right(given: Authorization, ha1: str, method: str) -> bool:
    """Whether credentials were made with the password of ``ha1``. Compares in constant time.

    The caller must also check nonce, realm and URI. False for an algorithm not in ``ALGORITHMS``.
    """
    if given.algorithm not in ALGORITHMS:
        return False
    expected = digest_response(
        given.algorithm, ha1, method, given.uri, given.nonce, cnonce=given.cnonce, count=given.count
    )
    return hmac.compare_digest(expected.encode(), given.response.encode(errors="surrogateescape"))
