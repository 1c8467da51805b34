"""Who a request is from. The only place that names the sender."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, final

from imc_common import address
from imc_common.sip.errors import SipError
from imc_common.sip.grammar import token
from imc_common.sip.lenient import clear_address
from imc_common.sip.message import Request
from imc_common.sip.name_addr import NameAddr
from imc_common.sip.tokens import split_commas
from imc_edge.identifiers import ASSERTED

_has_line_end = re.compile("%0[AaDd]").search


@lru_cache(maxsize=8192)  # the same users and rooms come again and again
def usable_address(user: str, host: str, port: int | None) -> str:
    """The address of a URI's parts; empty if nobody can have it.

    SIP servers do not accept a longer URI. An escaped line end is refused because a program that unescapes it
    would read a header line of the sender's choice.
    """
    found = address.canonical(user, host, port)
    return "" if len(found) > address.MAX_ADDRESS or _has_line_end(user) else found


_HIDING = frozenset(("id", "user", "header"))
"""Privacy values of a user who wants to stay anonymous (RFC 3323 §4.2, RFC 3325 §9.3)."""


@final
@dataclass(init=False, slots=True)
class Sender:
    """The sender's address in rooms, and the display name (empty if there is none)."""

    address: Final[str]
    display_name: Final[str]

    def __init__(
        self,
        address: str,
        display_name: str,
    ) -> None:
        self.address = address
        self.display_name = display_name


def sender_of(request: Request) -> Sender:
    """The user in From (RFC 3261 §8.1.1.3). Raises SipError for one whom deliveries could not reach."""
    plain = request.plain_from
    if plain and len(plain) <= address.MAX_ADDRESS:
        return Sender(plain, request.from_name)
    who = request.from_
    uri = who.uri
    if not uri.is_sip:
        raise SipError(400, "From Is Not A SIP URI")
    if uri.user is None:
        raise SipError(400, "From Has No User")
    found = usable_address(uri.user, uri.host, uri.port)
    if not found:
        raise SipError(400, "Unusable From Address")
    return Sender(found, who.display_name)


def asserted_sender(request: Request) -> Sender:
    """The user that a trusted proxy has authenticated (RFC 3325 §9.1). From only gives a display name.

    Raises SipError: 403 if the proxy names no user whom deliveries could reach, or more than one; 433 if the
    user wants to stay anonymous, because a room shows its members who speaks (RFC 5079).
    """
    if _HIDING.intersection(_privacy(request)):
        raise SipError(433, "Anonymity Disallowed")
    # RFC 3325 §9.1: one sip or sips URI, one tel URI, or both. One that names nobody is not left out: then
    # the proxy asserts something that we do not understand.
    found = {}
    for identity in _asserted(request):
        uri = identity.uri
        if uri.scheme == "tel":
            continue
        who = usable_address(uri.user, uri.host, uri.port) if uri.is_sip and uri.user is not None else ""
        if not who:
            raise SipError(403, "Asserted Identity Not Usable")
        found[who] = identity.display_name
    if not found:
        raise SipError(403, "No Asserted SIP Identity")
    if len(found) > 1:
        raise SipError(403, "Asserted Identities Conflict")
    ((who, name),) = found.items()
    return Sender(who, name or request.from_name)


def _asserted(request: Request) -> list[NameAddr]:
    try:
        return [
            _name_addr(part) for value in request.headers.get_all(ASSERTED) for part in split_commas(value)
        ]
    except ValueError:
        raise SipError(400, f"Malformed {ASSERTED} header") from None


def _name_addr(text: str) -> NameAddr:
    """An identity that a trusted proxy names, also with harmless faults of syntax. Raises ValueError."""
    try:
        return NameAddr.parse(text)
    except ValueError:
        known = clear_address(text, [])
        if known is None:
            raise
        return known


def _privacy(request: Request) -> list[str]:
    """The values of Privacy in lower case (RFC 3323 §4.2). Commas separate them too, as in other headers.

    Raises SipError for what is no token: it might be a wish to be hidden.
    """
    values = [
        part.strip(" \t").lower()
        for value in request.headers.get_all("Privacy")
        for part in value.replace(",", ";").split(";")
    ]
    if not all(map(token, values)):
        raise SipError(400, "Malformed Privacy header")
    return values
