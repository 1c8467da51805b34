"""Applies to deliveries what is known of their recipient's absence (`absence.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imc_common.rooms.delivery_reports import AWAY, UNKNOWN_ROOM
from imc_common.rooms.event import REPLAY
from imc_edge.delivering.outcome import NOT_SENT, SURPLUS
from imc_edge.delivering.outgoing import Outgoing

if TYPE_CHECKING:  # which asks these rules
    from imc_edge.delivering.recipient import Recipient


def withholds(recipient: Recipient, outgoing: Outgoing) -> bool:
    """Whether a delivery offered to a recipient with an absence ends here, unsent or as arrived before."""
    context, absence, event = recipient.context, recipient.absence, outgoing.event
    if absence is None:
        return False
    now = context.clock()
    if now >= absence.known_until:
        recipient.forget_absence()
        return False
    if not context.is_stored(event):
        return False
    if event.catch_up and absence.has_arrived(event):
        context.events.delivered(outgoing, recipient.address)
        return True
    if absence.withholds(event, now):
        recipient.fail(outgoing, NOT_SENT)
        return True
    return False


def arrived_before(recipient: Recipient, outgoing: Outgoing) -> bool:
    """Whether a delivery that has waited has become needless; then it ends as delivered."""
    context, absence, event = recipient.context, recipient.absence, outgoing.event
    if absence is None or not event.catch_up or event.catch_up == REPLAY or not absence.has_arrived(event):
        return False
    if context.may_send(outgoing):
        context.events.delivered(outgoing, recipient.address)
    return True


def note_failure(recipient: Recipient, outgoing: Outgoing, outcome: str) -> None:
    """A delivery ended with this outcome; the recipient may be away, or there and refuse it."""
    context, event = recipient.context, outgoing.event
    if not context.is_stored(event):
        if recipient.absence is not None and outcome.isdigit() and outcome not in AWAY:
            recipient.absence.is_back()
        return
    if outcome in AWAY:
        sent = outcome not in {NOT_SENT, SURPLUS}
        recipient.close_short_way().failed(event, context.clock(), sent=sent)
    elif recipient.absence is not None and outcome.isdigit():
        recipient.absence.arrived(event, context.clock())
        if outcome in UNKNOWN_ROOM:
            recipient.absence.forget_arrivals(event.room)


def note_response(recipient: Recipient, outgoing: Outgoing) -> None:
    """A recipient with an absence has taken a delivery."""
    recipient.backed_off_until = 0.0
    absence, context = recipient.absence, recipient.context
    if absence is None:
        return
    if context.is_stored(outgoing.event):
        absence.arrived(outgoing.event, context.clock())
    else:
        absence.is_back()
