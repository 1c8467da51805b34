"""A TCP relay that delays, holds up or swallows what passes: the network between two servers going wrong.

On one machine a killed primary loses next to nothing, because loopback has replicated it all; so a test of
what replication lag costs has to make the lag.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Relay:
    """Listens on a port of 127.0.0.1 and passes bytes to another one, both ways. Runs in the test's loop."""

    def __init__(self, target: int, delay: float = 0.0) -> None:
        self.port = 0
        self.delay = delay
        """Seconds that bytes are on their way, in each direction."""
        self.swallow_replies = False
        """Whether what the target sends is thrown away."""
        self._target = target
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> Relay:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def hold(self) -> None:
        """From now on nothing passes, and connections stay open: a partition."""
        self._open.clear()

    def heal(self) -> None:
        """What was held up goes on."""
        self._open.set()

    def point_at(self, target: int) -> None:
        """New connections lead there, those that exist end: an address that moves to another server."""
        self._target = target
        for writer in self._writers:
            writer.transport.abort()

    async def stop(self) -> None:
        self._server.close()
        self.point_at(0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, onward = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        for source, sink, replies in ((reader, onward, False), (there, writer, True)):
            self._writers.add(sink)
            task = asyncio.create_task(self._pass_on(source, sink, replies))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, replies: bool) -> None:
        """One direction, until either end goes; each piece is late by the delay, whatever came before it."""
        loop = asyncio.get_running_loop()
        due: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def write() -> None:
            while True:
                at, data = await due.get()
                await asyncio.sleep(at - loop.time())
                await self._open.wait()
                if not data:
                    return
                if not (replies and self.swallow_replies):
                    sink.write(data)

        writing = asyncio.create_task(write())
        try:
            with suppress(ConnectionError):
                while data := await source.read(65536):
                    due.put_nowait((loop.time() + self.delay, data))
            due.put_nowait((loop.time() + self.delay, b""))  # a dead end's last bytes arrive, too
            await writing
        finally:
            writing.cancel()
            sink.transport.abort()
            self._writers.discard(sink)
