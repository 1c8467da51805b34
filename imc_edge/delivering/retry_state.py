"""What a delivery remembers when its first request did not settle it: where it was, where it may go yet."""

from __future__ import annotations

from collections import deque

from imc_edge.flow import Hop


class Detour:
    """The further way of one delivery: targets (RFC 3263 §4.3), contacts (RFC 3261 §8.1.3.4), credentials."""

    __slots__ = (
        "all_hops",
        "attempt",
        "contacts",
        "cseq",
        "direct",
        "followed",
        "headers",
        "hop",
        "hops",
        "patient_until",
        "realms",
        "shrunk",
        "uri",
        "waiting",
        "without_tcp",
    )

    def __init__(self, uri: str, patient_until: float) -> None:
        self.uri = uri
        """The Request-URI: the recipient's, then each contact's."""
        self.patient_until = patient_until
        """Monotonic time until which a target that is only busy or just not there is tried again."""
        self.attempt = 0
        """Number of the next request; a part of its branch."""
        self.cseq = 1
        self.hop: Hop | None = None
        """Where the last request went."""
        self.hops: deque[Hop] = deque()
        """Targets of `uri` that were not tried yet."""
        self.all_hops: tuple[Hop, ...] = ()
        """All targets of `uri`."""
        self.shrunk: Hop | None = None
        """The UDP hop that the last request left for TCP because it is too long for a datagram."""
        self.without_tcp: set[Hop] = set()
        """UDP hops that refused a TCP connection."""
        self.contacts: deque[str] = deque()
        """Contacts of a 3xx that were not followed yet."""
        self.followed: set[str] = {uri}
        self.headers: list[tuple[str, str]] = []
        """Credentials."""
        self.realms: set[str] = set()
        """Realms that have seen our credentials; a second challenge of the same is a refusal."""
        self.waiting = False
        """On the wheel, until a target may be tried again."""
