"""A user's answer to a 401: of imc's own client side, the challenge as sipmessage reads it."""

from __future__ import annotations

import sipmessage

from imc_common.sip.auth import Challenge
from imc_common.sip.digest import authorization

PASSWORD = "wonder-land"


def answered(response: sipmessage.Response, user: str, uri: str, algorithm: str, **other: str) -> str:
    """The header line for the request that follows."""
    told = [sipmessage.AuthChallenge.parse(value) for value in response.headers.getlist("WWW-Authenticate")]
    params = next(each.parameters for each in told if each.parameters["algorithm"] == algorithm)
    assert params["qop"] == "auth"
    challenge = Challenge(params["realm"], params["nonce"], algorithm, qop=True)
    password = other.get("password", PASSWORD)
    value = authorization(challenge, user, password, method="MESSAGE", uri=uri, cnonce="c")
    return f"Authorization: {value}\r\n"
