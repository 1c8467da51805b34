"""Digest authentication, compared with the examples of the RFCs. Also covers auth.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imc_common.sip.auth import Authorization, Challenge, parse_digest
from imc_common.sip.digest import ALGORITHMS, authorization, digest, digest_response, is_right


def test_rfc_7616_3_9_1_example() -> None:
    """With both algorithms of the example."""
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


def test_rfc_2069_response_without_qop() -> None:
    """The hash of HA1:nonce:HA2."""
    ha1, ha2 = digest("MD5", "u:r:p"), digest("MD5", "MESSAGE:sip:b")
    assert digest_response("MD5", ha1, "MESSAGE", "sip:b", "n") == digest("MD5", f"{ha1}:n:{ha2}")


def test_a_challenge_is_parsed_with_any_spacing_and_case() -> None:
    """Names in any case, values quoted or not, a list of qop options."""
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
def test_a_malformed_challenge_is_refused(value: str) -> None:
    """Also one that offers only what imc does not support."""
    with pytest.raises(ValueError):  # noqa: PT011 # any text will do
        Challenge.parse(value)


def test_quotes_in_a_value_add_no_parameter() -> None:
    """A realm that ends its quoted string is escaped."""
    challenge = Challenge('x", username="root', "n", "MD5", "o")
    value = authorization(challenge, 'al"ice', "secret", method="MESSAGE", uri="sip:b@h", cnonce="c")
    found = parse_digest(value)
    assert found["realm"] == challenge.realm
    assert found["username"] == 'al"ice'
    assert set(found) == {"username", "realm", "nonce", "uri", "response", "algorithm", "opaque"}


texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1, max_size=12)
hexes = st.text("0123456789abcdef", min_size=8, max_size=8)


@given(
    st.builds(
        Challenge,
        texts,
        texts,
        st.sampled_from(ALGORITHMS),
        st.none() | texts,
        qop=st.booleans(),
        stale=st.booleans(),
    )
)
def test_a_challenge_survives_printing_and_parsing(challenge: Challenge) -> None:
    """With any text except line ends as realm, nonce and opaque."""
    assert Challenge.parse(str(challenge)) == challenge


@given(
    st.builds(
        Authorization, texts, texts, texts, texts, hexes, st.sampled_from(ALGORITHMS), texts, hexes, texts
    )
)
def test_credentials_survive_printing_and_parsing(credentials: Authorization) -> None:
    """The same for Authorization."""
    assert Authorization.parse(str(credentials)) == credentials


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("qop", [True, False])
def test_only_the_right_password_is_accepted(algorithm: str, qop: bool) -> None:
    """RFC 7616 §3.4.1 and RFC 2069: the server accepts what the client computes."""
    challenge = Challenge("imc.example", "n0nce", algorithm, "o", qop=qop)
    value = authorization(challenge, "alice", "secret", method="MESSAGE", uri="sip:r@imc.example", cnonce="c")
    credentials = Authorization.parse(value)
    assert credentials.count == ("00000001" if qop else "")
    assert is_right(credentials, digest(algorithm, "alice:imc.example:secret"), "MESSAGE")
    assert not is_right(credentials, digest(algorithm, "alice:imc.example:Secret"), "MESSAGE")
    assert not is_right(credentials, digest(algorithm, "alice:imc.example:secret"), "OPTIONS")


def test_an_unsupported_algorithm_is_never_accepted() -> None:
    """Neither as a challenge nor as credentials."""
    with pytest.raises(ValueError, match="AKAV1-MD5"):
        authorization(Challenge("r", "n", "AKAV1-MD5"), "u", "p", method="MESSAGE", uri="sip:b", cnonce="c")
    assert not is_right(Authorization("u", "r", "n", "sip:b", "0", "AKAV1-MD5"), "", "MESSAGE")


WHOLE = {"username": "u", "realm": "r", "nonce": "n", "uri": "sip:b", "response": "0" * 32}


def credentials_of(**changes: str) -> str:
    """A header value with these parameters."""
    return "Digest " + ", ".join(f'{name}="{value}"' for name, value in (WHOLE | changes).items())


@pytest.mark.parametrize("name", WHOLE)
def test_credentials_with_a_missing_or_empty_part_are_refused(name: str) -> None:
    """Digest headers with empty values have crashed other SIP stacks."""
    with pytest.raises(ValueError, match=f"without {name}"):
        Authorization.parse(credentials_of(**{name: ""}))


@pytest.mark.parametrize(
    "changes",
    [
        {"qop": "auth"},
        {"qop": "auth", "cnonce": "c"},
        {"qop": "auth", "nc": "00000001"},
        {"qop": "auth", "cnonce": "c", "nc": "1"},
        {"qop": "auth", "cnonce": "c", "nc": "0000000g"},
        {"qop": "auth-int", "cnonce": "c", "nc": "00000001"},
        {"qop": "", "cnonce": "c", "nc": "00000001"},
        {"cnonce": "c"},
        {"nc": "00000001"},
    ],
)
def test_credentials_with_inconsistent_parts_are_refused(changes: dict[str, str]) -> None:
    """RFC 7616 §3.4: cnonce and nc are used with qop, and only with it."""
    with pytest.raises(ValueError, match="qop"):
        Authorization.parse(credentials_of(**changes))


@pytest.mark.parametrize("value", ["", "Digest", "NoOneKnowsThisScheme opaque-data=here", "Basic dTpw"])
def test_credentials_of_another_scheme_are_refused(value: str) -> None:
    """RFC 4475 §3.3.7: as if there were none."""
    with pytest.raises(ValueError, match="Digest"):
        Authorization.parse(value)
