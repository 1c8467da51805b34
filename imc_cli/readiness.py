"""Hears when child processes say that they are ready, as a service manager does (sd_notify(3))."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

MAX_FOLDER = 70
"""Characters of a temporary folder: the path of a Unix socket has at most 104."""


class Readiness:
    """One socket for each child, whose path the child gets as ``NOTIFY_SOCKET``."""

    def __init__(self, paths: dict[str, Path]) -> None:
        self.paths = paths
        self._ready = {name: asyncio.Event() for name in paths}

    @classmethod
    @contextmanager
    def of(cls, names: Iterable[str]) -> Iterator[Readiness]:
        """Sockets for children of these names, for the length of the block; needs a running loop."""
        loop = asyncio.get_running_loop()
        short = None if len(tempfile.gettempdir()) <= MAX_FOLDER else "/tmp"  # noqa: S108 # made anew in it
        with tempfile.TemporaryDirectory(prefix="imc-up-", dir=short) as folder:
            readiness = cls({name: Path(folder) / str(number) for number, name in enumerate(names)})
            sockets = {name: _bound(path) for name, path in readiness.paths.items()}
            for name, sock in sockets.items():
                loop.add_reader(sock, readiness._hear, name, sock)
            try:
                yield readiness
            finally:
                for sock in sockets.values():
                    loop.remove_reader(sock)
                    sock.close()

    def _hear(self, name: str, sock: socket.socket) -> None:
        if "READY=1" in sock.recv(4096).decode(errors="replace").split("\n"):
            self._ready[name].set()

    async def wait(self) -> None:
        """Return when every child has been ready once."""
        for ready in self._ready.values():
            await ready.wait()

    def missing(self) -> list[str]:
        """The children that were not ready yet."""
        return [name for name, ready in self._ready.items() if not ready.is_set()]


def _bound(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(str(path))
    return sock
