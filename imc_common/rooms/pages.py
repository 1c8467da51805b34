"""Long lists cut into bodies that each fit one MESSAGE over UDP."""

from __future__ import annotations

from collections.abc import Sequence

MAX_MESSAGE = 1300
"""Bytes; a longer MESSAGE needs a transport with congestion control (RFC 3428 §8)."""

HEADERS = 520
"""Bytes reserved for the start line and headers of a delivery: about 450 with addresses of 60 characters. If
they need more, the delivery goes over TCP, like any large message."""

_MIN_BODY = 200  # bytes, however many extra headers there are


def pages(title: str, lines: Sequence[str], extra_headers: Sequence[str]) -> list[str]:
    """The bodies that show `lines` in order under `title`, numbered if there are several. ASCII."""
    size = max(MAX_MESSAGE - HEADERS - sum(len(line) + 2 for line in extra_headers), _MIN_BODY)
    left = size - len(f"*** {title}, part 999 of 999:")
    parts: list[list[str]] = [[]]
    free = left
    for line in lines:
        if len(line) + 1 > free and parts[-1]:
            parts.append([])
            free = left
        parts[-1].append(line)
        free -= len(line) + 1
    if len(parts) == 1:
        return ["\n".join((f"{title}:", *lines))]
    return [
        "\n".join((f"{title}, part {number} of {len(parts)}:", *part)) for number, part in enumerate(parts, 1)
    ]
