"""A TCP relay that delays, pauses or drops bytes, to simulate a bad network between two servers.

On one machine replication has almost no lag, so a killed primary loses almost nothing. A test of a failover
has to create the lag.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Relay:
    """Listens on a port of 127.0.0.1 and relays bytes to and from another one.

    Runs in the test's event loop.
    """

    def __init__(self, target: int, delay: float = 0.0) -> None:
        self.port = 0
        self.delay = delay
        """Seconds of delay in each direction."""
        self.drop_replies = False
        """Whether bytes from the target are discarded."""
        self._target = target
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> Relay:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def pause(self) -> None:
        """Relay nothing from now on, but keep connections open, as in a network partition."""
        self._open.clear()

    def resume(self) -> None:
        """Relay again, beginning with the bytes that waited."""
        self._open.set()

    def point_at(self, target: int) -> None:
        """Relay new connections to ``target`` and close the existing ones, as when an address moves."""
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
        """Relay one direction until either end closes; each piece has the same delay."""
        loop = asyncio.get_running_loop()
        due: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def write() -> None:
            while True:
                at, data = await due.get()
                await asyncio.sleep(at - loop.time())
                await self._open.wait()
                if not data:
                    return
                if not (replies and self.drop_replies):
                    sink.write(data)

        writing = asyncio.create_task(write())
        try:
            with suppress(ConnectionError):
                while data := await source.read(65536):
                    due.put_nowait((loop.time() + self.delay, data))
            due.put_nowait((loop.time() + self.delay, b""))  # bytes sent before the close still arrive
            await writing
        finally:
            writing.cancel()
            sink.transport.abort()
            self._writers.discard(sink)
