"""What a delivery remembers once its first request did not settle it: where it went, and where it may go."""

from __future__ import annotations

from collections import deque

from imc_edge.delivering.outbound import MessageTemplate
from imc_edge.flow import Hop


class RetryState:
    """Targets (RFC 3263 §4.3), contacts (RFC 3261 §8.1.3.4) and credentials (§22.2) of one delivery."""

    __slots__ = (
        "all_hops",
        "attempt",
        "contacts",
        "cseq",
        "deadline",
        "followed",
        "headers",
        "hop",
        "moved_to_tcp",
        "not_before",
        "paused",
        "realms",
        "tcp_broken",
        "tcp_refused",
        "templates",
        "untried_hops",
        "uri",
    )

    def __init__(self, uri: str, deadline: float, first_cseq: int = 1) -> None:
        self.uri = uri
        """The Request-URI: the recipient's, then each contact's."""
        self.deadline = deadline
        """Monotonic time until which a target that is busy or unreachable is tried again."""
        self.not_before = 0.0
        """Monotonic time of the next attempt, if a recipient without another target asked for a pause."""
        self.attempt = 0
        """Number of the next request; it is part of the branch."""
        self.cseq = first_cseq
        self.hop: Hop | None = None
        """Where the last request went."""
        self.untried_hops: deque[Hop] = deque()
        """Targets of `uri` that were not tried yet."""
        self.all_hops: tuple[Hop, ...] = ()
        """All targets of `uri`."""
        self.moved_to_tcp: Hop | None = None
        """The UDP hop that the last request left for TCP because it is too long for a datagram."""
        self.tcp_broken: set[Hop] = set()
        """UDP hops that ended a TCP connection before their response."""
        self.tcp_refused: set[Hop] = set()
        """UDP hops that refused a TCP connection."""
        self.contacts: deque[str] = deque()
        """Contacts of a 3xx that were not followed yet."""
        self.followed: set[str] = {uri}
        """URIs that were tried or are in `contacts`: each is tried once."""
        self.headers: list[tuple[str, str]] = []
        """Credentials."""
        self.realms: set[str] = set()
        """Realms that have got our credentials; a second challenge of the same one is a refusal."""
        self.templates: list[MessageTemplate] | None = None
        """The MESSAGE without CPIM, once the recipient has refused it in CPIM."""
        self.paused = False
        """On the timer wheel, until a target may be tried again."""

    def start_over(self, uri: str, deadline: float) -> None:
        """Forget where it went and with what; attempts and CSeq are counted on."""
        self.uri = uri
        self.deadline = deadline
        self.contacts.clear()
        self.followed = {uri}
        self.headers = []
        self.realms = set()
