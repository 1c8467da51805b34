"""Hosts in URIs and Vias (RFC 3261 §25.1, ``host``; RFC 5118 for IPv6)."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

from imc_common.sip.grammar import HEX

HOST = rf"[A-Za-z0-9_.\-]++|\[(?>(?:{HEX}|[:.])+)\]"
"""Pattern of a host; ``check_host`` says whether it is valid."""

# The last label of a name starts with a letter. So "127.1", "0x7f000001" and "2130706433", which resolvers
# read as 127.0.0.1, are not valid. DNS has no underscore, but names in container networks do.
_LABEL = r"[A-Za-z0-9_][A-Za-z0-9_\-]*+"
# The grammar of RFC 3261 has one colon too many before an embedded IPv4 address, as RFC 2373 had. RFC 5118
# §4.10 requires that both forms are accepted.
_EXTRA_COLON = re.compile(rf"(?>(?:{HEX}|:{HEX})*):::[0-9]++(?:\.[0-9]++){{3}}").fullmatch
_NAME = re.compile(rf"(?>(?:{_LABEL}\.(?=[A-Za-z0-9_]))*)[A-Za-z_][A-Za-z0-9_\-]*+\.?+").fullmatch


@lru_cache(maxsize=1024)
def check_host(text: str) -> str | None:
    """The host in lower case, IPv6 in brackets; None if it is neither a name nor an address."""
    if text[0] == "[":
        inner = text[1:-1].lower()
        if _EXTRA_COLON(inner):
            inner = inner.replace(":::", "::")
        return f"[{inner}]" if _is_ipv6(inner) else None
    if _NAME(text):
        return text.lower()
    return text if _is_ipv4(text) else None


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True
