"""An event in flight to its recipients: what is sent, and how the deliveries ended so far."""

from __future__ import annotations

from collections.abc import Callable

from imc_common.rooms.event import Event
from imc_edge.delivering.dialog_request import DialogRequest
from imc_edge.delivering.outbound import MessageTemplate


class Outgoing:
    """One entry of an out-stream, from being read to being settled."""

    __slots__ = (
        "abandoned",
        "counted_as",
        "deadline",
        "delivered",
        "event",
        "failed",
        "in_dialog",
        "parked",
        "pending",
        "recorded",
        "reported",
        "resent",
        "settled",
        "sweeps",
        "templates",
        "text_form",
    )

    def __init__(
        self,
        event: Event,
        templates: list[MessageTemplate],
        recipients: int,
        *,
        resent: bool,
        deadline: float | None,
        text_form: Callable[[], list[MessageTemplate]] | None = None,
    ) -> None:
        self.event = event
        self.templates = templates
        """One MESSAGE each, sent one after the other; more than one where a list is long."""
        self.text_form = text_form
        """Makes the MESSAGE for a recipient that refuses it in CPIM; None if it is not sent in CPIM."""
        self.pending = recipients
        """Recipients whose delivery has not ended."""
        self.delivered: list[str] = []
        """Recipients that responded 2xx, as far as this is not recorded in Redis yet."""
        self.failed: list[tuple[str, str]] = []
        """Recipients whose delivery failed, with the outcome, as far as not recorded yet."""
        self.reported: list[tuple[str, str]] = []
        """Failures with a consequence that were recorded while others were open. They are recorded once more
        at the end: a failover may have undone the record, and the event would end without it."""
        self.recorded = resent
        """Whether Redis may hold a set of settled recipients of this event."""
        self.resent = resent
        """Whether this event may have been sent before, by this or another process."""
        self.settled: frozenset[str] = frozenset()
        """Devices that an edge before has recorded, if a proxy has named them in place of their user."""
        self.deadline = deadline
        """Monotonic time after which it is not sent any more (RFC 3428 §7); None: never."""
        self.abandoned = False
        """The shard was lost: nothing more is sent, its new owner goes on."""
        self.in_dialog: DialogRequest | None = None
        """What is sent in the place of a MESSAGE; None for nearly all events."""
        self.counted_as: tuple[str, str] | None = None
        """Sender and room as the limits of `places.py` count them; set when first needed."""
        self.sweeps = 0
        """Turns of the settlement's sweep that saw it with deliveries pending."""
        self.parked = False
        """The sweep has recorded what there was, and skips it until another delivery ends."""
