"""Plain messages that follow one another in a shard: one script handles many (`broadcast_messages.lua`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from imc_worker.dispatcher import Handed

MOST: Final = 16
"""Messages of one script."""

_MESSAGE: Final = [b"type", b"message"]
"""How the entry of a plain message begins (`imc_common.rooms.request.RoomRequest.to_fields`)."""


def leading_messages(entries: Sequence[Handed]) -> list[list[int]]:
    """The places of plain messages with nothing else of their shard before them, by shard, in order.

    Those of one run go into one script; a message that has no other beside it is left out.
    """
    runs: list[list[int]] = []
    last: dict[int, list[int] | None] = {}  # of each shard its last run; None: something else has come
    for at, (shard, _, fields) in enumerate(entries):
        if fields[:2] != _MESSAGE:
            last[shard] = None
            continue
        run = last.get(shard, [])
        if run is None:
            continue
        if not run or len(run) == MOST:
            run = last[shard] = []
            runs.append(run)
        run.append(at)
    return [run for run in runs if len(run) > 1]
