"""Date (RFC 3261 §20.17): RFC 1123 dates, in GMT only."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DATE = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),[ \t]++([0-9]{2})[ \t]++([A-Za-z]{3})[ \t]++([0-9]{4})"
    r"[ \t]++([0-9]{2}):([0-9]{2}):([0-9]{2})[ \t]++GMT",
    re.IGNORECASE | re.ASCII,
).fullmatch


def parse_date(text: str) -> datetime | None:
    """The date; None if the text is not one. The day of the week is not checked."""
    match = _DATE(text)
    if match is None or match[2].lower() not in _MONTHS:
        return None
    day, month, year, hour, minute, second = match.groups()
    try:
        return datetime(
            int(year), _MONTHS.index(month.lower()) + 1, int(day), int(hour), int(minute), int(second), 0, UTC
        )
    except ValueError:
        return None
