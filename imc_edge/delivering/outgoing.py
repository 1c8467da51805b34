"""An event on its way to its recipients: what is sent, and who has answered so far."""

from __future__ import annotations

from imc_common.rooms.event import Event
from imc_edge.delivering.outbound import Part


class Outgoing:
    """One entry of an out-stream, from being read to being settled."""

    __slots__ = (
        "abandoned",
        "answered",
        "deadline",
        "event",
        "failed",
        "open",
        "parts",
        "quiet",
        "recorded",
        "repeat",
        "sightings",
    )

    def __init__(
        self, event: Event, parts: list[Part], to_go: int, *, repeat: bool, deadline: float | None
    ) -> None:
        self.event = event
        self.parts = parts
        """One MESSAGE each, sent one after the other; more than one where a list is long."""
        self.open = to_go
        """Recipients whose delivery has not ended."""
        self.answered: list[str] = []
        """Recipients that answered 2xx, as far as this is not recorded in Redis yet."""
        self.failed: list[tuple[str, str]] = []
        """Recipients that are given up, with the outcome, as far as not recorded yet."""
        self.recorded = repeat
        """Whether Redis may hold a set of settled recipients of this event."""
        self.repeat = repeat
        """Whether this event may have been sent before, by whatever process."""
        self.deadline = deadline
        """Monotonic time after which it is not sent any more (RFC 3428 §7); None if there is none."""
        self.abandoned = False
        """The shard is another's now: nothing more is sent, its new owner goes on."""
        self.sightings = 0
        """How often the sweep has seen it with something to record."""
        self.quiet = False
        """The sweep has recorded what there was and does not look at it until it stirs."""
