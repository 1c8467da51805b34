"""What we say of ourselves: the answer to OPTIONS (RFC 3261 §11), and the lists that refusals repeat."""

from __future__ import annotations

from collections.abc import Sequence

ALLOW = "MESSAGE, OPTIONS, CANCEL"
ACCEPT_ENCODING = "identity"


class Abilities:
    """The capability headers, from the settings."""

    def __init__(self, accept_types: Sequence[str]) -> None:
        """``accept_types`` need not have ``text/plain``, which is always taken (RFC 3428 §9)."""
        plain_is_told = {"text/plain", "text/*", "*/*"} & set(accept_types)
        self.accept = ", ".join(accept_types if plain_is_told else ("text/plain", *accept_types))
        self.options = [
            ("Allow", ALLOW),
            ("Accept", self.accept),
            ("Accept-Encoding", ACCEPT_ENCODING),
            ("Accept-Language", "en"),
            ("Supported", ""),
        ]
        """Headers of the 200 to OPTIONS (RFC 3261 §11.2)."""
