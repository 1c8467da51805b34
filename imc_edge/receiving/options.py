"""What we support: the response to OPTIONS (RFC 3261 §11), and the lists in refusals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from imc_common.bodies.encoding import ENCODINGS

ALLOW: Final = "MESSAGE, OPTIONS, CANCEL"
ACCEPT_ENCODING: Final = ", ".join(ENCODINGS)


class Capabilities:
    """The capability headers, from the settings."""

    def __init__(self, accept_types: Sequence[str]) -> None:
        """``text/plain`` is always accepted (RFC 3428 §9), so ``accept_types`` need not have it."""
        has_plain = {"text/plain", "text/*", "*/*"} & set(accept_types)
        self.accept = ", ".join(accept_types if has_plain else ("text/plain", *accept_types))
        self.options = [
            ("Allow", ALLOW),
            ("Accept", self.accept),
            ("Accept-Encoding", ACCEPT_ENCODING),
            ("Accept-Language", "en"),
            ("Supported", ""),
        ]
        """Headers of the 200 to OPTIONS (RFC 3261 §11.2)."""
