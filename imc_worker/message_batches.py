"""Plain messages that follow one another in a shard: one script handles many (`broadcast_messages.lua`)."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Final

from imc_worker.dispatcher import PendingEntry

MAX_BATCH: Final = 16
"""Messages per script."""

_MESSAGE: Final = [b"type", b"message"]
"""How the entry of a plain message begins (`imc_common.rooms.request.RoomRequest.to_fields`)."""


def leading_messages(
    entries: Sequence[PendingEntry], undelivered: Container[tuple[int, bytes]] = ()
) -> list[list[int]]:
    """Batches of plain messages, as places in `entries`, each batch of one shard and in order.

    Only messages that have nothing but messages of their shard before them: what is behind another request
    has to wait for it. So do those behind a message in `undelivered`, named by shard and id. A batch has at
    least two messages.
    """
    batches: list[list[int]] = []
    open_batches: dict[int, list[int] | None] = {}  # the last batch of each shard; None: another request came
    for at, (shard, entry_id, fields) in enumerate(entries):
        if fields[:2] != _MESSAGE or (undelivered and (shard, entry_id) in undelivered):
            open_batches[shard] = None
            continue
        batch = open_batches.get(shard, [])
        if batch is None:
            continue
        if not batch or len(batch) == MAX_BATCH:
            batch = open_batches[shard] = []
            batches.append(batch)
        batch.append(at)
    return [batch for batch in batches if len(batch) > 1]
