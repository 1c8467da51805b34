"""Which failed deliveries have a consequence for a room, and which: edges and workers have to agree on it.

An edge reports such a delivery to the room's worker, in an entry of type `receipt`; all others only count.
"""

from __future__ import annotations

from typing import Final, Literal

GONE: Final = frozenset({"404", "410", "604"})
"""Responses that say that the user does not exist, now and later (RFC 3261 §21.4.5, §21.4.11, §21.6.3)."""

Consequence = Literal["withdraw_invitation", "drop_unreachable"]
"""The script that a worker runs."""


def consequence(event_name: str, outcome: str) -> Consequence | None:
    """What follows from the delivery of such an event that failed with this outcome; None: nothing."""
    if event_name == "invited":
        return "withdraw_invitation"  # whatever the reason, the user does not know of the invitation
    if outcome in GONE:
        return "drop_unreachable"  # after `evict_after` of them the member is removed
    return None
