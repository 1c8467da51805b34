"""What code that talks to Redis needs of a store. `Store` has all of it; tests bring smaller ones.

Each class that takes a store names the least of these that it needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from imc_common.scripts import Command
from imc_common.store.store import Entry


class CommandRunner(Protocol):
    """Runs pipelines."""

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """The replies, in order; `ReplyError` in place of a refused one's. Raises StoreUnreachable."""
        ...


class ScriptRunner(CommandRunner, Protocol):
    """Runs pipelines, and makes the commands that run the scripts of `lua/`."""

    def script(self, name: str, keys: Sequence[str], args: Sequence[str | bytes | int]) -> Command:
        """The command that runs this script."""
        ...


class DurableScriptRunner(ScriptRunner, Protocol):
    """Can wait until what was written is as safe as the setting `durability` asks for."""

    async def run(self, commands: Sequence[Command], *, durable: bool = False) -> list[Any]:
        """As `CommandRunner.run`; with `durable` it also raises NotDurable."""
        ...


class StreamReader(ScriptRunner, Protocol):
    """Reads streams, too."""

    async def read_new(
        self, group: str, streams: Sequence[str], count: int, block_ms: int | None
    ) -> list[tuple[str, list[Entry] | None]]:
        """New entries by stream, as `Store.read_new` describes it."""
        ...
