"""Names of devices: one client of a member, named by its GRUU (RFC 5627).

A device address is ``alice@example.org;gr=urn:uuid:X``. A device that was invited by the address of its user
has ``;aor`` behind it: such a client keeps the room under the To of its INVITE, so every later request needs
that To. `lua/include/device_name.lua` reads these names in the same way.
"""

from __future__ import annotations

from typing import Final

from imc_common.address import MAX_ADDRESS, AddressError

_GR: Final = ";gr="
BY_AOR: Final = ";aor"


def device_address(user: str, gr: str, *, by_aor: bool = False) -> str:
    """The device of this user with this ``gr`` parameter. ``by_aor``: it was invited by the user's address.

    Raises AddressError if no request could name the device by this ``gr``, or if it is too long.
    """
    if not gr or any(not "!" <= char <= "~" or char in ';@?,<>"\\' for char in gr):
        raise AddressError(f"{gr!r} is no gr parameter of a GRUU")
    device = f"{user}{_GR}{gr}"
    if len(device) > MAX_ADDRESS:
        raise AddressError("it is too long")
    return f"{device}{BY_AOR if by_aor else ''}"


def is_device(address: str) -> bool:
    """Whether this is the address of a device, not of a user. The user part may have semicolons too."""
    return _GR in address.partition("@")[2]


def user_of(address: str) -> str:
    """The user whose device this is; of a user's address, the same."""
    user, at, place = address.partition("@")
    return f"{user}{at}{place.partition(';')[0]}"


def request_uri(device: str) -> str:
    """The Request-URI of requests to the device; the user's, if `device` is a user's address."""
    return f"sip:{device.removesuffix(BY_AOR) if is_device(device) else device}"


def to_uri(device: str) -> str:
    """The URI in To of requests to the device: what its INVITE had there."""
    is_by_aor = is_device(device) and device.endswith(BY_AOR)
    return f"sip:{user_of(device) if is_by_aor else device}"
