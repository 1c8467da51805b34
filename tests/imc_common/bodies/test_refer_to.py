"""Refer-To of a REFER to a room (RFC 4579 §5.5)."""

from __future__ import annotations

import pytest

from imc_common.bodies.errors import BodyError
from imc_common.bodies.refer_to import MAX_LENGTH, Referral, ReferTo


@pytest.mark.parametrize(
    ("value", "address", "referral"),
    [
        ("<sip:bob@example.org>;text", "bob@example.org", Referral.ADD),
        ("sip:bob@example.org", "bob@example.org", Referral.ADD),
        ('"Bob" <sip:bob@example.org;method=INVITE>', "bob@example.org", Referral.ADD),
        ("<sip:bob@example.org;method=BYE>;text", "bob@example.org", Referral.REMOVE),
        ("<sip:bob@example.org;method=bye>", "bob@example.org", Referral.REMOVE),
        ("<sip:bob@example.org>;text;admin=true", "bob@example.org", Referral.MAKE_ADMIN),
        ("<sip:bob@example.org>;text;admin=false", "bob@example.org", Referral.MAKE_MEMBER),
        ("<sip:bob@example.org>;text;admin=0", "bob@example.org", Referral.MAKE_MEMBER),
    ],
)
def test_what_linphone_asks_is_read(value: str, address: str, referral: Referral) -> None:
    """Names of methods are compared as RFC 3261 §7.3.1 has tokens in general: in any case."""
    asked = ReferTo.parse(value)
    assert (asked.uri.address(), asked.referral) == (address, referral)
    assert asked.uri.params == ()
    assert ReferTo.parse(str(asked)) == asked


def test_a_device_can_be_named() -> None:
    """The rest of the URI stays."""
    asked = ReferTo.parse("<sip:bob@example.org;gr=urn:uuid:1;method=BYE>;text")
    assert str(asked.uri) == "sip:bob@example.org;gr=urn:uuid:1"
    assert str(asked) == "<sip:bob@example.org;gr=urn:uuid:1;method=BYE>;text"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "bob",
        "<tel:+15551234>",
        "<cid:list@example.org>",
        "<sip:bob@example.org;method=SUBSCRIBE>",
        "<sip:bob@example.org;method=BYE>;admin=true",
        "<sip:bob@example.org>;admin=maybe",
        "<sip:bob@example.org?Replaces=x>",
        f"<sip:{'b' * MAX_LENGTH}@example.org>",
    ],
)
def test_what_no_room_does_is_refused(value: str) -> None:
    """Other methods, headers of a request that would be sent, lists, other schemes."""
    with pytest.raises(BodyError):
        ReferTo.parse(value)
