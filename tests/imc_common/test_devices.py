"""Device addresses: what names one client of a member."""

from __future__ import annotations

import pytest

from imc_common.address import AddressError
from imc_common.devices import device_address, is_device, request_uri, to_uri, user_of

ALICE = "alice@example.org"
ODD = "a;gr=x@example.org"
"""The user part of a SIP URI may have semicolons (RFC 3261 §25.1, user-unreserved)."""


@pytest.mark.parametrize("user", [ALICE, ODD, "alice@[2001:db8::1]:5070"])
def test_a_device_is_named_by_its_gruu(user: str) -> None:
    device = device_address(user, "urn:uuid:1")
    assert device == f"{user};gr=urn:uuid:1"
    assert (is_device(device), user_of(device)) == (True, user)
    assert request_uri(device) == to_uri(device) == f"sip:{device}"


@pytest.mark.parametrize("user", [ALICE, ODD])
def test_a_device_invited_by_its_users_address_is_called_by_that_address(user: str) -> None:
    """Linphone keeps a room under the To of its INVITE; another To in a later request is refused."""
    device = device_address(user, "urn:uuid:1", by_aor=True)
    assert device.endswith(";aor")
    assert (is_device(device), user_of(device)) == (True, user)
    assert (request_uri(device), to_uri(device)) == (f"sip:{user};gr=urn:uuid:1", f"sip:{user}")


@pytest.mark.parametrize("user", [ALICE, ODD, "no address", "x;aor"])
def test_a_users_address_is_no_device(user: str) -> None:
    assert (is_device(user), user_of(user)) == (False, user)
    assert request_uri(user) == to_uri(user) == f"sip:{user}"


@pytest.mark.parametrize("gr", ["", "a b", "a;aor", "a@b", "a\r\nb", "ü", "a,b", "<a>", 'a"', "a?b"])
def test_a_parameter_that_cannot_stand_in_a_name_is_refused(gr: str) -> None:
    """Names of recipients are separated by spaces in Redis, and stand in Request-URIs as they are."""
    with pytest.raises(AddressError, match="GRUU"):
        device_address(ALICE, gr)
