"""What becomes of an event whose INVITE may go to several devices."""

from __future__ import annotations

from typing import Final

from imc_common.rooms.delivery_reports import AWAY, DECLINED, WITHDRAWN
from imc_edge.delivering.delivery_context import DeliveryContext
from imc_edge.delivering.outgoing import Outgoing

INVITED_AGAIN: Final = AWAY | DECLINED
"""Outcomes after which a user is invited again later."""
GONE: Final = "481"
"""A BYE has found no dialog at its device."""
NO_GROUP_CHAT: Final = "488"
"""The outcome for a client that rings, or accepts without saying which device it is: it is a telephone."""


class InviteOutcome:
    """What becomes of an event whose INVITE may go to several devices."""

    __slots__ = ("_context", "_is_settled", "_outcome", "has_device", "outgoing", "pending", "to")

    def __init__(self, context: DeliveryContext, outgoing: Outgoing, to: str) -> None:
        self._context = context
        self.to = to
        self._outcome = ""
        self._is_settled = False
        self.outgoing = outgoing
        self.has_device = False
        """Whether one has accepted: the event is settled when the worker hears of it."""
        self.pending = 1
        """INVITEs that have no outcome."""

    def delivered(self) -> None:
        """The worker hears of a device that has accepted."""
        if not self._is_settled:
            self._is_settled = True
            self._context.events.delivered(self.outgoing, self.to)

    is_farewell = False

    def failed(self, outcome: str) -> None:
        """One INVITE was in vain. If all were, and a client may accept later, that is the outcome."""
        self.pending -= 1
        if not self._outcome or outcome in INVITED_AGAIN:
            self._outcome = outcome
        if not self.pending and not self.has_device and not self._is_settled:
            self._is_settled = True
            self._context.events.failed(self.outgoing, self.to, self._outcome)


class FarewellOutcome(InviteOutcome):
    """The event is a BYE to a device that had lost its session. Its INVITE makes one, to end it."""

    __slots__ = ()

    is_farewell = True

    def failed(self, outcome: str) -> None:
        """If nobody was there, the BYE is sent again later; if the user is a member again, when it leaves.

        Otherwise its outcome was the first one.
        """
        super().failed(outcome if outcome in AWAY or outcome == WITHDRAWN else GONE)
