"""What a REFER asks of a room (RFC 4579 §5.5, RFC 3515): the value of its Refer-To.

Linphone adds a user by ``<sip:bob@example.org>;text``, and changes a role by the same with ``;admin=true``.
It removes a user by ``<sip:bob@example.org;method=BYE>;text``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from imc_common.bodies.errors import BodyError
from imc_common.sip.name_addr import NameAddr
from imc_common.sip.params import find
from imc_common.sip.uri import Uri

MAX_LENGTH: Final = 1024
"""Characters of a value, at most."""


class Referral(StrEnum):
    """What is asked for."""

    ADD = "add"
    REMOVE = "remove"
    MAKE_ADMIN = "make admin"
    MAKE_MEMBER = "make member"


class ReferTo(NamedTuple):
    """The user that a Refer-To names, and what to do with it. `uri` is without the parameter ``method``."""

    uri: Uri
    referral: Referral

    @classmethod
    def parse(cls, value: str) -> ReferTo:
        """Raises `BodyError` for what is no SIP URI, or asks for anything else."""
        if len(value) > MAX_LENGTH:
            raise BodyError("Refer-To Too Long")
        try:
            named = NameAddr.parse(value)
        except ValueError:
            raise BodyError("Malformed Refer-To") from None
        # RFC 3515 §2.1: headers in the URI would be those of a request that is sent as they say.
        if not named.uri.is_sip or named.uri.headers:
            raise BodyError("Unsupported Refer-To")
        method = find(named.uri.params, "method")
        uri = named.uri._replace(params=tuple([each for each in named.uri.params if each[0] != "method"]))
        return cls(uri, _referral(method, find(named.params, "admin")))

    def __str__(self) -> str:
        uri, params = self.uri, "text"
        if self.referral is Referral.REMOVE:
            uri = uri._replace(params=(*uri.params, ("method", "BYE")))
        elif self.referral is not Referral.ADD:
            params += f";admin={'true' if self.referral is Referral.MAKE_ADMIN else 'false'}"
        return f"<{uri}>;{params}"


def _referral(method: str | None, admin: str | None) -> Referral:
    match (method or "INVITE").upper(), (admin or "").lower():
        case "BYE", "":
            return Referral.REMOVE
        case "INVITE", "":
            return Referral.ADD
        case "INVITE", "true" | "1":
            return Referral.MAKE_ADMIN
        case "INVITE", "false" | "0":
            return Referral.MAKE_MEMBER
    raise BodyError("Unsupported Refer-To")
