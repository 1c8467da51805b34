"""The arguments of `#history` and `#set history`, as the scripts read them. Pure: no clock is read here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

WISHES: Final = ("off", "join", "all")
"""Words for `#set history`, besides a number of messages or days."""

MORE: Final = "more"
"""What was left out: by a catch-up, or because one answer could not hold all."""

MAX_SHOWN: Final = 100
"""Messages that one `#history` shows, at most."""
DEFAULT_SHOWN: Final = 20
"""Messages that it shows if the user names no number and no time."""

_NUMBER = re.compile(r"[1-9][0-9]{0,4}")
_DURATION = re.compile(r"([1-9][0-9]{0,4})([mhd])")
_SECONDS = {"m": 60, "h": 3600, "d": 86400}


def span(words: Sequence[str]) -> str | None:
    """What of a history a user asks for: ``20`` messages, ``7200s`` back, ``@MS`` since the epoch, ``more``.

    Users write ``20``, ``2h``, ``since 2026-11-28`` (UTC), ``more``, or nothing, which is the empty string.
    None: it is none of these.
    """
    rest = [word.lower() for word in words]
    if rest[:1] == ["since"] and rest[1:] != [MORE]:
        rest = rest[1:] or ["since"]
    if len(rest) > 1:
        return None
    text = rest[0] if rest else ""
    if text in {"", MORE} or _NUMBER.fullmatch(text):
        return text
    if duration := _DURATION.fullmatch(text):
        return f"{int(duration[1]) * _SECONDS[duration[2]]}s"
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    return f"@{int(day.timestamp()) * 1000}" if day.year >= 1970 else None


def shown_at_most(text: str) -> int:
    """How many messages a `#history` with this `span` may show."""
    if not text:
        return DEFAULT_SHOWN
    return min(int(text), MAX_SHOWN) if text.isdecimal() else MAX_SHOWN


def wish(word: str) -> str | None:
    """What owners want their room to keep: ``off``, ``20`` messages, ``7d``; or from when on new members see
    it: ``join``, ``all``. None: it is none of these."""
    text = word.lower()
    days = _DURATION.fullmatch(text)
    return text if text in WISHES or _NUMBER.fullmatch(text) or (days and days[2] == "d") else None
