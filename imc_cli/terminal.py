"""What came off the wire, made fit for a terminal."""

from __future__ import annotations


def shown(text: str) -> str:
    """``text`` with line breaks kept and every other character that does not print escaped.

    So no sender can move the cursor, change colours, retitle the window, or turn the reading direction round:
    control, format and bidirectional characters are all not printable.
    """
    return "".join(
        char if char == "\n" or char.isprintable() else char.encode("unicode_escape").decode()
        for char in text.replace("\r\n", "\n")
    )
