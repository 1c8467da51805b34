"""The device of a sender is named by a GRUU in From or Contact (RFC 5627)."""

from __future__ import annotations

import pytest

from imc_common.sip import Request, parse_message
from imc_edge.conference.sender_device import device_in_from, is_contact_of, sender_device
from tests.imc_edge.conference.requests import DEVICE, GRUU, request

ALICE = "alice@example.org"


def parsed(**headers: str) -> Request:
    found = parse_message(request("INVITE", **headers))
    assert isinstance(found, Request)
    return found


@pytest.mark.parametrize(
    ("from_", "contact", "device"),
    [
        (f"<{GRUU}>;tag=1", "<sip:x@192.0.2.1>", DEVICE),
        ("<sip:alice@example.org>;tag=1", f"<{GRUU}>", DEVICE),
        ("<sip:alice@example.org>;tag=1", "<sip:ALICE@example.org;gr=urn:uuid:fe1a357b>", DEVICE),
        ("<sip:alice@example.org>;tag=1", '<sip:192.0.2.1>;+sip.instance="<urn:uuid:fe1a357b>"', DEVICE),
        ("<sip:alice@example.org>;tag=1", "<sip:bob@example.org;gr=urn:uuid:1>", ""),
        ("<sip:alice@example.org>;tag=1", "<sip:192.0.2.1>", ""),
        ("<sip:alice@example.org>;tag=1", "*", ""),
        ("<sip:alice@example.org;gr>;tag=1", "<sip:192.0.2.1>", ""),
        (f"<sip:alice@example.org;gr={'x' * 300}>;tag=1", "<sip:192.0.2.1>", ""),
        ("<sip:alice@example.org>;tag=1", '<sip:192.0.2.1>;+sip.instance="a;b"', ""),
    ],
)
def test_a_device_is_named_by_from_then_contact_then_instance(from_: str, contact: str, device: str) -> None:
    """A GRUU of another user names no device of this one."""
    assert sender_device(parsed(From=from_, Contact=contact), ALICE) == device


def test_the_device_is_one_of_the_authenticated_user() -> None:
    """A proxy may assert another user than From says: a device is always the sender's own."""
    assert device_in_from(parsed(), "zed@example.org") == "zed@example.org;gr=urn:uuid:fe1a357b"
    assert device_in_from(parsed(From="<sip:alice@example.org>;tag=1"), ALICE) == ""


def test_who_a_contact_belongs_to() -> None:
    """Ports and parameters do not matter, nor does the case; a URI without host belongs to nobody."""
    assert is_contact_of(parsed(Contact=f"<{GRUU}>").from_.uri, "Alice@example.org:5070")
    assert not is_contact_of(parsed().target, ALICE)
