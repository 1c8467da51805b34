"""What a stream's consumer group shows: how many entries are pending."""

from __future__ import annotations

from typing import Any

from imc_common import keys


def count_pending(length: int, groups: Any) -> int:
    """How many of a stream's entries were read and are not handled, from its length and XINFO GROUPS' reply.

    Handled entries are deleted, so these are all entries but those still to be read (the group's lag). 0 if
    the reply is an error (there is no such stream yet), or if Redis does not know the lag because entries
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
