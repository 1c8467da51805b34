"""Commands of the management interface, of which none may be refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from imc_common.store import Command, ReplyError
from imc_common.store.protocols import CommandRunner


async def run_all(store: CommandRunner, commands: Sequence[Command]) -> list[Any]:
    """Their replies, in order. Raises the first ReplyError among them, and StoreUnreachable."""
    replies = await store.run(commands)
    for reply in replies:
        if isinstance(reply, ReplyError):
            raise reply
    return replies
