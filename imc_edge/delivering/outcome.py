"""How a delivery ended, and who must hear of it."""

from __future__ import annotations

from typing import Final

TIMEOUT: Final = "408"
"""Silence until Timer F; RFC 3261 §8.1.3.1 has it treated as a 408."""
TRANSPORT: Final = "503"
"""The transport failed towards every target; RFC 3261 §8.1.3.1 has it treated as a 503."""
NO_TARGET: Final = "no-target"
"""The recipient's domain leads nowhere."""
FORBIDDEN: Final = "403"
"""It leads where nothing may be sent to (`destinations`)."""
UNSENDABLE: Final = "unsendable"
"""The recipient's address cannot stand in a SIP message."""
EXPIRED: Final = "expired"
"""Its time was over before it could be sent (RFC 3428 §7)."""
SURPLUS: Final = "surplus"
"""Too many deliveries waited for this recipient already."""

GONE: Final = frozenset({"404", "410", "604"})
"""The recipient does not exist (any more); repeated, it costs the membership."""


def receipt_due(event_name: str, outcome: str) -> bool:
    """Whether the worker must hear of it: to withdraw an invitation, to drop a member that is no more."""
    return event_name == "invited" or outcome in GONE
