"""Digest values against the examples of the RFCs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imc_common.sip.auth import Authorization, Challenge, parse_digest
from imc_common.sip.digest import ALGORITHMS, authorization, digest, digest_response, is_right


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
def test_a_challenge_prints_and_parses_back_the_same(challenge: Challenge) -> None:
    """Whatever its realm, nonce and opaque hold, except line ends."""
    assert Challenge.parse(str(challenge)) == challenge


@given(
    st.builds(
        Authorization, texts, texts, texts, texts, hexes, st.sampled_from(ALGORITHMS), texts, hexes, texts
    )
)
def test_credentials_print_and_parse_back_the_same(credentials: Authorization) -> None:
    """The same for the user's side."""
    assert Authorization.parse(str(credentials)) == credentials


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("qop", [True, False])
def test_the_right_password_is_told_from_others(algorithm: str, qop: bool) -> None:
    """RFC 7616 section 3.4.1 and RFC 2069: what one side computes the other side finds right."""
    challenge = Challenge("imc.example", "n0nce", algorithm, "o", qop=qop)
    value = authorization(challenge, "alice", "secret", method="MESSAGE", uri="sip:r@imc.example", cnonce="c")
    credentials = Authorization.parse(value)
    assert credentials.count == ("00000001" if qop else "")
    assert is_right(credentials, digest(algorithm, "alice:imc.example:secret"), "MESSAGE")
    assert not is_right(credentials, digest(algorithm, "alice:imc.example:Secret"), "MESSAGE")
    assert not is_right(credentials, digest(algorithm, "alice:imc.example:secret"), "OPTIONS")


def test_an_algorithm_we_cannot_compute_is_never_right() -> None:
    """Neither as a challenge nor as credentials."""
    with pytest.raises(ValueError, match="AKAV1-MD5"):
        authorization(Challenge("r", "n", "AKAV1-MD5"), "u", "p", method="MESSAGE", uri="sip:b", cnonce="c")
    assert not is_right(Authorization("u", "r", "n", "sip:b", "0", "AKAV1-MD5"), "", "MESSAGE")


WHOLE = {"username": "u", "realm": "r", "nonce": "n", "uri": "sip:b", "response": "0" * 32}


def credentials_of(**changes: str) -> str:
    """A header value of these parameters."""
    return "Digest " + ", ".join(f'{name}="{value}"' for name, value in (WHOLE | changes).items())


@pytest.mark.parametrize("name", WHOLE)
def test_credentials_without_a_part_or_with_an_empty_one_are_refused(name: str) -> None:
    """Digest headers with empty values brought other stacks down."""
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
def test_credentials_whose_parts_do_not_fit_are_refused(changes: dict[str, str]) -> None:
    """RFC 7616 section 3.4: cnonce and nc come with qop and only with it."""
    with pytest.raises(ValueError, match="qop"):
        Authorization.parse(credentials_of(**changes))


@pytest.mark.parametrize("value", ["", "Digest", "NoOneKnowsThisScheme opaque-data=here", "Basic dTpw"])
def test_credentials_of_another_scheme_are_refused(value: str) -> None:
    """RFC 4475 section 3.3.7: as if there were none."""
    with pytest.raises(ValueError, match="Digest"):
        Authorization.parse(value)
