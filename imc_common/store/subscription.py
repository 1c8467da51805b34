"""Messages of a Redis channel, for as long as the process runs.

Redis keeps no message for a subscriber that is not connected. So a subscription is only for what may get
lost. It has a connection of its own, which is opened again after a loss.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import structlog

from imc_common.store.connection import RedisConnection
from imc_common.store.errors import ReplyError, StoreRefused, StoreUnreachable
from imc_common.store.reconnecting import Connect

CHECK_SECONDS: Final = 2.0
"""Between two PINGs. A connection on which nothing came in three times this time is ended."""
AGAIN_SECONDS: Final = 0.5
"""Least time between two attempts to connect; half as much again at most."""
REFUSED_SECONDS: Final = 60.0
"""Pause after the server refused the subscription."""

log = structlog.get_logger()


class Subscription:
    """Calls a function with each message of one channel."""

    def __init__(self, connect: Connect, channel: str, on_message: Callable[[bytes], None]) -> None:
        """``on_message`` must not raise."""
        self._connect = connect
        self._channel = channel.encode()
        self._on_message = on_message
        self._refused = ""

    async def run(self) -> None:
        """Follow the channel until cancelled. An outage of Redis is a pause in which messages are lost."""
        while True:
            with suppress(StoreUnreachable, StoreRefused):  # the other connections report it
                connection, _ = await self._connect()
                await self._follow(connection)
            pause = REFUSED_SECONDS if self._refused else AGAIN_SECONDS
            await asyncio.sleep(pause * random.uniform(1.0, 1.5))  # noqa: S311 # jitter

    async def _follow(self, connection: RedisConnection) -> None:
        """Pass messages on until the connection ends."""
        ended = asyncio.Event()
        connection.on_end = lambda _: ended.set()
        try:
            connection.listen(("SUBSCRIBE", self._channel), lambda reply: self._received(connection, reply))
            while not connection.ended:
                try:
                    async with asyncio.timeout(CHECK_SECONDS):
                        await ended.wait()
                except TimeoutError:
                    connection.ping(3 * CHECK_SECONDS)
        finally:
            connection.end("done")

    def _received(self, connection: RedisConnection, reply: Any) -> None:
        """One reply: to SUBSCRIBE, to PING, or a message."""
        if isinstance(reply, ReplyError):
            if not reply.transient or reply.code == "NOPERM":
                self._refused = str(reply)
                log.warning("subscription refused", channel=self._channel.decode(), reason=self._refused)
            connection.end(str(reply))
        elif isinstance(reply, list) and reply[0] == b"message":
            self._on_message(reply[2])
        else:
            self._refused = ""
