"""Responses built for a request."""

from __future__ import annotations

import pytest
import sipmessage
from hypothesis import given

from imc_common.sip import Request, Response, SipParseError, build_response, parse_message
from tests.imc_common.sip.samples import message
from tests.imc_common.sip.strategies import requests, simple_requests, unhurried


def request_of(data: bytes) -> Request:
    """The request in these bytes."""
    request = parse_message(data)
    assert isinstance(request, Request)
    return request


@unhurried
@given(requests())
def test_a_response_copies_the_headers_it_is_matched_by(data: bytes) -> None:
    """RFC 3261 §8.2.6.2: Via in order, From, Call-ID, CSeq unchanged, To with a tag, no body."""
    request = request_of(data)
    response = parse_message(build_response(request, 202, to_tag="us"))
    assert isinstance(response, Response)
    assert (response.status, response.reason, response.body) == (202, "Accepted", b"")
    for name in ("Via", "From", "Call-ID", "CSeq"):
        assert response.headers.get_all(name) == request.headers.get_all(name)
    assert response.to.uri == request.to.uri
    assert response.to.tag == (request.to.tag or "us")
    assert response.headers.get("Content-Length") == "0"
    assert "Contact" not in response.headers


@unhurried
@given(simple_requests())
def test_sipmessage_parses_our_response(data: bytes) -> None:
    """An independent parser accepts it."""
    response = build_response(request_of(data), 405, None, "us", [("Allow", "MESSAGE, OPTIONS")])
    other = sipmessage.Message.parse(response)
    assert isinstance(other, sipmessage.Response)
    assert (other.code, other.phrase) == (405, "Method Not Allowed")
    assert other.to_address.parameters["tag"] == "us"


def test_the_source_is_added_to_the_topmost_via_only() -> None:
    """RFC 3261 §18.2.1, RFC 3581. Also if several Vias share a line."""
    both = "SIP/2.0/UDP 10.0.0.1;rport;branch=z9hG4bKa, SIP/2.0/TCP b.example;branch=z9hG4bKb"
    response = build_response(
        request_of(message(via=[both, "SIP/2.0/UDP c.example"])), 200, source=("192.0.2.9", 7)
    )
    assert b"Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKa;received=192.0.2.9;rport=7\r\n" in response
    assert b"\r\nVia: SIP/2.0/TCP b.example;branch=z9hG4bKb\r\nVia: SIP/2.0/UDP c.example\r\n" in response


def test_a_via_with_the_source_as_sent_by_is_copied_unchanged() -> None:
    """Byte for byte, including blanks."""
    via = "SIP/2.0/UDP  192.0.2.9 ;branch=z9hG4bKa"
    assert f"\r\nVia: {via}\r\n".encode() in build_response(
        request_of(message(via=via)), 200, source=("192.0.2.9", 7)
    )


def test_a_100_has_no_tag_but_the_timestamp() -> None:
    """RFC 3261 §8.2.6.1."""
    response = build_response(request_of(message(timestamp="54")), 100, to_tag="us")
    assert b"tag=us" not in response
    assert b"\r\nTimestamp: 54\r\n" in response


def test_other_responses_have_no_timestamp() -> None:
    """Only a 100 copies it."""
    assert b"Timestamp" not in build_response(request_of(message(timestamp="54")), 200, to_tag="us")


def test_a_request_without_to_gets_a_response_without_to() -> None:
    """A missing header is not copied, and raises no exception."""
    response = build_response(request_of(message(without="To")), 400, "Missing To header", "us")
    assert b"\r\nTo:" not in response
    assert response.startswith(b"SIP/2.0 400 Missing To header\r\n")


def test_a_malformed_to_is_copied_without_a_tag() -> None:
    """A tag after it could be read as part of it."""
    response = build_response(request_of(message(to='"Bob <sip:b@b.example>')), 400, to_tag="us")
    assert b'\r\nTo: "Bob <sip:b@b.example>\r\n' in response


@pytest.mark.parametrize("breaker", ["\r", "\n", "\x0b", "\x85", "\u2028", "\udcff"])
def test_a_response_to_smuggled_lines_has_no_additional_line(breaker: str) -> None:
    """Line breaks hidden in a copied header do not become lines."""
    with pytest.raises(SipParseError) as caught:
        parse_message(message(call_id=f"a{breaker}Evil: yes"))
    assert caught.value.request is not None
    response = build_response(caught.value.request, 400, to_tag="us")
    assert b"\r\nEvil" not in response
    assert response.count(b"\r\n") == response.count(b"\r") == response.count(b"\n") == 8
