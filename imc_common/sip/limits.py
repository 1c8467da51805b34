"""How large the parts of a message may be; what is larger is refused before it is looked at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, counts in pieces. The statuses are those of RFC 3261 section 21.4."""

    message: int = 65_535
    """Start line, headers and body together: 513."""
    head: int = 8_192
    """Start line and headers: 513."""
    header: int = 2_048
    """One header field, name and continuation lines included: 513."""
    headers: int = 128
    """Header fields: 513."""
    vias: int = 70
    """Via values; as many as Max-Forwards lets a sane request collect: 513."""
    uri: int = 1_024
    """Request-URI: 414. Other servers take 256, which a GRUU (RFC 5627) with parameters can pass."""
    method: int = 64
    """Method name: 400. RFC 4475 section 3.1.1.2 (intmeth) has one of 43."""
    body: int = 8_192
    """Body: 413."""


DEFAULT = Limits()
