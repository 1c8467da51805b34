"""Which device of its user has sent a request: the one whose GRUU (RFC 5627) stands in From or Contact.

Only the user is authenticated. A user can name any device as its own, and none of others.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from imc_common.address import AddressError, without_case, without_port
from imc_common.devices import device_address
from imc_common.sip.errors import SipError
from imc_common.sip.message import Request
from imc_common.sip.name_addr import NameAddr
from imc_common.sip.params import find
from imc_common.sip.uri import Uri
from imc_edge.conference.dialog import contact_of

_INSTANCE: Final = "+sip.instance"
_SPECS: Final = "+org.linphone.specs"


def device_in_from(request: Request, user: str) -> str:
    """The device that From names; empty if it names none. Nearly no MESSAGE of a plain client does."""
    if request.plain_from:
        return ""
    return _device(user, find(request.from_.uri.params, "gr"))


def sender_device(request: Request, user: str) -> str:
    """The device that From or Contact names; empty if neither does."""
    known = device_in_from(request, user)
    if known:
        return known
    try:
        return device_of_contact(contact_of(request), user)
    except SipError:
        return ""


def device_of_contact(contact: NameAddr, user: str) -> str:
    """The device of this user that a Contact names by its GRUU or its instance; empty if it names none."""
    gr = find(contact.uri.params, "gr")
    if gr is None or not is_contact_of(contact.uri, user):
        gr = _instance_of(contact)
    return _device(user, gr)


def shows_group_chat(contact: NameAddr) -> bool:
    """Whether the client says that it has group chats, as Linphone does."""
    specs = (find(contact.params, _SPECS) or "").strip('"').lower().split(",")
    return any(spec.strip().partition("/")[0] == "groupchat" for spec in specs)


def is_contact_of(uri: Uri, user: str) -> bool:
    """Whether a URI is this user's address, perhaps with a device. Then the registrar says where it leads."""
    with suppress(SipError):
        return without_case(without_port(uri.address())) == without_case(without_port(user))
    return False


def _instance_of(contact: NameAddr) -> str | None:
    """The instance in Contact: registrars make ``gr`` of it (RFC 5627 §3.1)."""
    value = find(contact.params, _INSTANCE)
    return None if value is None else value.strip('"').strip("<>")


def _device(user: str, gr: str | None) -> str:
    if not gr:
        return ""
    with suppress(AddressError):
        return device_address(user, gr)
    return ""
