"""Addresses: the canonical form of users and rooms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sipmessage import URI

from imc_common import address

USERS = st.text(st.sampled_from("abzAZ09-_.!~*()&=+$,;?/%ü€"), min_size=1, max_size=20).filter(
    lambda user: "%" not in user
)
HOSTS = st.sampled_from(["example.org", "EXAMPLE.org", "127.0.0.1", "[::1]", "[2001:DB8::0:1]", "a.b-c.d."])
PORTS = st.one_of(st.none(), st.integers(1, 65535))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sip:alice@Example.ORG", "alice@example.org"),
        ("SIPS:alice@example.org", "alice@example.org"),
        ("alice@example.org", "alice@example.org"),
        ("sip:alice:secret@example.org:5070;transport=tcp?subject=x", "alice@example.org"),
        ("sip:%61lice%2d@example.org", "alice-@example.org"),
        ("sip:a%3bb%3A@example.org", "a%3Bb%3A@example.org"),
        ("sip:al;x=1?y@example.org;lr", "al;x=1?y@example.org"),
        ("sip:alice@[2001:db8:0::1]:05060", "alice@[2001:db8::1]:5060"),
        ("sip:alice@example.org.", "alice@example.org"),
        ("jürgen@example.org", "j%C3%BCrgen@example.org"),
    ],
)
def test_equivalent_uris_have_one_address(text: str, expected: str) -> None:
    """RFC 3261 §19.1.4: escapes of unreserved characters, case of the host and parameters do not matter."""
    assert address.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alice",
        "sip:example.org",
        "@example.org",
        "sip:@example.org",
        "alice@",
        "alice@exa mple.org",
        "alice@-example.org",
        "alice@example..org",
        "alice@[::1",
        "alice@[::g]",
        "alice@[1.2.3.4]",
        "alice@127.1",
        "alice@2130706433",
        "alice@0x7f000001",
        "alice@1.2.3.4.5",
        "al\ud800ice@example.org",
        "\udfff@example.org",
        "alice@\ud800.example.org",
        "alice@256.1.1.1",
        "alice@example.org:0",
        "alice@example.org:65536",
        "alice@example.org:+1",
        "alice@example.org:5060:5060",
        "al ice@example.org",
        "al\nice@example.org",
        "al\x00ice@example.org",
        "al%0d%0aice@example.org",
        "al%zzice@example.org",
        "al\u2028ice@example.org",
        "al\x85ice@example.org",
        "<sip:alice@example.org>",
        "a" * 257 + "@example.org",
    ],
)
def test_an_invalid_address_is_refused(text: str) -> None:
    """A text that is not a URI, or contains an escaped line end."""
    with pytest.raises(address.AddressError):
        address.parse(text)


@given(USERS, HOSTS, PORTS)
def test_a_canonical_address_stays_unchanged(user: str, host: str, port: int | None) -> None:
    """Both functions that make addresses agree."""
    first = address.canonical(user, host, port)
    assert address.parse(first) == first
    assert address.parse(f"sip:{user}@{host}" + (f":{port}" if port else "")) == first


@given(st.text(min_size=1), HOSTS)
def test_an_address_is_a_valid_uri_for_any_user_part(user: str, host: str) -> None:
    """An independent parser accepts it; it is printable ASCII without white space and brackets."""
    text = address.canonical(user, host)
    assert text.isascii()
    assert text.isprintable()
    assert not set(text.partition("@")[0]) & set(' <>"{}:@')
    assert URI.parse("sip:" + text).host == text.partition("@")[2]


def test_bytes_that_are_not_utf8_become_escapes() -> None:
    """The codec passes them as surrogates."""
    assert address.canonical(b"a\xff".decode("utf-8", "surrogateescape"), "h") == "a%FF@h"


def test_a_bare_percent_sign_is_escaped() -> None:
    """So an address has no invalid escape."""
    assert address.canonical("50%", "h") == "50%25@h"


def test_an_invalid_ipv6_reference_loses_its_brackets() -> None:
    """So it never equals an address that can be typed."""
    assert address.canonical("a", "[zz]") == "a@zz"


def test_an_address_is_split_into_its_parts() -> None:
    """User part and host[:port]; the domain has no port."""
    assert address.split("alice@[::1]:5060") == ("alice", "[::1]:5060")
    assert address.domain("alice@[::1]:5060") == "[::1]"
    assert address.domain("alice@example.org:5060") == "example.org"
    assert address.domain("alice@example.org") == "example.org"
