"""Small values: cseq.py, media_type.py, date.py, number.py, params.py, tokens.py, grammar.py, host.py,
status.py."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imc_common.sip import CSeq
from imc_common.sip.date import parse_date
from imc_common.sip.grammar import quote, unquote
from imc_common.sip.host import check_host
from imc_common.sip.media_type import MediaType
from imc_common.sip.number import decimal
from imc_common.sip.params import find, has, parse_params, print_params
from imc_common.sip.status import reason_of
from imc_common.sip.tokens import split_commas
from tests.imc_common.sip.strategies import header_params, tokens, unhurried


@given(st.integers(0, 2**31 - 1), tokens)
def test_a_cseq_survives_printing_and_parsing(number: int, method: str) -> None:
    """RFC 3261 §20.16."""
    cseq = CSeq(number, method)
    assert CSeq.parse(str(cseq)) == cseq


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "MESSAGE",
        "-1 MESSAGE",
        "+1 MESSAGE",
        "1_0 MESSAGE",
        "\uff11 MESSAGE",
        "2147483648 MESSAGE",
        "36893488147419103232 MESSAGE",
        "1 ME SSAGE",
        "1 MESSAGE ;x",
        "1MESSAGE",
    ],
)
def test_malformed_cseqs_are_refused(text: str) -> None:
    """Below 2**31 (RFC 3261 §8.1.1.5), plain digits, one token."""
    with pytest.raises(ValueError, match="CSeq"):
        CSeq.parse(text)


def test_media_types_are_compared_without_case() -> None:
    """RFC 3261 §7.3.1. Parameters keep their case."""
    value = MediaType.parse('Text/PLAIN ; Charset="UTF-8"')
    assert value.essence == "text/plain"
    assert str(value) == 'text/plain;charset="UTF-8"'
    assert MediaType.parse(str(value)) == value


@pytest.mark.parametrize(
    "text", ["", "text", "text/", "/plain", "te xt/plain", "text/plain;", "text/plain/x"]
)
def test_malformed_media_types_are_refused(text: str) -> None:
    """Type, slash and subtype, all tokens."""
    with pytest.raises(ValueError, match="malformed"):
        MediaType.parse(text)


@given(st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31)).map(lambda at: at.replace(microsecond=0)))  # noqa: DTZ001 # hypothesis needs naive bounds
def test_dates_are_parsed_as_the_mail_library_prints_them(at: datetime) -> None:
    """RFC 3261 §20.17: RFC 1123 dates in GMT."""
    moment = at.replace(tzinfo=UTC)
    assert parse_date(format_datetime(moment, usegmt=True)) == moment


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Fri, 01 Jan 2010 16:00:00 EST",
        "Fri, 01 Jan 2010 16:00:00 +0000",
        "Fri, 31 Feb 2010 16:00:00 GMT",
        "Fri, 01 Foo 2010 16:00:00 GMT",
        "Fri, 01 Jan 2010 25:00:00 GMT",
        "Fri, 01 Jan 10 16:00:00 GMT",
        "1262361600",
    ],
)
def test_a_malformed_date_is_none(text: str) -> None:
    """RFC 4475 §3.1.2.12: it is ignored, and the message is not refused."""
    assert parse_date(text) is None


@pytest.mark.parametrize(
    "text", ["", "-1", "+10", "1_0", "\uff11\uff10", " 1", "1 ", "0x1", "1e3", "12345678901"]
)
def test_a_number_that_is_not_digits_is_none(text: str) -> None:
    """``int()`` accepts some of these."""
    assert decimal(text, 10**12) is None


def test_a_number_is_bounded() -> None:
    """Leading zeros are allowed (RFC 4475 §3.1.1.1), values above the maximum are not."""
    assert decimal("0068", 255) == 68
    assert decimal("255", 255) == 255
    assert decimal("256", 255) is None


@unhurried
@given(header_params)
def test_parameters_survive_printing_and_parsing(text: str) -> None:
    """Order, quoting and missing values are kept."""
    params = parse_params(text)
    assert parse_params(print_params(params)) == params


def test_parameters_are_found_by_name() -> None:
    """With a value, without one, and not at all."""
    params = parse_params(" ; Tag = abc;lr ")
    assert (find(params, "tag"), find(params, "lr"), find(params, "x")) == ("abc", None, None)
    assert (has(params, "tag"), has(params, "lr"), has(params, "x")) == (True, True, False)
    assert parse_params("  ") == ()


def test_commas_in_quotes_and_brackets_do_not_separate() -> None:
    """RFC 3261 §7.3.1."""
    assert split_commas('"a,b" <sip:c,d@e>;x="f,\\"g" , h') == ['"a,b" <sip:c,d@e>;x="f,\\"g"', "h"]
    assert split_commas("one") == ["one"]


@pytest.mark.parametrize("text", [",", "a,", ",a", "a,,b", 'a,"b', "a,<b", 'a"b,c'])
def test_malformed_lists_are_refused(text: str) -> None:
    """Empty items, quotes and brackets that are not closed."""
    with pytest.raises(ValueError, match="malformed"):
        split_commas(text)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r\n")))
def test_quoting_and_unquoting_gives_the_same_text(text: str) -> None:
    """Any text without line ends, including control characters."""
    assert unquote(quote(text)) == text


@pytest.mark.parametrize("text", ["a\rb", "a\nb", "a\r\nEvil: yes"])
def test_line_ends_cannot_be_quoted(text: str) -> None:
    """A display name cannot contain a header."""
    with pytest.raises(ValueError, match="CR or LF"):
        quote(text)


def test_unquoting_leaves_a_token_unchanged() -> None:
    """A token has no quotes."""
    assert unquote("abc") == "abc"


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("Example.COM", "example.com"),
        ("example.com.", "example.com."),
        ("a", "a"),
        ("1.example", "1.example"),
        ("192.0.2.1", "192.0.2.1"),
        ("[2001:DB8::1]", "[2001:db8::1]"),
        ("[2001:db8:::192.0.2.1]", "[2001:db8::192.0.2.1]"),
        ("[:::192.0.2.1]", "[::192.0.2.1]"),
        ("[2001:db8::::192.0.2.1]", None),
        ("[2001:db8:::10]", None),
        ("192.0.2", None),
        ("-a", None),
        ("a..b", None),
    ],
)
def test_valid_hosts_are_normalised_and_others_are_none(text: str, host: str | None) -> None:
    """The additional colon of RFC 5118 §4.10 is accepted only before an embedded IPv4 address."""
    assert check_host(text) == host


def test_an_unknown_status_has_the_reason_phrase_of_its_class() -> None:
    """RFC 3261 §8.1.3.2."""
    assert (reason_of(202), reason_of(499), reason_of(699)) == ("Accepted", "Bad Request", "Busy Everywhere")
    assert reason_of(799) == "Unknown"
