"""The parts of `Store` that its users need. Tests implement the smaller ones.

Each class that uses a store declares the smallest protocol that it needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from imc_common.scripts import Command
from imc_common.store.store import Entry


class CommandRunner(Protocol):
    """Runs pipelines."""

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """The replies, in order; a refused command has a `ReplyError`. Raises StoreUnreachable."""
        ...


class ScriptRunner(CommandRunner, Protocol):
    """Runs pipelines and builds the commands that run the scripts of `lua/`."""

    def script(self, name: str, keys: Sequence[str], args: Sequence[str | bytes | int]) -> Command:
        """The command that runs this script."""
        ...


class DurableScriptRunner(ScriptRunner, Protocol):
    """Also waits until all writes are as safe as the setting `durability` requires."""

    async def run(self, commands: Sequence[Command], *, durable: bool = False) -> list[Any]:
        """As `CommandRunner.run`; with `durable` it also raises NotDurable."""
        ...


class StreamReader(ScriptRunner, Protocol):
    """Also reads streams."""

    async def read_new(
        self, group: str, streams: Sequence[str], count: int, block_ms: int | None
    ) -> list[tuple[str, list[Entry] | None]]:
        """The next entries by stream; see `Store.read_new`."""
        ...
