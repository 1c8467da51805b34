"""Which ended deliveries have a consequence for a room, and which: edges and workers have to agree on it.

An edge reports such a delivery to the room's worker, in an entry of type `receipt`; all others only count.
"""

from __future__ import annotations

from typing import Final, Literal

from imc_common.rooms.event import NO_HISTORY, REPLAY, Event

GONE: Final = frozenset({"404", "410", "604"})
"""Responses that say that the user does not exist, now and later (RFC 3261 §21.4.5, §21.4.11, §21.6.3)."""

NOT_SENT: Final = "away"
"""The outcome of a delivery that an edge did not try, because it knows that the recipient is away."""

AWAY: Final = GONE | {"408", "480", "500", "503", "504", "no-target", "surplus", NOT_SENT}
"""Outcomes that say that nobody is there now. All others refuse this message, and say nothing of the next.

404, 410 and 604 are among them: registrars respond so for a phone that is switched off (RFC 3261 §21.4.5).
"""


def is_stored(event: Event) -> bool:
    """Whether a failure of this event leaves something to hand out later, if rooms keep messages at all."""
    return event.name == "message" and event.history_id != NO_HISTORY and event.catch_up != REPLAY


AS_TEXT: Final = "200-as-text"
"""The outcome of a message in CPIM that its recipient has accepted only as text."""

Consequence = Literal["withdraw_invitation", "drop_unreachable", "mark_away", "note_client"]
"""The script that a worker runs."""


def consequence(event_name: str, outcome: str, *, history: bool = False) -> Consequence | None:
    """What follows from the delivery of such an event that ended with this outcome; None: nothing.

    ``history``: the event is in its room's history, so a recipient that is away gets it later.
    """
    if outcome == AS_TEXT:
        return "note_client"
    if event_name == "invited":
        return "withdraw_invitation"  # whatever the reason, the user does not know of the invitation
    if history:
        return "mark_away" if event_name == "message" and outcome in AWAY else None
    if outcome in GONE:
        return "drop_unreachable"  # after `evict_after` of them the member is removed
    return None
