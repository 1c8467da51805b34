"""Credentials for a 401: sipmessage reads the challenge, imc's client code computes the digest."""

from __future__ import annotations

import sipmessage

from imc_common.sip.auth import Challenge
from imc_common.sip.digest import authorization

PASSWORD = "wonder-land"


def credentials(response: sipmessage.Response, user: str, uri: str, algorithm: str, **other: str) -> str:
    """The Authorization header line for the next request; ``password`` replaces the right one."""
    offered = [
        sipmessage.AuthChallenge.parse(value) for value in response.headers.getlist("WWW-Authenticate")
    ]
    params = next(each.parameters for each in offered if each.parameters["algorithm"] == algorithm)
    assert params["qop"] == "auth"
    challenge = Challenge(params["realm"], params["nonce"], algorithm, qop=True)
    password = other.get("password", PASSWORD)
    value = authorization(challenge, user, password, method="MESSAGE", uri=uri, cnonce="c")
    return f"Authorization: {value}\r\n"
