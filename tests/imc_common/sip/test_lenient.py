"""Harmless faults of syntax: what is tolerated, and what stays a fault."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imc_common.sip import Request, parse_message
from imc_common.sip.errors import SipError
from imc_common.sip.lenient import TOLERATED, tolerate
from imc_common.sip.validate import validate_request
from tests.conformance.traits.trait import message


def read(data: bytes) -> tuple[Request, list[str]]:
    """The request, valid now, and what was tolerated. Raises SipError."""
    request = parse_message(data)
    assert isinstance(request, Request)
    found = tolerate(request)
    validate_request(request)
    return request, found


@pytest.mark.parametrize(
    ("value", "name", "user", "found"),
    [
        ("Jürgen <sip:a@example.org>;tag=1", "Jürgen", "a", ["display_name"]),
        ("Bell, Alexander <sip:a@example.org>;tag=1", "Bell, Alexander", "a", ["display_name"]),
        (
            "Al (x) <sip:j#1@example.org>;tag=a/b=@",
            "Al (x)",
            "j%231",
            ["display_name", "user_part", "parameter"],
        ),
        ("sip:jürgen@example.org;tag=a/b", "", "j%C3%BCrgen", ["user_part", "parameter"]),
        ('"A" <sip:a[1]@example.org>;tag=1', "A", "a%5B1%5D", ["user_part"]),
    ],
)
def test_a_clear_address_is_read(value: str, name: str, user: str, found: list[str]) -> None:
    """The header field stays as received, because responses repeat it."""
    request, tolerated = read(message(From=value))
    assert (request.from_.display_name, request.from_.uri.user) == (name, user)
    assert tolerated == found
    assert set(found) <= set(TOLERATED)
    assert request.headers.get("From") == value


@pytest.mark.parametrize(
    "value",
    [
        "sip:a@b, Eve <sip:eve@b>;tag=1", "a@b, Eve <sip:eve@b>;tag=1", '"A <sip:a@b>;tag=1',
        "<sip:a@b;tag=1", "<sip:a@b@c>;tag=1", "<sip:a b@c>;tag=1", "< sip:a@b>;tag=1", "<sip:%zz@b>;tag=1",
        "<sip:a@b>;tag=1;tag=2/", "<sip:a@b>;tag=1/;x=<sip:c@d>", "<sip:a@b>, <sip:c@d>;tag=/",
        "a <a> <sip:a@b>",
        "<sip:a@2001:db8::1>;tag=1", "<sip:a@b>;tag=", '<sip:a@b>;tag=/";x', "<sip:a@b> x;tag=/",
    ],
)  # fmt: skip
def test_what_could_mean_two_things_stays_a_fault(value: str) -> None:
    """Two addresses, repeated parameters, open quotes, blanks in a URI."""
    with pytest.raises(SipError):
        read(message(From=value))


@given(st.text(alphabet='ab @<>"\\,;:=%é/#\t', max_size=30), st.sampled_from(["From", "To", "Contact"]))
def test_nothing_that_is_tolerated_raises_later(value: str, header: str) -> None:
    """Every value that is used afterwards can be read."""
    try:
        request, _ = read(message(**{header: f"{value}<sip:a@b>;tag=1" if len(value) % 2 else value}))
    except SipError:
        return
    assert request.from_.uri.user is None or request.from_.uri.user.isascii()
    assert str(request.from_)
    assert str(request.to)


@pytest.mark.parametrize("value", ["é," * 900, "a/" * 900, ";a=/" * 450, "<" * 1800, "é <" * 500])
def test_hostile_values_take_linear_time(value: str) -> None:
    """Each header field has at most 2,048 bytes."""
    started = time.process_time()
    for data in (message(From=value), message(From=f"<sip:a@b>;tag=1{value}"), message(Contact=value)):
        try:
            read(data)
        except SipError:
            continue
    assert time.process_time() - started < 1.0
