"""The two systems under load, on loopback, each with its own ports."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Protocol

from bench.mariadb import MariaDb
from bench.processes import tree
from imc_cli.embedded import CONFIG

HERE = Path(__file__).parent
PYTHON = os.environ.get("BENCH_PYTHON", sys.executable)
"""The interpreter of the measured imc. `make bench` sets it to that of `make compiled`."""
PORTS = range(10_000, 12_000)
"""Below the ephemeral ports of the kernel."""
START_TIMEOUT = 60.0
STOP_TIMEOUT = 40.0


RAISED_LIMITS = {
    "max_messages_per_second": "100000",
    "max_message_burst": "1000",
    "max_deliveries_per_second": "1000000",
    "max_commands_per_minute": "1000000",
}
"""Rate limits are counted as always, but raised, because few users create the load of thousands here."""


class System(Protocol):
    """A system that accepts MESSAGEs at `target` and sends deliveries to `proxy` (both HOST:PORT)."""

    name: str
    target: str
    proxy: str

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def components(self) -> Mapping[str, list[int]]: ...


def free_address() -> str:
    """A loopback address whose port is free on UDP and TCP, and is not an ephemeral one.

    The load generator closes and opens it with every window.
    """
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return f"127.0.0.1:{port}"
    raise RuntimeError(f"no port from {PORTS.start} to {PORTS.stop} is free")


def wait_responding(target: str, processes: Iterable[subprocess.Popen[bytes]]) -> None:
    """Return at the first response to OPTIONS. Raises if there is none, or if a process has ended."""
    host, port = target.rsplit(":", 1)
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        probe.settimeout(0.05)
        here = "{}:{}".format(*probe.getsockname())
        for attempt in range(int(START_TIMEOUT / 0.05)):
            request = (
                f"OPTIONS sip:{target} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bKprobe{attempt}\r\n"
                f"From: <sip:probe@{here}>;tag=1\r\nTo: <sip:{target}>\r\nCall-ID: probe-{attempt}\r\n"
                "CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
            )
            with contextlib.suppress(OSError):
                probe.sendto(request.encode(), (host, int(port)))
                probe.recv(4096)
                return
            if any(process.poll() is not None for process in processes):
                raise RuntimeError(f"a process of {target} has ended")
            time.sleep(0.02)
    raise TimeoutError(f"no response from {target}")


def end(process: subprocess.Popen[bytes]) -> None:
    """Stop with SIGTERM; kill it if it does not stop in time."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Kamailio:
    """Debian's Kamailio with its imc module: two children, 6,000 MB of shared memory, sqlite tables."""

    name = "kamailio"

    def __init__(self, transport: str = "udp") -> None:
        self.target, self.proxy = free_address(), free_address()
        self._transport = transport
        self._folder = Path(tempfile.mkdtemp(prefix="imc-bench-"))

    def start(self) -> None:
        database = self._folder / "kamailio.db"
        with contextlib.closing(sqlite3.connect(database)) as connection:
            connection.executescript((HERE / "kamailio" / "tables.sql").read_text())
        outbound = f"sip:{self.proxy}" + (";transport=tcp" if self._transport == "tcp" else "")
        listen = f"udp:{self.target}" + (f" listen=tcp:{self.target}" if self._transport == "tcp" else "")
        self._log = (self._folder / "log").open("wb")
        self._process = subprocess.Popen(
            [
                "kamailio", "-DD", "-E", "-f", str(HERE / "kamailio" / "kamailio.cfg"),
                "-m", "6000", "-b", "8388608", "-Y", str(self._folder),
                "-A", f"LISTEN={listen}", "-A", f'OUTBOUND="{outbound}"', "-A", f'DB="sqlite:///{database}"',
            ],
            stdout=self._log, stderr=self._log,
        )  # fmt: skip
        wait_responding(self.target, [self._process])

    def stop(self) -> None:
        """Kill it with its children: a regular stop takes 15 s, to free its memory."""
        for pid in tree([self._process.pid]):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._log.close()
        shutil.rmtree(self._folder)

    def components(self) -> Mapping[str, list[int]]:
        return {"kamailio": [self._process.pid]}


