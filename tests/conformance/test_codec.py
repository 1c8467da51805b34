"""The torture messages against parser and validator, without an edge (``test_edge.py`` has that)."""

from __future__ import annotations

import pytest

from imc_common.sip import (
    Limits,
    Request,
    Response,
    SipError,
    SipParseError,
    build_response,
    parse_message,
    validate_request,
    validate_response,
)
from imc_common.sip.framing import Framer
from imc_common.sip.params import find
from tests.conformance.as_message import as_message
from tests.conformance.cases import CASES, DROP, OK, RFC4475, RFC5118, Case
from tests.conformance.notation import HERE, expand

REQUESTS = [case for case in CASES if case.message is not None]
BY_NAME = {case.name: case for case in CASES}


def verdict(data: bytes) -> tuple[int, Request | None]:
    """The codec's verdict: OK, DROP or a status, and the request that a response would go to."""
    request: Request | None = None
    try:
        message = parse_message(data)
        if isinstance(message, Response):
            validate_response(message)
        else:
            request = message
            validate_request(message)
    except SipParseError as error:
        return (DROP if error.request is None else error.status), error.request
    except SipError as error:
        return (DROP if request is None else error.status), request
    return OK, request


def request_of(name: str) -> Request:
    """The parsed request of a valid case."""
    status, request = verdict(BY_NAME[name].data)
    assert status == OK
    assert request is not None
    return request


@pytest.mark.parametrize("case", CASES, ids=str)
def test_original_message_gets_the_expected_verdict(case: Case) -> None:
    """The message as the RFC has it is accepted, rejected with the expected status, or dropped."""
    assert verdict(case.data)[0] == case.codec, case.why


@pytest.mark.parametrize("case", REQUESTS, ids=str)
def test_same_fault_in_a_message_gets_the_same_verdict(case: Case) -> None:
    """The fault decides, not the method."""
    data = as_message(case.data, "fresh")
    status, request = verdict(data)
    assert status == case.codec, case.why
    assert request is not None
    assert request.method == "MESSAGE"
    assert (request.headers.get("Call-ID") or "fresh.").startswith("fresh.")


@pytest.mark.parametrize("case", [case for case in REQUESTS if case.codec != OK], ids=str)
def test_rejection_is_a_short_well_formed_response(case: Case) -> None:
    """RFC 3261 §8.2.6: also of a bad request enough is read to build a response, which has no body."""
    status, request = verdict(case.data)
    assert request is not None
    assert request.response_via.host
    response = build_response(request, status, to_tag="us", source=("192.0.2.77", 5060))
    assert len(response) <= len(case.data) + 200
    assert response.endswith(b"\r\nContent-Length: 0\r\n\r\n")
    parsed = parse_message(response)
    assert isinstance(parsed, Response)
    assert parsed.status == status


@pytest.mark.parametrize("case", REQUESTS, ids=str)
def test_accepted_request_survives_a_round_trip(case: Case) -> None:
    """An accepted request is equal to itself after it was serialised and parsed again."""
    status, request = verdict(case.data)
    if status == OK:
        assert request is not None
        assert parse_message(request.to_bytes()) == request
    else:
        assert status >= 400


@pytest.mark.parametrize("case", CASES, ids=str)
def test_framing_faults_are_fatal_on_a_stream(case: Case) -> None:
    """On a connection, a fault that hides where the message ends is fatal; other faults are not."""
    framer = Framer()
    framer.receive(case.data)
    if case.name in {"ncl", "mcl01", "inv2543", "bigcode"}:
        with pytest.raises(SipParseError) as caught:
            framer.next()
        assert caught.value.fatal
    elif case.name in {"lwsruri", "lwsstart", "trws"}:
        with pytest.raises(SipParseError) as caught:
            framer.next()
        assert not caught.value.fatal
    elif case.name == "clerr":
        with pytest.raises(SipParseError) as caught:
            framer.next()
        assert caught.value.status == 413
    else:
        assert framer.next() == parse_message(case.data)


def test_every_message_of_both_rfcs_has_a_case() -> None:
    """RFC 4475 has 49 messages, RFC 5118 has 12; each has a file, and each file has a case."""
    for rfc, cases, count in (("rfc4475", RFC4475, 49), ("rfc5118", RFC5118, 12)):
        assert len(cases) == count
        assert {case.name for case in cases} == {path.stem for path in (HERE / rfc).glob("*.txt")}


