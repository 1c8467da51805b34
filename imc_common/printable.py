"""Text from outside made fit to be shown: in a notice, a log line, on a terminal."""

from __future__ import annotations


def printable(text: str, limit: int = 200) -> str:
    """`text` in printable ASCII, anything else escaped as Python writes it, cut at `limit` characters.

    Control characters could forge log lines or drive a terminal, bidirectional marks could reverse what a
    reader sees; an escape is ugly but cannot lie.
    """
    shown = text[: limit + 1]
    if not (shown.isascii() and shown.isprintable()):
        shown = shown.encode("unicode_escape").decode("ascii")
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."
