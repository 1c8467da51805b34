"""Real processes to be hurt: Redis alone, under Sentinel or as a Cluster, edges and workers."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

SENTINEL_NAME = "imc"
ROOT = Path(__file__).parents[2]
EVERY_SECOND = ("--appendfsync", "everysec")
ALWAYS = ("--appendfsync", "always")
START_SECONDS = 60.0  # of a machine that has much else to do


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM, below: int = 65536) -> int:
    """A port nobody listens on now; ``below`` keeps room for a cluster bus port (port + 10,000)."""
    while True:
        with socket.socket(socket.AF_INET, kind) as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            if port < below:
                return port


def free_sip_port() -> int:
    """A port free for UDP and TCP."""
    while True:
        port = free_port(socket.SOCK_DGRAM)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_until(true: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Returns once ``true`` is; raises TimeoutError naming ``what`` otherwise."""
    until = time.monotonic() + seconds
    while not true():
        if time.monotonic() > until:
            raise TimeoutError(f"{what} did not happen in {seconds} s")
        time.sleep(0.05)


@dataclass
class Process:
    """One child process that can be killed, stopped, woken and started again on the same address."""

    name: str
    command: list[str]
    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    child: subprocess.Popen[bytes] | None = None

    def start(self) -> Process:
        log = (self.folder / f"{self.name}.log").open("ab")
        self.child = subprocess.Popen(
            self.command, cwd=self.folder, env={**os.environ, **self.env}, stdout=log, stderr=log
        )
        log.close()
        return self

    @property
    def alive(self) -> bool:
        return self.child is not None and self.child.poll() is None

    def send(self, number: signal.Signals) -> None:
        if self.child is not None and self.alive:
            self.child.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGKILL, seconds: float = 40.0) -> int:
        """Sends the signal and waits for the end; the exit status."""
        if self.child is None:
            return 0
        self.send(number)
        return self.child.wait(seconds)

    def log(self) -> str:
        return (self.folder / f"{self.name}.log").read_text(errors="replace")


def redis_cli(port: int, *words: str) -> str:
    """The reply of one redis-cli command; its error text when the server is away."""
    done = subprocess.run(
        ["redis-cli", "-p", str(port), *words], capture_output=True, text=True, timeout=20, check=False
    )
    return (done.stdout or done.stderr).strip()


def answers(port: int) -> bool:
    return redis_cli(port, "PING") == "PONG"


def redis_server(folder: Path, name: str, port: int, *options: str) -> Process:
    """A redis-server with an AOF in its own folder."""
    data = folder / name
    data.mkdir()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(data), "--save", ""]
    command += [
        "--appendonly",
        "yes",
        *(options if "--appendfsync" in options else (*EVERY_SECOND, *options)),
    ]
    return Process(name, command, data)


class Single:
    """One Redis with an AOF that is written before each answer: nothing else outlasts any SIGKILL."""

    kind = "single"
    replicas = False
    durability = "memory"

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.servers = {self.port: redis_server(folder, "redis", self.port, *ALWAYS)}
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        for port, server in self.servers.items():
            server.start()
            wait_until(lambda port=port: answers(port), f"redis on {port}")  # type: ignore[misc]

    def primaries(self) -> list[int]:
        return [self.port]

    def stop(self) -> None:
        for server in self.servers.values():
            server.send(signal.SIGCONT)
            server.end()


class Sentinel(Single):
    """One primary, two replicas, three sentinels; a primary without a fresh replica refuses writes."""

    kind = "sentinel"
    replicas = True
    durability = "replicas"

    def __init__(self, folder: Path) -> None:
        ports = [free_port() for _ in range(3)]
        safety = ["--min-replicas-to-write", "1", "--min-replicas-max-lag", "2"]
        self.servers = {
            port: redis_server(folder, f"redis-{port}", port, *safety, *self._replica_of(ports[0], port))
            for port in ports
        }
        self.sentinels = [self._sentinel(folder, ports[0]) for _ in range(3)]
        self.sentinel_ports = [int(process.command[-1]) for process in self.sentinels]
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.sentinel_ports)
        self.url = f"redis+sentinel://{hosts}/{SENTINEL_NAME}"

    @staticmethod
    def _replica_of(primary: int, port: int) -> list[str]:
        return [] if port == primary else ["--replicaof", "127.0.0.1", str(primary)]

    @staticmethod
    def _sentinel(folder: Path, primary: int) -> Process:
        port = free_port()
        data = folder / f"sentinel-{port}"
        data.mkdir()
        (data / "sentinel.conf").write_text(
            f"bind 127.0.0.1\nsentinel monitor {SENTINEL_NAME} 127.0.0.1 {primary} 2\n"
            f"sentinel down-after-milliseconds {SENTINEL_NAME} 1000\n"
            f"sentinel failover-timeout {SENTINEL_NAME} 5000\n"
        )
        return Process(
            f"sentinel-{port}",
            ["redis-server", str(data / "sentinel.conf"), "--sentinel", "--port", str(port)],
            data,
        )

    def start(self) -> None:
        super().start()
        for sentinel, port in zip(self.sentinels, self.sentinel_ports, strict=True):
            sentinel.start()
            wait_until(lambda port=port: answers(port), f"sentinel on {port}")  # type: ignore[misc]
        wait_until(self._complete, "sentinels that know two replicas and each other")

    def _complete(self) -> bool:
        known = redis_cli(self.sentinel_ports[0], "SENTINEL", "MASTER", SENTINEL_NAME).split()
        return (
            bool(known)
            and known[known.index("num-slaves") + 1] == "2"
            and (known[known.index("num-other-sentinels") + 1] == "2")
        )

    def primaries(self) -> list[int]:
        words = redis_cli(
            self.sentinel_ports[0], "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SENTINEL_NAME
        ).split()
        return [int(words[1])]

    def stop(self) -> None:
        for sentinel in self.sentinels:
            sentinel.end()
        super().stop()


