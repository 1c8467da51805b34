"""Size limits for the parts of a message. A larger part is refused before it is parsed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, or counts. Beyond a limit the request gets the status named here."""

    message: int = 65_535
    """Start line, headers and body together: 513."""
    head: int = 8_192
    """Start line and headers: 513."""
    header: int = 2_048
    """One header field, name and continuation lines included: 513."""
    headers: int = 128
    """Header fields: 513."""
    vias: int = 70
    """Via values, as many as Max-Forwards: 70 allows: 513."""
    uri: int = 1_024
    """Request-URI: 414. Other servers allow 256, but a GRUU (RFC 5627) with parameters can be longer."""
    method: int = 64
    """Method name: 400. RFC 4475 §3.1.1.2 (intmeth) has one of 43."""
    body: int = 8_192
    """Body: 413."""


DEFAULT = Limits()
