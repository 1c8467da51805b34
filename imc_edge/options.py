"""What we say of ourselves: the answer to OPTIONS (RFC 3261 §11), and the lists that refusals repeat."""

from __future__ import annotations

from collections.abc import Sequence

ALLOW = "MESSAGE, OPTIONS, CANCEL"
ACCEPT_ENCODING = "identity"


class Abilities:
    """The capability headers, from the settings."""

    def __init__(self, accept_types: Sequence[str]) -> None:
        """``accept_types`` without ``text/plain``, which is always taken (RFC 3428 §9)."""
        self.accept = ", ".join(dict.fromkeys(("text/plain", *accept_types)))
        self.options = [
            ("Allow", ALLOW),
            ("Accept", self.accept),
            ("Accept-Encoding", ACCEPT_ENCODING),
            ("Accept-Language", "en"),
            ("Supported", ""),
        ]
        """Headers of the 200 to OPTIONS (RFC 3261 §11.2)."""
