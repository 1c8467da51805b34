"""SIP URIs. Also covers ports.py."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given

from imc_common import address
from imc_common.sip import SipError, Uri
from tests.imc_common.sip.strategies import unhurried, uris


@unhurried
@given(uris())
def test_a_uri_survives_printing_and_parsing(text: str) -> None:
    """Only the case of scheme and host changes."""
    uri = Uri.parse(text)
    assert Uri.parse(str(uri)) == uri


@unhurried
@given(uris())
def test_the_address_of_a_uri_is_canonical(text: str) -> None:
    """It is its own canonical form, and has only the parts that identify a user."""
    uri = Uri.parse(text)
    known = uri.address()
    assert Uri.parse(f"sip:{known}").address() == known
    if uri.user is not None:
        assert known == address.canonical(uri.user, uri.host, uri.port)


def test_all_parts_of_a_uri_are_parsed() -> None:
    """RFC 3261 §19.1.1. The case is kept, except of scheme and host."""
    uri = Uri.parse("SIPS:Al%69ce:Secret@Example.COM:5061;Transport=TCP;lr?Subject=hi%20there&to=")
    assert uri == Uri(
        "sips",
        "Al%69ce",
        "Secret",
        "example.com",
        5061,
        (("transport", "TCP"), ("lr", None)),
        (("Subject", "hi%20there"), ("to", "")),
    )
    assert str(uri) == "sips:Al%69ce:Secret@example.com:5061;transport=TCP;lr?Subject=hi%20there&to="
    assert uri.address() == "Alice@example.com"


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("sip:%75se%72@example.com", "user@example.com"),
        ("sip:a%2Fb%3b@EXAMPLE.com", "a%2Fb%3B@example.com"),
        ("sip:example.com:5060;lr", "example.com"),
        ("sip:u@[2001:DB8::1]:5060", "u@[2001:db8::1]:5060"),
        ("sip:u@[2001:db8:0:0::1]", "u@[2001:db8::1]"),
        ("sip:u@example.com.", "u@example.com"),
        ("sip:u:pw@host_1", "u@host_1"),
    ],
)
def test_equal_uris_have_one_address(text: str, known: str) -> None:
    """RFC 3261 §19.1.4: URIs that are equal there have the same address."""
    assert Uri.parse(text).address() == known


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sip:",
        "sip:@example.com",
        "sip:a@",
        "sip:a@b@example.com",
        "sip:a b@example.com",
        "sip:a@example.com ",
        "sip:a@exa mple.com",
        "sip:a@example.com:",
        "sip:a@example.com:99999",
        "sip:a@example.com:65536",
        "sip:a@example.com:+5",
        "sip:a@example.com:\uff11",
        "sip:a%4@example.com",
        "sip:a%zz@example.com",
        "sip:\u00fc@example.com",
        "sip:a@-example.com",
        "sip:a@example..com",
        "sip:a@.example.com",
        "sip:a@example.com;",
        "sip:a@example.com;a=1;A=2",
        "sip:a@example.com?",
        "sip:a@example.com?x",
        "sip:a@[::1",
        "sip:a@[::g]",
        "sip:a@[fe80::1%25eth0]",
        "sip:a@[2001:db8:::1]",
        "sip:a@2001:db8::1",
        "<sip:a@example.com>",
        "example.com",
        "http:",
        "http://ex ample.com",
        "1http://example.com",
    ],
)
def test_malformed_uris_are_refused(text: str) -> None:
    """Everything outside the grammar of RFC 3261 §25.1."""
    with pytest.raises(ValueError, match=r"malformed|repeated|port"):
        Uri.parse(text)


@pytest.mark.parametrize(
    "host", ["127.1", "0x7f000001", "2130706433", "0177.0.0.1", "1.2.3.4.5", "256.1.1.1"]
)
def test_ipv4_spellings_that_only_resolvers_accept_are_refused(host: str) -> None:
    """They could bypass a list of forbidden addresses. The last label of a name starts with a letter."""
    with pytest.raises(ValueError, match="malformed host"):
        Uri.parse(f"sip:a@{host}")


def test_uris_of_other_schemes_are_kept_and_have_no_address() -> None:
    """RFC 3261 §8.2.2.1: the response is 416."""
    for text in ("tel:+358-555-1234567", "http://www.example.com/x?y=z", "urn:service:sos"):
        uri = Uri.parse(text)
        assert not uri.is_sip
        assert str(uri) == text
        with pytest.raises(SipError) as caught:
            uri.address()
        assert caught.value.status == 416


def test_a_uri_is_immutable() -> None:
    """Parsed values are cached and shared between requests."""
    with pytest.raises((AttributeError, FrozenInstanceError)):
        Uri.parse("sip:a@b.example").user = "c"  # type: ignore[misc]