def test_notation_follows_rfc_4475_section_2() -> None:
    """Joined lines, repeated strings, octets in hexadecimal, CRLF at the end of lines."""
    text = "<allOneLine>\na<repeat count=3>b</repeat>\nc\n</allOneLine>\n<hex>00 0a\nFF</hex>\n"
    assert expand(text) == b"abbbc\r\n\x00\x0a\xff\r\n"


def test_wsinv_values_are_read_through_folding() -> None:
    """RFC 4475 §3.1.1.1."""
    request = request_of("wsinv")
    assert request.max_forwards == 68
    assert (request.cseq.number, request.cseq.method) == (9, "INVITE")
    assert request.to.tag == "1918181833n"
    assert (request.from_.display_name, request.from_.tag) == ('J Rosenberg \\"', "98asjd8")
    assert [via.transport for via in request.vias] == ["UDP", "TCP", "UDP"]
    assert [via.branch for via in request.vias] == ["390skdjuw", "z9hG4bK9ikj8", "z9hG4bK30239"]
    assert request.headers.get("Subject") == ""
    assert request.headers.get("newfangledheader") == "newfangled value continued newfangled value"
    assert request.headers.get("UnknownHeaderWithUnusualValue") == ";;,,;;,;"


def test_intmeth_values_keep_unusual_characters() -> None:
    """RFC 4475 §3.1.1.2: user parts, methods and quoted strings with every character they may have."""
    request = request_of("intmeth")
    assert request.method == "!interesting-Method0123456789_*+`.%indeed'~"
    assert request.target.user == "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"
    assert request.target.password == "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
    assert request.to.display_name == "BEL:\x07 NUL:\x00 DEL:\x7f"
    assert request.from_.display_name == "token1~` token2'+_ token3*%!.-"
    assert request.from_.tag == "_token~1'+`*%!-."


def test_escapes_are_decoded_once_and_only_in_user_parts() -> None:
    """RFC 4475 §3.1.1.3 to §3.1.1.5."""
    request = request_of("esc01")
    assert request.target.address() == "sips%3Auser%40example.com@example.net"
    assert request.to.uri.address() == "user@example.com"
    assert request.from_.uri.address() == "I%20have%20spaces@example.net"
    assert request_of("escnull").to.uri.address() == "null-%00-null@example.com"
    percent = request_of("esc02")
    assert percent.method == "RE%47IST%45R"
    assert percent.to.display_name == "%Z%45"
    assert len(percent.headers.get_all("Contact")) == 2


def test_mpart01_keeps_its_binary_part() -> None:
    """RFC 4475 §3.1.1.11: 553 octets, NUL among them, unchanged."""
    request = request_of("mpart01")
    assert len(request.body) == 553
    assert b"\x00" in request.body
    assert request.content_type is not None
    assert str(request.content_type) == "multipart/mixed;boundary=7a9cbec02ceef655"


def test_port_inside_ipv6_brackets_is_part_of_the_address() -> None:
    """RFC 5118 §4.3 and §4.4."""
    assert (request_of("port-ambiguous").target.host, request_of("port-ambiguous").target.port) == (
        "[2001:db8::10:5070]",
        None,
    )
    assert request_of("port-unambiguous").target.port == 5070


def test_received_parameter_is_read_with_and_without_brackets() -> None:
    """RFC 5118 §4.5."""
    for name in ("via-received-param-with-delim", "via-received-param-no-delim"):
        received = find(request_of(name).via.params, "received")
        assert received is not None
        assert received.strip("[]") == "2001:db8::9:255"


def test_ipv6_with_three_colons_is_the_same_host_as_with_two() -> None:
    """RFC 5118 §4.10: the grammar of RFC 3261 allowed a colon too many."""
    hosts = {
        request_of(name).target.host for name in ("ipv6-bug-abnf-3-colons", "ipv6-correct-abnf-2-colons")
    }
    assert hosts == {"[2001:db8::192.0.2.1]"}


def test_date_outside_gmt_is_ignored() -> None:
    """RFC 4475 §3.1.2.12."""
    assert request_of("baddate").date is None
    assert request_of("mpart01").date is not None


def test_longreq_is_within_default_limits_and_gets_513_beyond_narrow_ones() -> None:
    """RFC 4475 §3.1.1.7: a message beyond a limit gets a status."""
    with pytest.raises(SipParseError) as caught:
        parse_message(BY_NAME["longreq"].data, limits=Limits(head=2048))
    assert caught.value.status == 513
