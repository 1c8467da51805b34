"""Header names: case, compact forms, and which may occur only once (RFC 3261 §7.3.1 and §20)."""

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
"""The names as in the RFCs."""

_FOLDED = {name.lower(): name for name in _LONG} | _COMPACT

SPELLINGS = {name: name for name in _LONG} | _COMPACT | _FOLDED
"""The long name of each common spelling: one look-up for nearly every header."""

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
"""Headers whose value is not a list; a repeated one makes the request malformed (RFC 3261 §7.3.1)."""


def long_name(name: str) -> str:
    """The name as in the RFCs; an unknown name unchanged."""
    return SPELLINGS.get(name) or _FOLDED.get(name.lower(), name)


def key(name: str) -> str:
    """One key for all spellings of a name. For a known name it is the long name."""
    known = SPELLINGS.get(name)
    if known is None:
        lower = name.lower()
        known = _FOLDED.get(lower, lower)
    return known
