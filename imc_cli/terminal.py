"""Makes text from the network safe for a terminal."""

from __future__ import annotations


def terminal_safe(text: str) -> str:
    """``text`` with every unprintable character escaped, except line breaks.

    Control, format and bidirectional characters are unprintable. So a sender cannot move the cursor, change
    colours, the window title or the reading direction.
    """
    return "".join(
        char if char == "\n" or char.isprintable() else char.encode("unicode_escape").decode()
        for char in text.replace("\r\n", "\n")
    )
