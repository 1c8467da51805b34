"""A real edge process on free ports, and the simplest of SIP users."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from imc_common.settings import Endpoint
from imc_common.sip import Response, parse_message
from tests.imc_edge.doubles import message
from tests.patience import PATIENCE

ROOT = Path(__file__).parents[2]


class EdgeProcess:
    """``python -m imc_edge`` with settings of its own; its log is kept in a file."""

    def __init__(
        self, log: Path, url: str, settings: Mapping[str, object], env: Mapping[str, str] | None = None
    ) -> None:
        given = {"db_url": url, "listen": "udp:127.0.0.1:0", "log_format": "json", "lease_ttl": 1}
        given |= {"destination_networks": "127.0.0.0/8,::1/128", **settings}
        environment = {f"IMC_{name.upper()}": str(value) for name, value in given.items()} | dict(env or {})
        self._log = log
        with log.open("ab") as file:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "imc_edge"], cwd=ROOT, env={**os.environ, **environment}, stderr=file
            )

    def lines(self, event: str) -> list[dict[str, object]]:
        """The log lines of this event."""
        lines = [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def endpoints(self) -> list[Endpoint]:
        """What it listens on, as soon as it does."""
        eventually(lambda: bool(self.lines("edge started")) or self.child.poll() is not None)
        assert self.child.poll() is None, self._log.read_text()
        names = self.lines("edge started")[-1]["endpoints"]
        assert isinstance(names, list)
        return [Endpoint.parse(name) for name in names]

    def end(self, number: signal.Signals = signal.SIGTERM, seconds: float = PATIENCE) -> int:
        """Send a signal and wait for the end; gives the exit status."""
        self.child.send_signal(number)
        return self.child.wait(seconds)


@contextmanager
def edge_process(
    folder: Path, url: str, env: Mapping[str, str] | None = None, **settings: object
) -> Iterator[EdgeProcess]:
    """An edge for the length of the block; ``env`` comes on top of this process's environment."""
    process = EdgeProcess(folder / f"edge-{secrets.token_hex(3)}.log", url, settings, env)
    try:
        yield process
    finally:
        process.child.kill()
        process.child.wait()


def eventually(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Return as soon as the condition holds; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


class User:
    """A UDP socket that sends requests to an edge and reads the responses."""

    def __init__(self, at: Endpoint) -> None:
        self._socket = socket.socket(socket.AF_INET6 if ":" in at.host else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((at.host, 0))
        self._socket.settimeout(PATIENCE)
        self._at = (at.host, at.port)

    def __enter__(self) -> User:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def send(self, data: bytes) -> None:
        """One datagram, whatever is in it."""
        self._socket.sendto(data, self._at)

    def ask(self, data: bytes) -> Response:
        """Send a request; gives the response to it, without late ones to earlier requests."""
        self.send(data)
        call_id = data.partition(b"Call-ID: ")[2].partition(b"\r\n")[0].decode()
        while (response := self.response()).headers.get("Call-ID") != call_id:
            pass
        return response

    def response(self) -> Response:
        """The next response that comes."""
        response = parse_message(self._socket.recv(65536))
        assert isinstance(response, Response)
        return response

    def status(self, data: bytes, seconds: float = 3.0) -> int | None:
        """The status of the response to a request; None if none comes in time."""
        self._socket.settimeout(seconds)
        try:
            return self.ask(data).status
        except TimeoutError:
            return None
        finally:
            self._socket.settimeout(PATIENCE)


def fresh(method: str = "MESSAGE", **headers: str) -> bytes:
    """A request that was not sent before."""
    token = secrets.token_hex(8)
    headers = {"Via": f"SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK{token};rport", "Call_ID": token, **headers}
    return message(b"hello" if method == "MESSAGE" else b"", method=method, **headers)


def memory_kb(edge: EdgeProcess) -> int:
    """Its resident memory, in kilobytes."""
    status = Path(f"/proc/{edge.child.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def ask_on(stream: socket.socket, data: bytes) -> bytes:
    """The first bytes of the response on a connection."""
    stream.settimeout(PATIENCE)
    stream.sendall(data)
    return stream.recv(65536)
