"""Escapes untrusted text for notices, log lines and terminals."""

from __future__ import annotations


def printable(text: str, limit: int = 200) -> str:
    """`text` in printable ASCII of at most `limit` characters; all others are escaped as in Python.

    Control characters could forge log lines or control a terminal, and bidirectional marks could change
    what a reader sees.
    """
    shown = text[: limit + 1]
    if not (shown.isascii() and shown.isprintable()):
        shown = shown.encode("unicode_escape").decode("ascii")
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."
