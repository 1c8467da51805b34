"""Plain messages with nothing else before them: one script handles many (`broadcast_messages.lua`)."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Final

from imc_worker.dispatcher import PendingEntry

MAX_BATCH: Final = 64
"""Messages per script."""

_MESSAGE: Final = [b"type", b"message"]
"""How the entry of a plain message begins (`imc_common.rooms.request.RoomRequest.to_fields`)."""


def leading_messages(
    entries: Sequence[PendingEntry],
    undelivered: Container[tuple[int, bytes]] = (),
    *,
    spans_shards: bool = True,
) -> list[list[list[int]]]:
    """For each script, the messages of each shard in it, in order, as places in `entries`.

    Only messages that have nothing but messages of their shard before them: what is behind another request
    has to wait for it. So do those behind a message in `undelivered`, named by shard and id. A script has at
    least two messages, and without ``spans_shards`` they are of one shard.
    """
    scripts: list[dict[int, list[int]]] = []
    latest: dict[int, dict[int, list[int]]] = {}  # that can take more messages, of each shard or of all
    sizes: dict[int, int] = {}
    closed: set[int] = set()  # shards where another request came
    for at, (shard, entry_id, fields) in enumerate(entries):
        if fields[:2] != _MESSAGE or (undelivered and (shard, entry_id) in undelivered):
            closed.add(shard)
        if shard in closed:
            continue
        group = 0 if spans_shards else shard
        size = sizes.get(group, 0)
        if size % MAX_BATCH == 0:
            latest[group] = {}
            scripts.append(latest[group])
        sizes[group] = size + 1
        latest[group].setdefault(shard, []).append(at)
    return [list(each.values()) for each in scripts if len(each) > 1 or len(next(iter(each.values()))) > 1]
