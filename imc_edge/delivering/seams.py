"""What the sending side needs of Redis: the parts of store, consumer and ownership that it uses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from imc_common.scripts import Command


class Store(Protocol):
    """Scripts and pipelines, and the secret that all edges share."""

    secret: bytes

    def script(self, name: str, keys: list[str], args: list[str | bytes | int]) -> Command: ...

    async def run(self, commands: list[Command]) -> list[Any]: ...


class Batch(Protocol):
    """Entries of one shard, in order; `again`: they were handed out before."""

    shard: int
    entries: list[tuple[bytes, list[bytes]]]
    again: bool


class Consumer(Protocol):
    """The reader of the out-streams."""

    async def read(self) -> Sequence[Batch]: ...

    def resync(self, shard: int, delay: float = 0.0) -> None: ...


class Ownership(Protocol):
    """Which shards are this edge's."""

    def owned(self) -> frozenset[int]: ...

    async def hold_durably(self, shards: Iterable[int]) -> frozenset[int]: ...
