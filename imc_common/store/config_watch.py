"""What all processes agreed on when they started, checked while they run: hash_size, key layout, secret.

With another secret a request has another identity, and with another hash_size a room is in another shard. So
no process may go on beside one that started after Redis lost its data (FLUSHALL, an empty replica).
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from imc_common import keys
from imc_common.scripts import Command
from imc_common.store.errors import ReplyError, StoreRefused, StoreUnreachable
from imc_common.store.protocols import CommandRunner
from imc_common.store.startup_checks import LAYOUT

CHECK_SECONDS: Final = 1.0
"""Between two checks. A process that starts within this time after a loss may write other values first."""

_log = structlog.get_logger()


class ConfigWatch:
    """Writes what is missing again, and ends the process when something differs."""

    def __init__(self, store: CommandRunner, hash_size: int, secret: bytes) -> None:
        self._store = store
        self._agreed = {"hash_size": str(hash_size), "layout": LAYOUT, "secret": secret.hex()}

    async def run(self) -> None:
        """Check until cancelled. Raises StoreRefused."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            await self.check()

    async def check(self) -> None:
        """Check once; nothing while Redis is unreachable. Raises StoreRefused if something differs."""
        reading: Command = ("HMGET", keys.CONFIG, *self._agreed)
        try:
            (found,) = await self._store.run([reading])
            if isinstance(found, list) and None in found:
                found = await self._write_again(reading)
        except StoreUnreachable:
            return
        if isinstance(found, ReplyError):
            if found.transient:
                return
            raise StoreRefused(f"cannot read {keys.CONFIG}: {found}")
        differing = [
            name
            for (name, agreed), value in zip(self._agreed.items(), found, strict=True)
            if value is not None and value.decode(errors="replace") != agreed
        ]
        if differing:
            raise StoreRefused(
                f"{keys.CONFIG} in Redis changed while this process ran: another {' and '.join(differing)}. "
                "Another process started after Redis lost its data, or it is the data of another service. "
                "Start this process again to use what is there"
            )

    async def _write_again(self, reading: Command) -> list[bytes | None] | ReplyError:
        """Write what is missing, unless another process has done it; returns what is there then."""
        writing: list[Command] = [
            ("HSETNX", keys.CONFIG, name, value) for name, value in self._agreed.items()
        ]
        *written, found = await self._store.run([*writing, reading])
        refused = next((str(reply) for reply in written if isinstance(reply, ReplyError)), "")
        _log.error(
            "redis lost its data",
            missing=keys.CONFIG,
            written_again=not refused,
            reason=refused or "rooms and accepted requests may be lost too: look at FLUSHALL and failovers",
        )
        result: list[bytes | None] | ReplyError = found
        return result