class KamailioMsilo(Kamailio):
    """Kamailio with imc and msilo, which stores in a MariaDB what comes for users who have no phone."""

    def __init__(self) -> None:
        super().__init__()
        (self._folder / "database").mkdir()
        self._folder.chmod(0o755)
        self._database = MariaDb(self._folder / "database", int(free_address().rpartition(":")[2]))

    def start(self) -> None:
        self._database.start()
        self._log = (self._folder / "log").open("wb")
        self._process = subprocess.Popen(
            [
                "kamailio", "-DD", "-E", "-f", str(HERE / "kamailio" / "msilo.cfg"),
                "-m", "2000", "-b", "8388608", "-Y", str(self._folder),
                "-A", f"LISTEN=udp:{self.target}", "-A", f'OUTBOUND="sip:{self.proxy}"',
                "-A", f'ITSELF="sip:{self.target}"', "-A", f'DB="{self._database.url}"',
            ],
            stdout=self._log, stderr=self._log,
        )  # fmt: skip
        wait_responding(self.target, [self._process])

    def stop(self) -> None:
        """Kill both: what they have stored is not needed any more."""
        self._database.stop()
        super().stop()

    def components(self) -> Mapping[str, list[int]]:
        return {"kamailio": [self._process.pid], "mariadb": [self._database.pid]}


class Imc:
    """Redis with its append-only file synced every second, edge and worker processes."""

    name = "imc"

    def __init__(
        self,
        transport: str = "udp",
        processes: int = 1,
        settings: Mapping[str, str] | None = None,
        preload: Path | None = None,
        python: str = PYTHON,
    ) -> None:
        """``preload``: a library that is preloaded into the edges. ``python``: runs the processes."""
        self.target, self.proxy = free_address(), free_address()
        self.folder = Path(tempfile.mkdtemp(prefix="imc-bench-"))
        self.redis_socket = self.folder / "redis.sock"
        self._processes = processes
        self._preload = preload
        self._python = python
        self._settings = {
            "db_url": f"unix://{self.redis_socket}",
            "listen": f"udp:{self.target}",
            "outbound_proxy": f"sip:{self.proxy}" + (";transport=tcp" if transport == "tcp" else ""),
            **RAISED_LIMITS,
            **(settings or {}),
        }
        if processes > 1:
            self._settings["share_ports"] = "true"
        self._running: dict[str, list[subprocess.Popen[bytes]]] = {"redis": [], "worker": [], "edge": []}

    def start(self) -> None:
        self.start_redis()
        self.start_processes()

    def start_redis(self) -> None:
        self._log = (self.folder / "log").open("wb")
        config = [word for name, value in CONFIG.items() for word in (f"--{name}", value)]
        self._run(
            "redis", "redis-server", "--port", "0", "--unixsocket", str(self.redis_socket), "--save", "",
            "--dir", str(self.folder), *config,
        )  # fmt: skip
        for _ in range(200):
            if self.redis("PING") == "PONG":
                return
            time.sleep(0.05)
        raise TimeoutError("redis-server does not respond")

    def start_processes(self) -> None:
        for role in ("worker", "edge"):
            for _ in range(self._processes):
                self._run(role, self._python, "-P", "-m", f"imc_{role}")
        wait_responding(self.target, [*chain.from_iterable(self._running.values())])

    def stop_processes(self) -> None:
        for role in ("edge", "worker"):
            while self._running[role]:
                end(self._running[role].pop())

    def stop(self) -> None:
        self.stop_processes()
        while self._running["redis"]:
            end(self._running["redis"].pop())
        self._log.close()
        shutil.rmtree(self.folder)

    def components(self) -> Mapping[str, list[int]]:
        return {name: [process.pid for process in running] for name, running in self._running.items()}

    def redis(self, *command: str) -> str:
        """What redis-cli prints for a command."""
        cli = ["redis-cli", "-s", str(self.redis_socket), *command]
        return subprocess.run(cli, capture_output=True, text=True, check=False).stdout.strip()

    def rewrite_log(self) -> None:
        """Rewrite the append-only file now, not when its size has doubled. Returns when it is done."""
        self.redis("BGREWRITEAOF")
        for _ in range(600):
            state = self.redis("INFO", "persistence").split()
            if "aof_rewrite_in_progress:0" in state and "aof_rewrite_scheduled:0" in state:
                return
            time.sleep(0.1)
        raise TimeoutError("redis-server does not finish the rewrite")

    def log(self) -> str:
        """The output of all processes, to analyse a failure."""
        return (self.folder / "log").read_text(errors="replace")

    def _run(self, name: str, *command: str) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("IMC_")}
        environment |= {f"IMC_{key.upper()}": value for key, value in self._settings.items()}
        if name == "edge" and self._preload is not None:
            environment["LD_PRELOAD"] = str(self._preload)
        self._running[name].append(
            subprocess.Popen(command, env=environment, stdout=self._log, stderr=self._log, cwd=self.folder)
        )


@contextlib.contextmanager
def running(*systems: System) -> Iterator[None]:
    """Run the systems within this context. Those that started are always stopped."""
    with contextlib.ExitStack() as stack:
        for system in systems:
            stack.callback(system.stop)
            system.start()
        yield
