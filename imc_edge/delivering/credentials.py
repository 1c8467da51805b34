"""Answers digest challenges with the configured credentials (RFC 3261 §22, RFC 8760)."""

from __future__ import annotations

from collections.abc import Iterable
from secrets import token_hex

from imc_common.settings.values import Credential
from imc_common.sip.auth import Challenge
from imc_common.sip.digest import ALGORITHMS, authorization
from imc_common.sip.message import Response

HEADERS = {401: ("WWW-Authenticate", "Authorization"), 407: ("Proxy-Authenticate", "Proxy-Authorization")}


class Credentials:
    """Users and passwords by realm."""

    def __init__(self, known: Iterable[Credential]) -> None:
        self._by_realm = {credential.realm: credential for credential in known}

    def answer(self, response: Response, uri: str, answered: set[str]) -> list[tuple[str, str]]:
        """The headers that answer a 401 or 407 to a MESSAGE for ``uri``; none if we cannot.

        Of several challenges for one realm the strongest is taken (RFC 8760 §2.4). Realms that are answered
        go into ``answered``; one that is there already has refused our credentials, unless it only calls the
        nonce stale (RFC 3261 §22.3).
        """
        asked, answering = HEADERS[response.status]
        best: dict[str, Challenge] = {}
        for value in response.headers.get_all(asked):
            try:
                challenge = Challenge.parse(value)
            except ValueError:
                continue
            if challenge.realm not in self._by_realm or challenge.algorithm not in ALGORITHMS:
                continue
            known = best.get(challenge.realm)
            if known is None or ALGORITHMS.index(challenge.algorithm) < ALGORITHMS.index(known.algorithm):
                best[challenge.realm] = challenge
        headers = []
        for realm, challenge in best.items():
            if realm in answered and not challenge.stale:
                return []
            if (again := f"stale {realm}") in answered:
                return []
            answered.update((realm, again) if challenge.stale else (realm,))
            credential = self._by_realm[realm]
            value = authorization(
                challenge,
                credential.user,
                credential.password,
                method="MESSAGE",
                uri=uri,
                cnonce=token_hex(8),
            )
            headers.append((answering, value))
        return headers
