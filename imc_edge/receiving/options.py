"""What we support: the response to OPTIONS (RFC 3261 §11), and the lists in refusals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from imc_common.bodies.encoding import ENCODINGS
from imc_common.bodies.essence import RESOURCE_LISTS

PLAIN_METHODS: Final = ("MESSAGE", "OPTIONS", "CANCEL")
CONFERENCE_METHODS: Final = ("INVITE", "BYE", "REFER", "SUBSCRIBE")
"""Methods of clients with group chat, taken if `conference_factory` is set; besides, they send ACK."""
CONFERENCE_OPTIONS: Final = (
    "recipient-list-invite",
    "recipient-list-subscribe",
    "eventlist",
    "gruu",
    "norefersub",
    "nosub",
)
"""Option tags of RFC 5366, 5367, 4662, 5627, 4488 and 7614."""
ALLOW_EVENTS: Final = "conference"
"""The event package of RFC 4575."""
ACCEPT_ENCODING: Final = ", ".join(ENCODINGS)


class Capabilities:
    """The capability headers, from the settings."""

    def __init__(self, accept_types: Sequence[str], *, conferences: bool) -> None:
        """``text/plain`` is always accepted (RFC 3428 §9), so ``accept_types`` need not have it.

        ``conferences``: whether clients may show rooms as conferences.
        """
        has_plain = {"text/plain", "text/*", "*/*"} & set(accept_types)
        self.accept = ", ".join(accept_types if has_plain else ("text/plain", *accept_types))
        methods = (*PLAIN_METHODS, *(("ACK", *CONFERENCE_METHODS) if conferences else ()))
        self.allow = ("Allow", ", ".join(methods))
        self.allow_of_trusted = ("Allow", ", ".join((*methods, "REGISTER")))
        """A copy of a REGISTER is taken from trusted peers only (`registration`)."""
        self.supported = ("Supported", ", ".join(CONFERENCE_OPTIONS if conferences else ()))
        self.events = [("Allow-Events", ALLOW_EVENTS)] if conferences else []

    def options(self, *, is_trusted: bool, is_factory: bool) -> list[tuple[str, str]]:
        """Headers of the 200 to OPTIONS (RFC 3261 §11.2), for a peer and an address.

        Lists of users are taken at the address at which clients create rooms, and nowhere else.
        """
        return [
            self.allow_of_trusted if is_trusted else self.allow,
            ("Accept", f"{self.accept}, {RESOURCE_LISTS}" if is_factory else self.accept),
            ("Accept-Encoding", ACCEPT_ENCODING),
            ("Accept-Language", "en"),
            self.supported,
            *self.events,
        ]
