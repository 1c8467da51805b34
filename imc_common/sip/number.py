"""Numbers in headers: decimal digits only.

``int()`` also accepts signs, underscores, blanks and the digits of other scripts, so the text is matched
first.
"""

from __future__ import annotations

import re
from functools import lru_cache

_DIGITS = re.compile(r"[0-9]{1,10}+").fullmatch


@lru_cache(maxsize=1024)  # few values of Max-Forwards and Content-Length occur
def decimal(text: str, maximum: int) -> int | None:
    """The number in ``text`` (up to ten digits, leading zeros allowed); None for anything else."""
    if _DIGITS(text) is None:
        return None
    number = int(text)
    return number if number <= maximum else None
