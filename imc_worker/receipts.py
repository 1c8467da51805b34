"""Handles a delivery that failed: the edge reports it as an entry of type `receipt`."""

from __future__ import annotations

from imc_common.rooms.receipts import consequence
from imc_common.settings import Settings
from imc_worker.actions import Action, Fields, owned_rooms_of, private_rooms_of

FAILURES_TTL_MS = 24 * 3600 * 1000
"""How long failed deliveries to a member are remembered: a day, so that they add up in a quiet room, too."""


class Receipts:
    """Chooses the action: withdraw an invitation, count the failure against a member, or none."""

    def __init__(self, settings: Settings) -> None:
        self._actions = {
            "withdraw_invitation": Action("withdraw_invitation"),
            "note_client": Action("note_client"),
            "drop_unreachable": Action(
                "drop_unreachable",
                (private_rooms_of(b"from"), owned_rooms_of(b"from")),
                (settings.evict_after, FAILURES_TTL_MS, int(settings.announce_joins)),
            ),
        }

    def action(self, fields: Fields) -> Action | None:
        """None: nothing follows from this delivery, the receipt is only discarded."""
        event, outcome = fields.get(b"event", b""), fields.get(b"status", b"")
        found = consequence(event.decode(), outcome.decode())
        return self._actions[found] if found else None
