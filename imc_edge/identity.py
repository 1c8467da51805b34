"""Who a request is from: the one place that names its sender."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from imc_common import address
from imc_common.sip.errors import SipError
from imc_common.sip.message import Request

# the same users and rooms come again and again
canonical = lru_cache(maxsize=8192)(address.canonical)


class Sender(NamedTuple):
    """The address rooms know the sender by, and the name shown to people (empty if none)."""

    address: str
    display_name: str


def sender_of(request: Request) -> Sender:
    """The user that From names (RFC 3261 §8.1.1.3). Raises SipError where deliveries could not reach it."""
    who = request.from_
    uri = who.uri
    if not uri.is_sip:
        raise SipError(400, "From Is Not A SIP URI")
    if uri.user is None:
        raise SipError(400, "From Has No User")
    return Sender(canonical(uri.user, uri.host, uri.port), who.display_name)
