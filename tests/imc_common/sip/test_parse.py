"""The full parser. Also covers head.py, start_line.py, limits.py and message.py.

The section numbers are those of RFC 3261.
"""

from __future__ import annotations

from urllib.parse import unquote

import pytest
import sipmessage
from hypothesis import given

from imc_common.sip import Limits, Request, Response, SipParseError, parse_message, validate_request
from tests.imc_common.sip.samples import message
from tests.imc_common.sip.strategies import requests, simple_requests, unhurried


def parsed(data: bytes, **options: bool) -> Request:
    """The request in these bytes."""
    request = parse_message(data, **options)
    assert isinstance(request, Request)
    return request


def fault_of(data: bytes, *, stream: bool = False, limits: Limits | None = None) -> SipParseError:
    """The error for these bytes."""
    with pytest.raises(SipParseError) as caught:
        parse_message(data, stream=stream, limits=limits or Limits())
    return caught.value


@unhurried
@given(requests())
def test_a_valid_request_survives_printing_and_parsing(data: bytes) -> None:
    """A parsed and printed request is equal when parsed again, value by value."""
    request = parsed(data)
    validate_request(request)
    again = parsed(request.to_bytes())
    assert again == request
    assert str(again.from_) == str(request.from_)
    assert again.vias == request.vias


@unhurried
@given(simple_requests())
def test_sipmessage_finds_the_same_values(data: bytes) -> None:
    """An independent parser agrees on valid requests."""
    request = parsed(data)
    validate_request(request)
    other = sipmessage.Message.parse(data)
    assert isinstance(other, sipmessage.Request)
    assert (other.method, other.body) == (request.method, request.body)
    assert (other.call_id, other.max_forwards) == (request.call_id, request.max_forwards)
    assert (other.cseq.sequence, other.cseq.method) == (request.cseq.number, request.cseq.method)
    assert [str(via) for via in other.via] == [str(via) for via in request.vias]
    for theirs, ours in ((other.from_address, request.from_), (other.to_address, request.to)):
        assert (theirs.name, theirs.parameters.get("tag")) == (ours.display_name, ours.tag)
        assert (theirs.uri.host.lower(), theirs.uri.port) == (ours.uri.host, ours.uri.port)
        assert theirs.uri.user == unquote(ours.uri.user or "")


def test_compact_names_become_long_and_folded_lines_are_joined() -> None:
    """RFC 3261 §7.3.1 and §7.3.3: ``v`` is Via; a line that begins with a blank continues the one before."""
    data = message().replace(b"Via:", b"v :").replace(b"From: Alice", b"f:\r\n\tAlice\r\n ")
    request = parsed(data)
    assert request.from_.display_name == "Alice"
    assert request.headers.get("via") == request.headers.get("v")


def test_empty_lines_before_the_start_line_are_skipped() -> None:
    """RFC 3261 §7.5: a server ignores CRLF before a request."""
    assert parsed(b"\r\n\r\n" + message()).method == "MESSAGE"


def test_octets_after_content_length_are_dropped() -> None:
    """RFC 3261 §18.3: bytes after the body of a datagram are discarded."""
    assert parsed(message(body=b"Hello, trailing")).body == b"Hello"


def test_without_content_length_the_datagram_ends_the_body() -> None:
    """RFC 3261 §18.3: over UDP the body may go on to the end of the packet."""
    assert parsed(message(without="Content-Length", body=b"all of it")).body == b"all of it"


def test_a_response_is_parsed_with_or_without_reason_phrase() -> None:
    """RFC 3261 §7.2: the phrase may be empty."""
    for line, reason in (("SIP/2.0 200 OK", "OK"), ("SIP/2.0 200 ", ""), ("SIP/2.0 200", "")):
        response = parse_message(message(line=line))
        assert isinstance(response, Response)
        assert (response.status, response.reason) == (200, reason)


