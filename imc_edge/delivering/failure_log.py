"""Log lines about failed deliveries: at most one a minute per kind of failure and next hop.

A recipient that cannot be reached is usual and gets no line of its own (`imc:{S}:undelivered` has each).
But when a next hop refuses all deliveries, an operator has to see it in the log, with what to do about it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from imc_edge.delivering.outcome import ERROR, NO_TARGET, SURPLUS, TRANSPORT, UNSENDABLE
from imc_edge.flow import Hop

log = structlog.get_logger()

PERIOD_SECONDS: Final = 60.0
"""Between two lines of the same kind and next hop."""
MAX_KINDS: Final = 200
"""Kinds of failure and next hop that are told apart. Members' addresses decide about next hops, so any
number is possible; those past this one share the next hop ``others``."""
OTHERS: Final = "others"
NONE: Final = "none"
"""The next hop of a delivery that was never sent."""

WHAT_TO_DO: Final = {
    "401": "let deliveries bypass authentication at the next hop, or set `credentials`",
    "403": "allow requests from the edges' addresses at the next hop",
    "407": "let deliveries bypass authentication at the next hop, or set `credentials`",
    "482": "the next hop sends deliveries back: check its routing of users",
    "483": "the next hop sends deliveries in a circle: check its routing of users",
    TRANSPORT: "check that the next hop runs and accepts connections from the edges",
    NO_TARGET: "check the domain's DNS records, or set `outbound_proxy`",
    SURPLUS: "recipients do not respond as fast as messages arrive for them",
    ERROR: "report the error that the log shows",
    UNSENDABLE: "the member's address cannot stand in a SIP message: remove the member",
}
"""By outcome; the others usually concern one recipient only."""
FORBIDDEN_DESTINATION: Final = "allow the destination with `destination_networks`, or set `outbound_proxy`"
"""For a 403 of our own: nothing was sent."""


@dataclass(slots=True)
class _Kind:
    """Failures of one kind towards one next hop."""

    due: float
    """Monotonic time from which the next line may be written."""
    count: int = 0
    """Failures since the last line."""
    recipient: str = ""
    """The last of them."""


class FailureLog:
    """Counts failed deliveries by outcome and next hop, and writes the lines."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """``clock`` is monotonic, in seconds."""
        self._clock = clock
        self._kinds: dict[tuple[str, str], _Kind] = {}
        self._next_turn = 0.0

    def note(self, outcome: str, hop: Hop | None, recipient: str) -> None:
        """A delivery to this recipient failed; ``hop`` is where it was sent last, None if nowhere.

        The first failure of a kind is logged at once, later ones together when a minute has passed.
        """
        now = self._clock()
        key = (outcome, f"{hop.transport}:{hop.host}:{hop.port}" if hop else NONE)
        kind = self._kinds.get(key)
        if kind is None and len(self._kinds) >= MAX_KINDS:
            key = (outcome, OTHERS)
            kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = _Kind(now)
        kind.count += 1
        kind.recipient = recipient
        if now >= kind.due:
            self._write(key, kind)

    def turn(self) -> None:
        """To be called often: write the lines that are due, forget kinds that were quiet for a minute."""
        now = self._clock()
        if now < self._next_turn:
            return
        self._next_turn = now + 1
        for key, kind in list(self._kinds.items()):
            if now < kind.due:
                continue
            if kind.count:
                self._write(key, kind)
            else:
                del self._kinds[key]

    def _write(self, key: tuple[str, str], kind: _Kind) -> None:
        outcome, next_hop = key
        advice = WHAT_TO_DO.get(outcome)
        if outcome == "403" and next_hop == NONE:
            advice = FORBIDDEN_DESTINATION
        fields = {"outcome": outcome, "next_hop": next_hop, "count": kind.count, "last": kind.recipient}
        if advice:
            log.warning("deliveries fail", **fields, advice=advice)
        else:
            log.info("deliveries fail", **fields)
        kind.count = 0
        kind.due = self._clock() + PERIOD_SECONDS


def log_fault(error: Exception, recipient: str, call_id: str) -> None:
    """Log an error of ours that has ended a delivery, with its traceback, each time: none is usual."""
    log.error(
        "delivery failed by an error",
        recipient=recipient,
        reason=f"{type(error).__name__}: {error}",
        call_id=call_id,
        exc_info=error,
    )
