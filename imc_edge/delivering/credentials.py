"""Our credentials for digest challenges to requests of ours (RFC 3261 §22, RFC 8760)."""

from __future__ import annotations

from collections.abc import Iterable
from secrets import token_hex
from typing import Final

from imc_common.settings.values import Credential
from imc_common.sip.auth import Challenge
from imc_common.sip.digest import ALGORITHMS, authorization
from imc_common.sip.message import Response

HEADERS: Final = {
    401: ("WWW-Authenticate", "Authorization"),
    407: ("Proxy-Authenticate", "Proxy-Authorization"),
}


class Credentials:
    """Users and passwords by realm."""

    def __init__(self, known: Iterable[Credential]) -> None:
        self._by_realm = {credential.realm: credential for credential in known}

    def headers_for(
        self, response: Response, uri: str, used: set[str], method: str = "MESSAGE"
    ) -> list[tuple[str, str]]:
        """The headers for a request to ``uri`` that got this 401 or 407; none if we have no credentials.

        Of several challenges for one realm the strongest is used (RFC 8760 §2.4). Realms that get our
        credentials are put into ``used``; one that is there already has refused them, unless it only calls
        the nonce stale (RFC 3261 §22.3).
        """
        challenge_header, credentials_header = HEADERS[response.status]
        best: dict[str, Challenge] = {}
        for value in response.headers.get_all(challenge_header):
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
            if realm in used and not challenge.stale:
                return []
            if (again := f"stale {realm}") in used:
                return []  # a second stale nonce: something is wrong there, and would go on for ever
            used.update((realm, again) if challenge.stale else (realm,))
            credential = self._by_realm[realm]
            value = authorization(
                challenge,
                credential.user,
                credential.password,
                method=method,
                uri=uri,
                cnonce=token_hex(8),
            )
            headers.append((credentials_header, value))
        return headers
