"""Who has sent the same text as just before: perhaps a program that answers every message.

The worker decides whether it is one (`lua/include/echo.lua`). An edge only points it to the candidates.
"""

from __future__ import annotations

MAX_KNOWN = 8192  # not Final, which mypyc would inline: tests lower it
"""Senders that are remembered. If there are more, all are forgotten: a program is recognised a text later."""


class Repeats:
    """The last text of each sender, as a hash."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def is_repeat(self, sender: str, text: bytes) -> bool:
        """Whether this is the sender's last text once more."""
        digest, last = hash(text), self._last
        if last.get(sender) == digest:
            return True
        if len(last) >= MAX_KNOWN:
            last.clear()
        last[sender] = digest
        return False
