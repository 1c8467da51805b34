"""Checks of requests and responses. Also covers errors.py and lazy_property.py."""

from __future__ import annotations

import pytest

from imc_common.sip import (
    Request,
    Response,
    SipError,
    SipParseError,
    parse_message,
    validate_request,
    validate_response,
)
from imc_common.sip.errors import SipError as Error
from tests.imc_common.sip.samples import message


def refusal(data: bytes) -> SipError:
    """The error of the parser or the validator."""
    try:
        request = parse_message(data)
    except SipParseError as error:
        return error
    assert isinstance(request, Request)
    with pytest.raises(SipError) as caught:
        validate_request(request)
    return caught.value


def accepted(data: bytes) -> Request:
    """The request, which the validator accepts."""
    request = parse_message(data)
    assert isinstance(request, Request)
    validate_request(request)
    return request


@pytest.mark.parametrize("name", ["Via", "From", "To", "Call-ID", "CSeq"])
def test_the_reason_names_the_missing_mandatory_header(name: str) -> None:
    """RFC 3261 §8.1.1: 400, and the reason phrase names it."""
    error = refusal(message(without=name))
    assert (error.status, error.reason) == (400, f"Missing {name} header")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("From", ["<sip:a@b.example>;tag=1", "<sip:a@b.example>;tag=1"]),
        ("To", ["<sip:a@b.example>", "<sip:a@b.example>"]),
        ("Call-ID", ["a", "a"]),
        ("CSeq", ["1 MESSAGE", "1 MESSAGE"]),
        ("Max-Forwards", ["70", "70"]),
        ("Content-Type", ["text/plain", "text/plain"]),
        ("Expires", ["1", "1"]),
    ],
)
def test_a_repeated_single_header_is_refused(name: str, values: list[str]) -> None:
    """RFC 3261 §7.3.1. Also if both values are the same."""
    error = refusal(message(**{name.replace("-", "_").lower(): values}))
    assert (error.status, error.reason) == (400, f"Repeated {name} header")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Via", "SIP/2.0/UDP"),
        ("Via", "SIP/2.0/UDP a.example;;"),
        ("Via", 'SIP/2.0/UDP a.example;x="y, SIP/2.0/UDP b.example'),
        ("From", '"Bob <sip:a@b.example>;tag=1'),
        ("To", "<sip:a@b.example"),
        ("To", ""),
        ("Call-ID", ""),
        ("Call-ID", "a b"),
        ("Call-ID", "\u00fc"),
        ("CSeq", "1"),
        ("CSeq", "-1 MESSAGE"),
        ("Max-Forwards", "300"),
        ("Max-Forwards", "-1"),
        ("Max-Forwards", "+70"),
        ("Expires", "soon"),
        ("Expires", "99999999999"),
        ("Content-Type", "text"),
        ("Contact", "sip:a@b.example?x=y"),
        ("Contact", "<sip:a@b.example>,"),
    ],
)
def test_the_reason_names_the_malformed_header(name: str, value: str) -> None:
    """400. The reason phrase contains nothing of the value."""
    error = refusal(message(**{name.replace("-", "_").lower(): value}))
    assert (error.status, error.reason) == (400, f"Malformed {name} header")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("MESSAGE sip:a@b.example SIP/3.0", 505),
        ("MESSAGE sip:a@b.example SIP/2.99999999999999999", 505),
        (f"MESSAGE sip:a@b.example SIP/{'2' * 500}.0", 505),
        ("MESSAGE sip:a@b.example SIP/0000.0000", 505),
        ("MESSAGE sip:a@b.example SIP/2.00", 505),
        ("FOO sip:a@b.example SIP/7.00000", 505),
        ("MESSAGE tel:+15551234 SIP/2.0", 416),
        ("MESSAGE sip:a@b.example?x=y SIP/2.0", 400),
        ("MESSAGE <sip:a@b.example> SIP/2.0", 400),
        ("MESSAGE  sip:a@b.example SIP/2.0", 400),
        ("MESSAGE sip:a@b.example  SIP/2.0", 400),
        ("MESSAGE sip:a@b.example SIP/2.0 ", 400),
        ("MESSAGE sip:a@b.example;lr\tSIP/2.0", 400),
        ("MESSAGE SIP/2.0", 400),
        ("OPTIONS sip:a@b.example SIP/2.0", 400),
        ("message sip:a@b.example SIP/2.0", 400),
    ],
)
def test_a_bad_request_line_is_refused(line: str, status: int) -> None:
    """RFC 3261 §7.1, §8.2.2.1, §21.5.6. Methods are case-sensitive, so ``message`` differs from its CSeq."""
    assert refusal(message(line=line)).status == status