@pytest.mark.parametrize(
    "length", ["-1", "+10", "1_0", "\uff11\uff10", "9" * 5000, "", "5, 5", "5 5", "0x5", "5;a"]
)
def test_a_content_length_that_is_not_digits_is_refused(length: str) -> None:
    """``int()`` accepts some of these. A stream cannot continue after any of them."""
    fault = fault_of(message(content_length=length))
    assert fault.status in {400, 513}
    assert fault.request is not None
    assert fault.fatal or fault.status == 513


def test_two_content_lengths_are_refused_even_when_equal() -> None:
    """RFC 4475 §3.3.9 (mcl01): the length must not be guessed."""
    fault = fault_of(message(content_length=["5", "5"]))
    assert (fault.status, fault.fatal) == (400, True)


def test_a_stream_needs_content_length() -> None:
    """RFC 3261 §18.3: it is mandatory on TCP and TLS."""
    assert fault_of(message(without="Content-Length"), stream=True).fatal


def test_a_datagram_shorter_than_its_content_length_is_refused() -> None:
    """RFC 3261 §18.3: the response to a request with a truncated body is 400."""
    assert fault_of(message(content_length="100")).status == 400


@pytest.mark.parametrize(
    "character", ["\x00", "\x01", "\x0b", "\x0c", "\x1c", "\x7f", "\x85", "\u2028", "\u2029"]
)
@pytest.mark.parametrize("place", ["To", "Subject"])
def test_control_characters_and_other_line_ends_are_refused(character: str, place: str) -> None:
    """Some programs take them for line ends, which could smuggle headers."""
    data = message(**{place.lower(): f"<sip:chat-000@example.org>;a=b{character}Evil: yes"})
    assert fault_of(data).status == 400


@pytest.mark.parametrize("end", ["\n", "\r"])
def test_a_bare_cr_or_lf_is_refused(end: str) -> None:
    """Only CRLF ends a line. The response contains neither."""
    fault = fault_of(message(subject=f"a{end}Evil: yes"))
    assert fault.status == 400
    assert fault.request is not None
    assert all(end not in value for _, value in fault.request.headers)


def test_escaped_control_characters_in_quotes_are_allowed() -> None:
    """``quoted-pair`` of RFC 3261 §25.1; RFC 4475 §3.1.1.2 has them."""
    request = parsed(message(to='"BEL:\\\x07 NUL:\\\x00 DEL:\\\x7f" <sip:chat-000@example.org>'))
    assert request.to.display_name == "BEL:\x07 NUL:\x00 DEL:\x7f"
    assert '"BEL:\\\x07 NUL:\\\x00 DEL:\\\x7f"' in str(request.to)


def test_invalid_utf8_in_a_header_is_refused() -> None:
    """Headers are UTF-8 (RFC 3261 §7.3.1, TEXT-UTF8)."""
    assert fault_of(message(subject="\udcff")).status == 400


@pytest.mark.parametrize("name", ["To\x01", "", " ", "To To", "T\u00f6"])
def test_a_header_name_that_is_not_a_token_is_refused(name: str) -> None:
    """RFC 3261 §25.1."""
    data = message().replace(b"\r\n\r\n", f"\r\n{name}: x\r\n\r\n".encode())
    assert fault_of(data).status == 400


@pytest.mark.parametrize(
    "line",
    [
        "",
        "hello",
        "GET / HTTP/1.1",
        "MESSAGE sip:a@b.c HTTP/1.1",
        "SIP/2.0 99 x",
        "SIP/3.0 200 OK",
        "\u00e4 sip:a@b SIP/2.0",
    ],
)
def test_a_start_line_that_is_not_sip_gets_no_response(line: str) -> None:
    """The error has no request, so the caller discards the bytes."""
    assert fault_of(message(line=line)).request is None


def test_a_malformed_request_without_via_and_a_malformed_ack_get_no_response() -> None:
    """Without Via the response has no address; an ACK never gets a response (RFC 3261 §17.1.1.3)."""
    assert fault_of(message(without="Via", content_length="x")).request is None
    assert fault_of(message(line="ACK sip:a@example.org SIP/2.0", content_length="x")).request is None


def test_a_malformed_response_gets_no_response() -> None:
    """There is no response to a response."""
    assert fault_of(message(line="SIP/2.0 200 OK", content_length="x")).request is None


