"""MI through a FIFO, as OpenSIPS's mi_fifo serves it.

Reply FIFOs belong to the clients. They are opened only inside the configured folder, by a bare name, and only
if they are FIFOs without a second name: a client that can write to our FIFO must not make us write elsewhere.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import structlog

from imc_common.errors import ImcError
from imc_worker.mi.fifo_protocol import FifoParser, FifoRequest

MODE = 0o660
"""Permissions of the FIFO, as in mi_fifo: user and group."""
CHECK_SECONDS = 5.0
"""Between two checks that the FIFO is still ours."""
REPLY_TRIES = 5
REPLY_PAUSE = 0.08
"""A client may open its reply FIFO shortly after it sent the request: 4 pauses, as in mi_fifo."""
WRITE_SECONDS = 10.0
"""Time for a client to read its reply."""
INCOMPLETE_SECONDS = 2.0
"""Time for the rest of a request to arrive."""
MAX_AT_ONCE = 16

Handle = Callable[[FifoRequest], Awaitable[str | None]]

log = structlog.get_logger()


class FifoError(ImcError):
    """The FIFO cannot be served; says why."""


class Fifo:
    """Serves one FIFO. If another process serves it, this one waits until that one ends."""

    def __init__(self, path: Path, reply_dir: Path, handle: Handle) -> None:
        """``handle(request)`` returns the text of the reply, None for none, and does not raise."""
        self._path = path
        self._replies = reply_dir
        self._handle = handle
        self._parser = FifoParser()
        self._tasks: set[asyncio.Task[None]] = set()
        self._reader = self._writer = -1
        self._fed = 0.0
        self._standing_by = False
        self._slots = asyncio.Semaphore(MAX_AT_ONCE)

    async def run(self) -> None:
        """Serve until cancelled."""
        try:
            while True:
                try:
                    self.open()
                except (FifoError, OSError) as error:
                    self._stand_by(error)
                await asyncio.sleep(CHECK_SECONDS if self._reader < 0 else INCOMPLETE_SECONDS)
                self._forget_incomplete()
                if self._reader >= 0 and not self._is_ours():
                    log.warning("mi fifo was replaced", path=str(self._path))
                    self._close()
        finally:
            if self._reader >= 0 and self._is_ours():
                self._path.unlink()
            self._close()

    def open(self) -> None:
        """Create the FIFO and listen, unless that is done. Raises `FifoError` and OSError."""
        if self._reader >= 0:
            return
        self._remove_stale()
        os.mkfifo(self._path, MODE)
        self._path.chmod(MODE)  # whatever the umask
        self._reader = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        # a writer of our own: no end of file when the last client closes
        self._writer = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        asyncio.get_running_loop().add_reader(self._reader, self._readable)
        self._standing_by = False
        log.info("mi listens on fifo", path=str(self._path))

    def _remove_stale(self) -> None:
        """Remove a FIFO that no process reads. Raises `FifoError` if one does, or if it is no FIFO."""
        try:
            mode = self._path.lstat().st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISFIFO(mode):
            raise FifoError(f"{self._path} is no FIFO")
        try:
            os.close(os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            self._path.unlink()
        else:
            raise FifoError(f"{self._path} is served by another process")

    def _stand_by(self, error: Exception) -> None:
        if not self._standing_by:
            log.warning("mi does not listen on fifo", path=str(self._path), reason=str(error))
        self._standing_by = True

    def _is_ours(self) -> bool:
        try:
            there, ours = self._path.lstat(), os.fstat(self._reader)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def _close(self) -> None:
        if self._reader >= 0:
            asyncio.get_running_loop().remove_reader(self._reader)
            os.close(self._reader)
        if self._writer >= 0:
            os.close(self._writer)
        self._reader = self._writer = -1

    def _forget_incomplete(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._parser.waiting and now - self._fed >= INCOMPLETE_SECONDS:
            log.warning("incomplete mi request discarded")
            self._parser.drop()

    def _readable(self) -> None:
        with suppress(BlockingIOError):
            data = os.read(self._reader, 65536)
            self._fed = asyncio.get_running_loop().time()
            for request in self._parser.feed(data):
                task = asyncio.get_running_loop().create_task(self._serve(request))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _serve(self, request: FifoRequest) -> None:
        if request.kind == "bad":
            log.warning("invalid mi request", reason=request.text)
            return
        async with self._slots:
            reply = await self._handle(request)
            if reply is None or not request.reply:
                return
            try:
                await self._write(request.reply, reply.encode("utf-8", "surrogateescape"))
            except (OSError, FifoError, TimeoutError) as error:
                log.warning("mi reply not written", fifo=request.reply, reason=str(error))

    async def _write(self, name: str, data: bytes) -> None:
        descriptor = await self._open_reply(name)
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                while data:
                    try:
                        data = data[os.write(descriptor, data) :]
                    except BlockingIOError:
                        await _writable(descriptor)
        finally:
            os.close(descriptor)

    async def _open_reply(self, name: str) -> int:
        """The reply FIFO, open for writing without blocking."""
        if not name or set(name) & set("./\\\0"):
            raise FifoError("this is no name of a reply FIFO")
        folder = os.open(self._replies, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for left in reversed(range(REPLY_TRIES)):
                try:
                    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
                    descriptor = os.open(name, flags, dir_fd=folder)
                    break
                except OSError as error:
                    if error.errno != errno.ENXIO or not left:
                        raise
                await asyncio.sleep(REPLY_PAUSE)
        finally:
            os.close(folder)
        status = os.fstat(descriptor)
        if not stat.S_ISFIFO(status.st_mode) or status.st_nlink > 1:
            os.close(descriptor)
            raise FifoError("it is no FIFO, or has several names")
        return descriptor


def _once(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


async def _writable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(descriptor, _once, ready)
    try:
        await ready
    finally:
        loop.remove_writer(descriptor)
