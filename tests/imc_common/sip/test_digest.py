"""Digest values against the examples of the RFCs."""

from __future__ import annotations

import pytest

from imc_common.sip.digest import Challenge, authorization, digest, digest_response, parse_digest


def test_rfc_7616_3_9_1_the_example_in_both_algorithms() -> None:
    """Mufasa's request for /dir/index.html."""
    nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
    cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    expected = {
        "SHA-256": "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        "MD5": "8ca523f5e9506fed4657c9700eebdbec",
    }
    for algorithm, response in expected.items():
        ha1 = digest(algorithm, "Mufasa:http-auth@example.org:Circle of Life")
        found = digest_response(
            algorithm, ha1, "GET", "/dir/index.html", nonce, cnonce=cnonce, count="00000001"
        )
        assert found == response


def test_rfc_2069_without_qop() -> None:
    """HA1:nonce:HA2."""
    ha1, ha2 = digest("MD5", "u:r:p"), digest("MD5", "MESSAGE:sip:b")
    assert digest_response("MD5", ha1, "MESSAGE", "sip:b", "n") == digest("MD5", f"{ha1}:n:{ha2}")


def test_a_challenge_is_read_whatever_its_spacing_and_case() -> None:
    """Names are of any case, values quoted or not, qop is a list."""
    challenge = Challenge.parse(
        'digest  REALM="a \\"b\\"" ,nonce=n1 , Algorithm=sha-256,qop="auth-int, auth",stale=TRUE'
    )
    assert challenge == Challenge('a "b"', "n1", "SHA-256", None, qop=True, stale=True)


@pytest.mark.parametrize(
    "value",
    [
        "", "Digest", "Digest ", "Basic realm=x", 'Digest realm="x"', 'Digest nonce="x"',
        'Digest realm="x" nonce="y"', 'Digest realm="x", nonce="y", realm="z"',
        'Digest realm="x", nonce="y", qop="auth-int"',
        'Digest realm="x', 'Digest realm="x", nonce="y", =',
    ],
)  # fmt: skip
def test_a_malformed_challenge_is_an_error(value: str) -> None:
    """Also one that only wants what we do not do."""
    with pytest.raises(ValueError):  # noqa: PT011 # the texts are for people
        Challenge.parse(value)


def test_values_are_quoted_so_that_they_parse_back() -> None:
    """A realm with quotes in it adds no parameter."""
    challenge = Challenge('x", username="root', "n", "MD5", "o")
    value = authorization(challenge, 'al"ice', "secret", method="MESSAGE", uri="sip:b@h", cnonce="c")
    found = parse_digest(value)
    assert found["realm"] == challenge.realm
    assert found["username"] == 'al"ice'
    assert set(found) == {"username", "realm", "nonce", "uri", "response", "algorithm", "opaque"}
