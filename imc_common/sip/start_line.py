"""Request-Line and Status-Line (RFC 3261 §7.1 and §7.2)."""

from __future__ import annotations

import re
from typing import NamedTuple

from imc_common.sip.grammar import TOKEN

_TOKEN = re.compile(TOKEN).fullmatch
_VERSION = re.compile(r"SIP/[0-9]++\.[0-9]++", re.IGNORECASE | re.ASCII).fullmatch
_STATUS_LINE = re.compile(r"SIP/2\.0 ([1-6][0-9]{2})(?>(?: (.*+))?)", re.IGNORECASE | re.ASCII).fullmatch
_COMMON_METHODS = frozenset({"ACK", "BYE", "CANCEL", "INVITE", "MESSAGE", "OPTIONS", "REGISTER"})


class RequestLine(NamedTuple):
    """A Request-Line. ``well_formed`` is False if its blanks are wrong; it is parsed to send a 400."""

    method: str
    uri: str
    version: str
    well_formed: bool = True


class StatusLine(NamedTuple):
    """A Status-Line."""

    status: int
    reason: str


def parse_start_line(line: str) -> RequestLine | StatusLine | None:
    """The parsed start line; None if it is not one of SIP.

    Exactly one blank separates the three parts of a Request-Line (RFC 3261 §7.1). A line with other blanks
    (RFC 4475 §3.1.2.7 to §3.1.2.10) is parsed, so that a response can refuse it.
    """
    pieces = line.split(" ")
    if len(pieces) == 3 and pieces[2] == "SIP/2.0" and pieces[0] in _COMMON_METHODS and pieces[1]:
        return RequestLine(pieces[0], pieces[1], "SIP/2.0")
    if line[:4].upper() == "SIP/":
        match = _STATUS_LINE(line)
        return None if match is None else StatusLine(int(match[1]), match[2] or "")
    if len(pieces) == 3 and _TOKEN(pieces[0]) and pieces[1] and _VERSION(pieces[2]):
        return RequestLine(pieces[0], pieces[1], pieces[2].upper())
    pieces = [piece for piece in line.replace("\t", " ").split(" ") if piece]
    if len(pieces) < 2 or not _TOKEN(pieces[0]) or not _VERSION(pieces[-1]):
        return None
    return RequestLine(pieces[0], " ".join(pieces[1:-1]), pieces[-1].upper(), well_formed=False)
