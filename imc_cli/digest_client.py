"""Digest authentication of a user agent (RFC 3261 §22, RFC 8760)."""

from __future__ import annotations

from collections.abc import Iterable
from secrets import token_hex

from imc_common.sip.auth import Challenge
from imc_common.sip.digest import ALGORITHMS, authorization


class DigestClient:
    """Credentials for the last challenge, for each request, in the header of that name."""

    def __init__(self, user: str, password: str, header: str = "Authorization") -> None:
        self._header = header
        self._user = user
        self._password = password
        self._challenge: Challenge | None = None
        self._count = 0

    def challenged(self, values: Iterable[str]) -> bool:
        """Use the strongest of these challenges from now on. False if none is supported."""
        known = []
        for value in values:
            try:
                challenge = Challenge.parse(value)
            except ValueError:
                continue
            if challenge.algorithm in ALGORITHMS:
                known.append(challenge)
        self._challenge = min(known, key=lambda each: ALGORITHMS.index(each.algorithm), default=None)
        self._count = 0
        return self._challenge is not None

    def headers(self, method: str, uri: str) -> list[str]:
        """The header lines for a request; none before the first challenge."""
        if self._challenge is None:
            return []
        self._count += 1
        value = authorization(
            self._challenge,
            self._user,
            self._password,
            method=method,
            uri=uri,
            cnonce=token_hex(8),
            count=self._count,
        )
        return [f"{self._header}: {value}"]