class Cluster(Single):
    """Three primaries with a replica each."""

    kind = "cluster"
    replicas = True
    durability = "replicas"

    def __init__(self, folder: Path) -> None:
        options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]
        ports = [free_port(below=55_000) for _ in range(6)]
        self.servers = {port: redis_server(folder, f"redis-{port}", port, *options) for port in ports}
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in ports[:3])

    def start(self) -> None:
        super().start()
        nodes = [f"127.0.0.1:{port}" for port in self.servers]
        subprocess.run(
            ["redis-cli", "--cluster", "create", *nodes, "--cluster-replicas", "1", "--cluster-yes"],
            check=True,
            capture_output=True,
            timeout=60,
        )
        wait_until(
            lambda: all(self._ready(port) for port in self.servers), "cluster_state:ok and replicas in step"
        )

    @staticmethod
    def _ready(port: int) -> bool:
        """In service, and as a replica in step: one that never saw its primary may not take over."""
        replication = redis_cli(port, "INFO", "replication")
        in_step = "connected_slaves:1" in replication or "master_link_status:up" in replication
        return in_step and "cluster_state:ok" in redis_cli(port, "CLUSTER", "INFO")

    def primaries(self) -> list[int]:
        alive = next(port for port, server in self.servers.items() if server.alive and answers(port))
        lines = redis_cli(alive, "CLUSTER", "NODES").splitlines()
        return [
            int(line.split()[1].split("@")[0].rpartition(":")[2])
            for line in lines
            if "master" in line.split()[2] and "fail" not in line.split()[2] and len(line.split()) > 8
        ]


def backlog(redis: Single) -> int:
    """Entries in all in-, out- and dead streams, and failed deliveries."""
    total = 0
    for port in redis.primaries():
        for key in redis_cli(port, "--scan", "--pattern", "imc:{*").split():
            if key.endswith((":in", ":out", ":dead", ":undelivered")):
                total += int(redis_cli(port, "XLEN", key) or 0)
    return total


def unrest(redis: Single) -> list[str]:
    """What is not as it should be at rest: entries pending or behind, a group or consumer too many."""
    found = []
    for port in redis.primaries():
        for key in redis_cli(port, "--scan", "--pattern", "imc:{*").split():
            if key.endswith((":in", ":out")):
                words = redis_cli(port, "XINFO", "GROUPS", key).splitlines()
                about = dict(zip(words[::2], words[1::2], strict=False))
                wrong = {
                    name: about.get(name) for name in ("pending", "lag") if about.get(name) not in {"0", ""}
                }
                if wrong or about.get("consumers") not in {"0", "1"} or words[::2].count("name") > 1:
                    found.append(f"{key} at rest: {about}")
    return found


class Plant:
    """A Redis of some kind with edges and workers on it."""

    def __init__(self, redis: Single, folder: Path, edges: int, workers: int, proxy_port: int) -> None:
        self.redis = redis
        self._folder = folder
        self._visitors: list[Process] = []
        self.edge_ports = [free_port(socket.SOCK_DGRAM) for _ in range(edges)]
        self._env = {
            "PYTHONPATH": str(ROOT),
            "IMC_DB_URL": redis.url,
            "IMC_OUTBOUND_PROXY": f"sip:127.0.0.1:{proxy_port};transport=udp",
            "IMC_DURABILITY": redis.durability,
        }
        self.edges = [self._edge(folder, port) for port in self.edge_ports]
        self.workers = [self._process(folder, f"worker-{number}", "imc_worker") for number in range(workers)]

    def _edge(self, folder: Path, port: int) -> Process:
        return self._process(folder, f"edge-{port}", "imc_edge", IMC_LISTEN=f"udp:127.0.0.1:{port}")

    def further_edge(self) -> Process:
        """One that is not among `edges`: nobody sends it anything."""
        return self._further(
            lambda number: self._process(
                self._folder,
                f"more-edge-{number}",
                "imc_edge",
                IMC_LISTEN=f"udp:127.0.0.1:{free_port(socket.SOCK_DGRAM)}",
            )
        )

    def further_worker(self) -> Process:
        """One that is not among `workers`."""
        return self._further(
            lambda number: self._process(self._folder, f"more-worker-{number}", "imc_worker")
        )

    def _further(self, make: Callable[[int], Process]) -> Process:
        process = make(len(self._visitors))
        self._visitors.append(process)
        return process

    def _process(self, folder: Path, name: str, module: str, **env: str) -> Process:
        return Process(name, [sys.executable, "-m", module], folder, {**self._env, **env})

    def start(self) -> None:
        self.redis.start()
        for process in self.edges + self.workers:
            process.start()
        for process in self.edges + self.workers:
            wait_until(lambda process=process: self._serves(process), f"{process.name} that serves")  # type: ignore[misc]

    @staticmethod
    def _serves(process: Process) -> bool:
        if not process.alive:
            raise RuntimeError(f"{process.name} ended:\n{process.log()}")
        return "edge listens" in process.log() or "worker serves" in process.log()

    def stop(self) -> None:
        for process in self.edges + self.workers + self._visitors:
            process.send(signal.SIGCONT)
            process.end()
        self.redis.stop()


def redis_kinds() -> dict[str, type[Single]]:
    """The kinds by name. Raises FileNotFoundError when there is no redis-server."""
    if shutil.which("redis-server") is None:
        raise FileNotFoundError("redis-server is not installed")
    return {kind.kind: kind for kind in (Single, Sentinel, Cluster)}
