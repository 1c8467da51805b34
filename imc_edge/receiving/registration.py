"""What a REGISTER says about a user: here, gone, or nothing (RFC 3261 §10).

A proxy sends a copy of its users' REGISTERs, or registers for them itself (a third party, §10.2). An edge is
no registrar: it keeps no bindings, and only learns whether somebody is there.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from imc_common.address import without_case
from imc_common.sip.errors import SipError
from imc_common.sip.message import Request
from imc_common.sip.name_addr import NameAddr
from imc_common.sip.number import decimal
from imc_common.sip.params import find
from imc_common.sip.tokens import split_commas
from imc_edge.conference.sender_device import device_of_contact, shows_group_chat
from imc_edge.identity.sender import usable_address
from imc_edge.receiving.message_rules import check_require

MAX_EXPIRES: Final = 0xFFFF_FFFF
DEFAULT_EXPIRES: Final = 3600
"""Seconds, where the request names none; also for a malformed number (§10.2.1.1)."""
MAX_CONTACTS: Final = 16
"""Contacts that are read and repeated in the response; nobody has so many devices."""

OF_BINDINGS: Final = frozenset({"path", "outbound", "gruu"})
"""Option tags that say how a registrar keeps bindings (RFC 3327, 5626, 5627), which an edge does not. In a
copy they are nothing to refuse: a P-CSCF adds ``Require: path`` to each REGISTER (3GPP TS 24.229 §5.2.2)."""

Meaning = Literal["online", "offline", "query"]


class Registration(NamedTuple):
    """The user, what the request means, and the Contact values of the 200.

    `devices` are those that show rooms as group chats; `gone` those of them whose binding ends. `ends_all`:
    all bindings end.
    """

    user: str
    meaning: Meaning
    contacts: tuple[str, ...]
    devices: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    ends_all: bool = False


def registration_of(request: Request, *, ignores_case: bool) -> Registration:
    """What a REGISTER says of the user in To. Raises SipError for one that breaks a rule."""
    check_require(request, OF_BINDINGS)
    user = _user(request)
    if ignores_case:
        user = without_case(user)
    lines = request.headers.get_all("Contact")
    values = [value for line in lines for value in split_commas(line)]
    # §10.2.2: "*" applies to all bindings; it stands alone, with Expires 0, or the request is invalid (§10.3)
    if "*" in values:
        if len(values) > 1 or request.expires != 0:
            raise SipError(400, "Contact * Without Expires 0")
        return Registration(user, "offline", (), ends_all=True)
    # §10.2.3: a request without Contact asks for the bindings and changes nothing
    if not values:
        return Registration(user, "query", ())
    if len(values) > MAX_CONTACTS:
        raise SipError(403, "Too Many Contacts")
    bindings = [_binding(value, request) for value in values]
    bound = tuple(f"<{each.uri}>;expires={seconds}" for each, seconds in bindings if seconds)
    devices: dict[bool, list[str]] = {True: [], False: []}
    for contact, seconds in bindings:
        device = device_of_contact(contact, user) if shows_group_chat(contact) else ""
        if device:
            devices[seconds > 0].append(device)
    meaning: Meaning = "online" if bound else "offline"
    return Registration(user, meaning, bound, tuple(devices[True]), tuple(devices[False]))


def _user(request: Request) -> str:
    """The address-of-record: To (§10.2), in the form in which rooms know the user."""
    uri = request.to.uri
    if not uri.is_sip:
        raise SipError(404, "To Is Not A SIP URI")
    user = usable_address(uri.user, uri.host, uri.port) if uri.user is not None else ""
    if not user:
        raise SipError(404, "Not Found")
    return user


def _binding(value: str, request: Request) -> tuple[NameAddr, int]:
    """One contact, and for how many seconds it is bound; 0 if it expires now (§10.2.2)."""
    try:
        contact = NameAddr.parse(value)
    except ValueError:
        raise SipError(400, "Malformed Contact header") from None
    own = find(contact.params, "expires")
    if own is not None:
        seconds = decimal(own, MAX_EXPIRES)
    else:
        seconds = DEFAULT_EXPIRES if request.expires is None else request.expires
    return contact, DEFAULT_EXPIRES if seconds is None else seconds
