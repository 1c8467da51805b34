"""A user's password, for a server that asks for it (RFC 3261 §22, RFC 8760)."""

from __future__ import annotations

from collections.abc import Iterable
from secrets import token_hex

from imc_common.sip.auth import Challenge
from imc_common.sip.digest import ALGORITHMS, authorization


class Login:
    """Answers challenges, and says who it is by itself while the last one is good."""

    def __init__(self, user: str, password: str) -> None:
        self._user = user
        self._password = password
        self._challenge: Challenge | None = None
        self._count = 0

    def challenged(self, values: Iterable[str]) -> bool:
        """Take the strongest of these challenges for what follows; False if none can be answered."""
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
        """The header lines for a request: none before the first challenge."""
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
        return [f"Authorization: {value}"]
