"""How a delivery can end other than with a 2xx or a status of the recipient's."""

from __future__ import annotations

from typing import Final

from imc_common.rooms import delivery_reports

AS_TEXT: Final = delivery_reports.AS_TEXT
"""The recipient has refused CPIM and accepted the text in it."""
TIMEOUT: Final = "408"
"""No response until Timer F; RFC 3261 §8.1.3.1 has it treated as a 408."""
TRANSPORT: Final = "503"
"""The transport failed towards every target; RFC 3261 §8.1.3.1 has it treated as a 503."""
NO_TARGET: Final = "no-target"
"""The recipient's domain cannot be resolved."""
FORBIDDEN: Final = "403"
"""All targets are addresses that nothing may be sent to (`destinations`)."""
UNSENDABLE: Final = "unsendable"
"""The recipient's address cannot stand in a SIP message."""
ERROR: Final = "error"
"""An error in this edge, which the log shows; it must not end more than the delivery in which it occurs."""
EXPIRED: Final = "expired"
"""The message expired before it could be sent (RFC 3428 §7)."""
SURPLUS: Final = "surplus"
"""Too many deliveries were waiting for this recipient already."""
REFUSED: Final = "refused"
"""The recipient could not take this message several times, but a later one: it is not sent again."""
WITHDRAWN: Final = delivery_reports.WITHDRAWN
"""The INVITE belongs to an earlier stay of the user in the room."""
NOT_SENT: Final = delivery_reports.NOT_SENT
"""The recipient is away, and gets this message from the history when it is back (`absence.py`)."""
