"""Numbers in headers: decimal digits and nothing else.

``int()`` also takes signs, underscores, blanks and the digits of every script, so it is asked only after
the text has been matched.
"""

from __future__ import annotations

import re
from functools import lru_cache

_DIGITS = re.compile(r"[0-9]{1,10}+").fullmatch


@lru_cache(maxsize=1024)  # Max-Forwards and Content-Length are few and small
def decimal(text: str, maximum: int) -> int | None:
    """The number that ``text`` (up to ten digits, leading zeros allowed) spells; None for anything else."""
    if _DIGITS(text) is None:
        return None
    number = int(text)
    return number if number <= maximum else None