def test_headers_without_the_empty_line_get_400() -> None:
    """A datagram that is truncated in its headers."""
    fault = fault_of(message(body=b"").removesuffix(b"\r\n"))
    assert (fault.status, fault.request is not None) == (400, True)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (message(line=f"MESSAGE sip:{'a' * 1100}@example.org SIP/2.0"), 414),
        (message(line=f"{'M' * 70} sip:a@example.org SIP/2.0"), 400),
        (message(subject="x" * 2100), 513),
        (message(subject=["x" * 1000] * 9), 513),
        (message(x=["y"] * 130), 513),
        (message(to="<sip:a@example.org>" + ";a" * 1100), 513),
        (message(content_length="8193", body=b"x" * 8193), 413),
        (message(without="Content-Length", body=b"x" * 8193), 413),
        (message(body=b"Hello" + b"x" * 66_000), 513),
    ],
    ids=["uri", "method", "header", "head", "count", "parameters", "body", "body without length", "datagram"],
)
def test_each_limit_has_its_status(data: bytes, status: int) -> None:
    """The response is sent to the Via of the refused request."""
    fault = fault_of(data)
    assert fault.status == status
    assert fault.request is not None
    assert fault.request.via.host == "192.0.2.10"


LONG = "X: " + "x" * 9000
HEADERS = (
    "Via: SIP/2.0/UDP a;branch=z9hG4bK1",
    "From: <sip:a@b>;tag=1",
    "To: <sip:r@b>",
    "Call-ID: c",
    "CSeq: 1 MESSAGE",
)


@pytest.mark.parametrize("before", range(6))
def test_a_request_that_is_cut_has_the_headers_of_its_response(before: int) -> None:
    """RFC 3261 §8.2.6.2: an over-long header may be before any of them."""
    lines = [*HEADERS[:before], LONG, *HEADERS[before:]]
    request = fault_of("\r\n".join(["MESSAGE sip:r@b SIP/2.0", *lines, "", ""]).encode()).request
    assert request is not None
    assert [request.headers.get(line.partition(":")[0]) for line in HEADERS] == [
        line.partition(": ")[2] for line in HEADERS
    ]


def test_in_a_request_that_is_cut_compact_names_folded_lines_and_further_vias_are_found() -> None:
    """Nothing else of what is beyond the limit is."""
    lines = [
        "v: SIP/2.0/UDP a",
        LONG,
        "f: <sip:a@b>;\r\n tag=1",
        "T : <sip:r@b>",
        "i: c",
        "Y: y",
        "V: SIP/2.0/UDP b",
    ]
    data = "\r\n".join(["MESSAGE sip:r@b SIP/2.0", *lines, "CSEQ: 1 MESSAGE", "", ""]).encode()
    error = fault_of(data)
    assert (error.status, error.reason) == (513, "Header Block Too Large")
    assert error.request is not None
    headers = error.request.headers
    assert headers.get_all("Via") == ["SIP/2.0/UDP a", "SIP/2.0/UDP b"]
    assert [headers.get(name) for name in ("From", "To", "Call-ID", "CSeq", "Y")] == [
        "<sip:a@b>; tag=1", "<sip:r@b>", "c", "1 MESSAGE", None,
    ]  # fmt: skip


@pytest.mark.parametrize("missing", HEADERS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_is_cut_and_lacks_a_header_gets_no_response(missing: str, stream: bool) -> None:
    """It may be in what was not read; a response without it is of no use."""
    lines = [*(line for line in HEADERS if line != missing), LONG]
    data = "\r\n".join(["MESSAGE sip:r@b SIP/2.0", *lines, "", ""]).encode()
    assert fault_of(data, stream=stream).request is None


def test_headers_beyond_the_limit_are_copied_up_to_as_much_again() -> None:
    """The response must not be as long as the largest datagram."""
    vias = [f"Via: SIP/2.0/UDP {'a' * 1000}"] * 30
    data = "\r\n".join(["MESSAGE sip:r@b SIP/2.0", LONG, *vias, *HEADERS, "", ""]).encode()
    assert fault_of(data).request is None
