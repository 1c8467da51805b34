"""The torture messages against parser and validator; what a live edge makes of them is tested elsewhere."""

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
    """What the codec says: OK, DROP or a status, and the request to answer to."""
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
    """A valid case's request."""
    status, request = verdict(BY_NAME[name].data)
    assert status == OK
    assert request is not None
    return request


@pytest.mark.parametrize("case", CASES, ids=str)
def test_as_it_is(case: Case) -> None:
    """The message as the RFC has it is accepted, refused with the status, or dropped."""
    assert verdict(case.data)[0] == case.codec, case.why


@pytest.mark.parametrize("case", REQUESTS, ids=str)
def test_as_a_message(case: Case) -> None:
    """Turned into a MESSAGE it meets the same verdict: the fault, not the method, decides."""
    data = as_message(case.data, "fresh")
    status, request = verdict(data)
    assert status == case.codec, case.why
    assert request is not None
    assert request.method == "MESSAGE"
    assert (request.headers.get("Call-ID") or "fresh.").startswith("fresh.")


@pytest.mark.parametrize("case", [case for case in REQUESTS if case.codec != OK], ids=str)
def test_a_refusal_can_be_answered(case: Case) -> None:
    """Section 8.2.6: the answer to a bad request is itself a well-formed response, short and without body."""
    status, request = verdict(case.data)
    assert request is not None
    assert request.answer_via.host
    answer = build_response(request, status, to_tag="us", source=("192.0.2.77", 5060))
    assert len(answer) <= len(case.data) + 200
    assert answer.endswith(b"\r\nContent-Length: 0\r\n\r\n")
    parsed = parse_message(answer)
    assert isinstance(parsed, Response)
    assert parsed.status == status


@pytest.mark.parametrize("case", REQUESTS, ids=str)
def test_what_is_accepted_prints_and_parses_back(case: Case) -> None:
    """A request that was accepted and printed is equal when parsed again."""
    status, request = verdict(case.data)
    if status == OK:
        assert request is not None
        assert parse_message(request.to_bytes()) == request
    else:
        assert status >= 400


@pytest.mark.parametrize("case", CASES, ids=str)
def test_on_a_stream(case: Case) -> None:
    """The same bytes on a connection: faults of framing close it, what comes short is waited for."""
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


def test_every_message_of_both_rfcs_is_here() -> None:
    """49 and 12 of them, each with a file, each file with a case."""
    for rfc, cases, count in (("rfc4475", RFC4475, 49), ("rfc5118", RFC5118, 12)):
        assert len(cases) == count
        assert {case.name for case in cases} == {path.stem for path in (HERE / rfc).glob("*.txt")}


def test_the_notation_says_what_rfc_4475_section_2_says() -> None:
    """Lines joined, strings repeated, octets given in hexadecimal, CRLF at the ends."""
    text = "<allOneLine>\na<repeat count=3>b</repeat>\nc\n</allOneLine>\n<hex>00 0a\nFF</hex>\n"
    assert expand(text) == b"abbbc\r\n\x00\x0a\xff\r\n"


def test_wsinv_means_what_it_says() -> None:
    """Section 3.1.1.1: values behind all the folding."""
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


def test_intmeth_means_what_it_says() -> None:
    """Section 3.1.1.2: users, methods and quoted strings with every character they may have."""
    request = request_of("intmeth")
    assert request.method == "!interesting-Method0123456789_*+`.%indeed'~"
    assert request.target.user == "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"
    assert request.target.password == "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
    assert request.to.display_name == "BEL:\x07 NUL:\x00 DEL:\x7f"
    assert request.from_.display_name == "token1~` token2'+_ token3*%!.-"
    assert request.from_.tag == "_token~1'+`*%!-."


def test_escapes_are_undone_once_and_only_in_users() -> None:
    """Sections 3.1.1.3 to 3.1.1.5."""
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
    """Section 3.1.1.11: 553 octets, NUL among them, unchanged."""
    request = request_of("mpart01")
    assert len(request.body) == 553
    assert b"\x00" in request.body
    assert request.content_type is not None
    assert str(request.content_type) == "multipart/mixed;boundary=7a9cbec02ceef655"


def test_the_ambiguous_port_is_part_of_the_address() -> None:
    """RFC 5118 sections 4.3 and 4.4."""
    assert (request_of("port-ambiguous").target.host, request_of("port-ambiguous").target.port) == (
        "[2001:db8::10:5070]",
        None,
    )
    assert request_of("port-unambiguous").target.port == 5070


def test_received_is_understood_with_and_without_brackets() -> None:
    """RFC 5118 section 4.5."""
    for name in ("via-received-param-with-delim", "via-received-param-no-delim"):
        received = find(request_of(name).via.params, "received")
        assert received is not None
        assert received.strip("[]") == "2001:db8::9:255"


def test_the_colon_too_many_is_taken_out() -> None:
    """RFC 5118 section 4.10: both spellings name one host."""
    hosts = {
        request_of(name).target.host for name in ("ipv6-bug-abnf-3-colons", "ipv6-correct-abnf-2-colons")
    }
    assert hosts == {"[2001:db8::192.0.2.1]"}


def test_a_bad_date_is_no_date() -> None:
    """Section 3.1.2.12."""
    assert request_of("baddate").date is None
    assert request_of("mpart01").date is not None


def test_longreq_is_within_our_limits_but_not_within_narrow_ones() -> None:
    """Section 3.1.1.7: a limit that refuses it refuses with a status, not with an exception of its own."""
    with pytest.raises(SipParseError) as caught:
        parse_message(BY_NAME["longreq"].data, limits=Limits(head=2048))
    assert caught.value.status == 513
