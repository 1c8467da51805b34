"""What becomes of a delivery that failed: the edge reports it as an entry of type `receipt`."""

from __future__ import annotations

from imc_common.settings import Settings
from imc_worker.actions import Action, Fields, owned_rooms_of, private_rooms_of, unreachable

FAILURES_TTL_MS = 24 * 3600 * 1000
"""How long failed deliveries to a member are remembered: a day, so that a quiet room sheds its dead, too."""

GONE_FOR_GOOD = frozenset((b"404", b"410", b"604"))
"""Answers that say that the user is not there, and not only for now (RFC 3261 §21.4.5, §21.4.11, §21.6.3)."""


class Receipts:
    """Chooses the action: withdraw an invitation, count a dead member, or nothing."""

    def __init__(self, settings: Settings) -> None:
        self._withdraw = Action("withdraw_invitation")
        self._drop = Action(
            "drop_unreachable",
            (unreachable, private_rooms_of(b"from"), owned_rooms_of(b"from")),
            (settings.evict_after, FAILURES_TTL_MS),
        )

    def action(self, fields: Fields) -> Action | None:
        """None: nothing depends on this delivery, the receipt is only to be discarded."""
        if fields.get(b"event") == b"invited":
            return self._withdraw
        if fields.get(b"status") in GONE_FOR_GOOD:
            return self._drop
        return None
