"""Header names: case, compact forms, and which may come only once (RFC 3261 sections 7.3.1 and 20)."""

from __future__ import annotations

_LONG = (
    "Accept",
    "Accept-Contact",
    "Accept-Encoding",
    "Accept-Language",
    "Alert-Info",
    "Allow",
    "Allow-Events",
    "Authentication-Info",
    "Authorization",
    "Auto-Submitted",
    "Call-ID",
    "Call-Info",
    "Contact",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "Content-Length",
    "Content-Type",
    "CSeq",
    "Date",
    "Error-Info",
    "Event",
    "Expires",
    "From",
    "Identity",
    "In-Reply-To",
    "Max-Breadth",
    "Max-Forwards",
    "MIME-Version",
    "Min-Expires",
    "Organization",
    "P-Asserted-Identity",
    "P-Preferred-Identity",
    "Path",
    "Priority",
    "Privacy",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Proxy-Require",
    "Reason",
    "Record-Route",
    "Refer-To",
    "Referred-By",
    "Reject-Contact",
    "Reply-To",
    "Request-Disposition",
    "Require",
    "Retry-After",
    "Route",
    "Server",
    "Session-Expires",
    "Subject",
    "Subscription-State",
    "Supported",
    "Timestamp",
    "To",
    "Unsupported",
    "User-Agent",
    "Via",
    "Warning",
    "WWW-Authenticate",
)

_COMPACT = {
    "a": "Accept-Contact",
    "b": "Referred-By",
    "c": "Content-Type",
    "d": "Request-Disposition",
    "e": "Content-Encoding",
    "f": "From",
    "i": "Call-ID",
    "j": "Reject-Contact",
    "k": "Supported",
    "l": "Content-Length",
    "m": "Contact",
    "o": "Event",
    "r": "Refer-To",
    "s": "Subject",
    "t": "To",
    "u": "Allow-Events",
    "v": "Via",
    "x": "Session-Expires",
    "y": "Identity",
}

LONG_NAMES = frozenset(_LONG)
"""The names as the RFCs write them."""

_FOLDED = {name.lower(): name for name in _LONG} | _COMPACT

SPELLINGS = {name: name for name in _LONG} | _COMPACT | _FOLDED
"""Usual spellings to the long name: one look-up for nearly every header that comes in."""

SINGLE = frozenset(
    {
        "From",
        "To",
        "Call-ID",
        "CSeq",
        "Max-Forwards",
        "Content-Length",
        "Content-Type",
        "Content-Disposition",
        "Date",
        "Expires",
        "Auto-Submitted",
        "Timestamp",
    }
)
"""Headers whose value is no list, so that a second one makes the request malformed (section 7.3.1)."""


def long_name(name: str) -> str:
    """The name as the RFCs write it; a name nobody knows stays as it is."""
    return SPELLINGS.get(name) or _FOLDED.get(name.lower(), name)


def key(name: str) -> str:
    """What the spellings of one name have in common; for known names the name as the RFCs write it."""
    known = SPELLINGS.get(name)
    if known is None:
        lower = name.lower()
        known = _FOLDED.get(lower, lower)
    return known
