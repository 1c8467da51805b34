"""What a stream's consumer group tells about it."""

from __future__ import annotations

from typing import Any

from imc_common import keys


def in_hand(length: int, groups: Any) -> int:
    """How many of a stream's entries were read and are not done: of its length, and XINFO GROUPS' reply.

    Handled entries are deleted, so these are all that nobody still has to read (the group's lag). An error
    (no such stream yet) counts none, nor does a lag that Redis cannot tell, because entries in front of it
    were deleted unread.
    """
    if not isinstance(groups, list):
        return 0
    for group in groups:
        pairs = iter(group.items() if isinstance(group, dict) else zip(group[::2], group[1::2], strict=True))
        about = dict(pairs)
        lag = about.get(b"lag")
        if about.get(b"name", b"").startswith(keys.GROUPS.encode()) and isinstance(lag, int):
            return max(0, length - lag)
    return 0
