"""Long lists cut into bodies that each fit one MESSAGE over UDP."""

from __future__ import annotations

from collections.abc import Sequence

MAX_MESSAGE = 1300
"""Bytes; a longer MESSAGE needs a transport with congestion control (RFC 3428 §8)."""

HEADERS = 450
"""Bytes of the start line and headers of a delivery, at most, without the addresses, the Call-ID of the
request and extra headers: those vary, so each list counts them."""

_MIN_BODY = 200  # bytes, however many extra headers there are


def pages(title: str, lines: Sequence[str], varying_headers: int) -> list[str]:
    """The bodies that show `lines` in order under `title`, numbered if there are several.

    ``varying_headers``: bytes of a delivery's headers that `HEADERS` does not count.
    """
    size = max(MAX_MESSAGE - HEADERS - varying_headers, _MIN_BODY)
    left = size - len(f"*** {title}, part 999 of 999:")
    parts: list[list[str]] = [[]]
    free = left
    for line in lines:
        length = len(line.encode()) + 1
        if length > free and parts[-1]:
            parts.append([])
            free = left
        parts[-1].append(line)
        free -= length
    if len(parts) == 1:
        return ["\n".join((f"{title}:", *lines))]
    return [
        "\n".join((f"{title}, part {number} of {len(parts)}:", *part)) for number, part in enumerate(parts, 1)
    ]
