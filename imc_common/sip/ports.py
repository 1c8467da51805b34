"""The default ports of SIP (RFC 3261 §19.1.2)."""

from __future__ import annotations

from typing import Final

SIP_PORT: Final = 5060
SIPS_PORT: Final = 5061
DEFAULT_PORTS: Final = {"udp": SIP_PORT, "tcp": SIP_PORT, "tls": SIPS_PORT}
"""By transport."""