def test_a_body_needs_a_content_type_and_no_body_needs_none() -> None:
    """RFC 3261 §20.15."""
    assert refusal(message(without="Content-Type")).reason == "Missing Content-Type header"
    assert accepted(message(without="Content-Type", body=b"", content_length="0")).content_type is None


def test_too_many_vias_are_refused() -> None:
    """Counted over all lines."""
    vias = ["SIP/2.0/UDP a.example;branch=b, SIP/2.0/UDP b.example;branch=b"] * 36
    error = refusal(message(via=vias))
    assert (error.status, error.reason) == (513, "Too Many Via Values")


def test_only_the_topmost_via_is_checked() -> None:
    """Reading the other Vias raises their error."""
    request = accepted(message(via=["SIP/2.0/UDP a.example;branch=b", "nonsense"]))
    with pytest.raises(SipError, match="Via"):
        request.vias  # noqa: B018


def test_headers_that_rfc_2543_leaves_out_are_not_required() -> None:
    """RFC 4475 §3.4.1: Max-Forwards, tag and branch."""
    data = message(without="Max-Forwards", via="SIP/2.0/UDP a.example", **{"from": "sip:a@b.example"})
    request = accepted(data)
    assert (request.max_forwards, request.from_.tag, request.via.branch) == (None, None, None)


def test_values_are_parsed_once() -> None:
    """A property keeps its value. On the class it has its documentation."""
    request = accepted(message(expires="30", date="Sat, 13 Nov 2010 23:29:00 GMT", require=["a, b", "c,"]))
    assert request.to is request.to
    assert (request.expires, request.tokens("Require")) == (30, ["a", "b", "c"])
    assert request.date is not None
    assert "To" in str(Request.to.__doc__)


def test_several_contacts_and_a_star_are_accepted() -> None:
    """Contact has no meaning in a MESSAGE."""
    request = accepted(message(contact=["*", '"a, b" <sip:a@b.example>, sip:c@d.example']))
    assert request.method == "MESSAGE"


def test_a_response_without_the_headers_it_is_matched_by_is_refused() -> None:
    """The caller discards it."""
    response = parse_message(message(line="SIP/2.0 200 OK"))
    assert isinstance(response, Response)
    validate_response(response)
    assert parse_message(response.to_bytes()) == response
    for data in (message(line="SIP/2.0 200 OK", without="CSeq"), message(line="SIP/2.0 200 OK", cseq="x")):
        bad = parse_message(data)
        assert isinstance(bad, Response)
        with pytest.raises(SipError):
            validate_response(bad)


def test_a_via_without_a_host_allows_no_response() -> None:
    """A malformed Via with a host is enough."""
    request = parse_message(message(via="nonsense"))
    assert isinstance(request, Request)
    with pytest.raises(SipError):
        request.response_via  # noqa: B018
    request = parse_message(message(via="SIP/2.0/UDP a.example:5070;;"))
    assert isinstance(request, Request)
    assert (request.response_via.host, request.response_via.port) == ("a.example", 5070)


def test_an_error_has_the_headers_for_its_response() -> None:
    """Such as ``Allow`` for a 405."""
    error = Error(405, "Method Not Allowed", [("Allow", "MESSAGE")])
    assert str(error) == "405 Method Not Allowed"
    assert error.headers == [("Allow", "MESSAGE")]
