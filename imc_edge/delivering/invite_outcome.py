"""What becomes of an event whose INVITE may go to several devices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from imc_common.devices import is_device
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
    """What becomes of an event whose INVITE may go to several devices.

    A proxy may fork the INVITE: then the first device that accepts ends the event, because nobody knows of
    the others. If a proxy has named the devices, each of them gets an INVITE of its own. Then the event stays
    until each has its outcome: if this edge dies before, the next one goes on with the others. The devices
    that have accepted are recorded like recipients of a message. At its end, the worker hears of those that
    were not there: it has them invited again later.
    """

    __slots__ = ("_accepted", "_context", "_is_named", "_missed", "_outcome", "outgoing", "pending", "to")

    def __init__(self, context: DeliveryContext, outgoing: Outgoing, to: str) -> None:
        self._context = context
        self.to = to
        self._outcome = ""
        self.outgoing = outgoing
        self.pending = 1
        """INVITEs that have no outcome."""
        self._is_named = bool(outgoing.settled)
        """Whether a proxy has named the devices."""
        self._accepted = set(outgoing.settled)
        """Devices that have accepted, as the worker hears, if a proxy has named them."""
        self._missed: list[tuple[str, str]] = []
        """Devices that were not there, if a proxy has named them, and their outcomes."""

    is_farewell = False

    @property
    def accepted(self) -> frozenset[str]:
        """Devices that are not to be invited by this event again."""
        return frozenset(self._accepted)

    def named(self, count: int) -> None:
        """A proxy has named so many devices: one INVITE becomes so many."""
        self._is_named = True
        self.pending += count - 1
        self._end()

    def accepted_before(self, devices: Iterable[str]) -> None:
        """An edge before has reported that these devices have accepted, which a proxy had named."""
        self._is_named = True
        for device in devices:
            self._record(device)

    def delivered(self, device: str) -> None:
        """The worker hears of a device that has accepted one of the INVITEs."""
        self.pending -= 1
        if self._is_named:
            self._record(device)
            self._end()
        else:
            self._context.events.delivered(self.outgoing, self.to)

    def failed(self, outcome: str, to: str) -> None:
        """The INVITE to this user or device was in vain.

        If all were, and a client may accept later, that is the outcome.
        """
        self.pending -= 1
        if is_device(to) and outcome in AWAY:
            self._missed.append((to, outcome))
        if not self._outcome or outcome in INVITED_AGAIN:
            self._outcome = outcome
        self._end()

    def _record(self, device: str) -> None:
        """A BYE of this device says that its user leaves, from now on (`lua/include/unknown_session.lua`)."""
        if device in self._accepted:
            return
        self._accepted.add(device)
        if self._context.may_send(self.outgoing):  # otherwise the new owner may have invited it again
            self._context.events.delivered_in_part(self.outgoing, device)

    def _end(self) -> None:
        if self.pending:
            return
        if self._accepted:
            self.outgoing.failed += self._missed
            self._context.events.complete(self.outgoing)
        else:
            self._context.events.failed(self.outgoing, self.to, self._outcome)


class FarewellOutcome(InviteOutcome):
    """The event is a BYE to a device that had lost its session. Its INVITE makes one, to end it."""

    __slots__ = ()

    is_farewell = True

    def failed(self, outcome: str, to: str) -> None:
        """If nobody was there, the BYE is sent again later; if the user is a member again, when it leaves.

        Otherwise its outcome was the first one.
        """
        super().failed(outcome if outcome in AWAY or outcome == WITHDRAWN else GONE, to)
