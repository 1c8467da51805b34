"""The command that reads streams."""

from __future__ import annotations

from collections.abc import Sequence

from imc_common import keys
from imc_common.store.pipe import Command


def read_command(group: str, streams: Sequence[str], count: int, block_ms: int | None) -> Command:
    """Hands out the next entries of each stream, at most `count`; waits for some if `block_ms` is given.

    NOACK, so that Redis keeps no list of pending entries: handled ones are deleted, and what is still there
    says the same. That list costs, for each entry, a command of its own in the append-only file, and another
    one to acknowledge it.
    """
    wait = () if block_ms is None else ("BLOCK", block_ms)
    head = ("XREADGROUP", "GROUP", group, keys.CONSUMER, "COUNT", count)
    return (*head, *wait, "NOACK", "STREAMS", *streams, *([">"] * len(streams)))
