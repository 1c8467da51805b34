"""The command that reads new stream entries."""

from __future__ import annotations

from collections.abc import Sequence

from imc_common import keys
from imc_common.scripts import Command


def xreadgroup_command(group: str, streams: Sequence[str], count: int, block_ms: int | None) -> Command:
    """XREADGROUP for the next entries of each stream, at most `count`; with `block_ms` it waits for some.

    NOACK: Redis keeps no list of pending entries. Handled entries are deleted, so the entries that remain are
    the pending ones. The list would cost one more command in the append-only file for each entry, and another
    one to acknowledge it.
    """
    wait = () if block_ms is None else ("BLOCK", block_ms)
    head = ("XREADGROUP", "GROUP", group, keys.CONSUMER, "COUNT", count)
    return (*head, *wait, "NOACK", "STREAMS", *streams, *([">"] * len(streams)))
