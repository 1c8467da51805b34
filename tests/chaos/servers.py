"""Redis alone, under Sentinel or as a Cluster: real servers, each at its own address."""

from __future__ import annotations

import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.ports import free_port
from tests.processes import Process, wait_until

SENTINEL_NAME = "imc"
EVERY_SECOND = ("--appendfsync", "everysec")
ALWAYS = ("--appendfsync", "always")
CONTROL = "127.0.0.1"
"""An address at which tests reach every server while the network faults affect its serving address."""


def redis_cli(port: int, *words: str, seconds: float = 20.0, script: str = "") -> str:
    """The output of one redis-cli command, or of all lines of a script; the error output if it is empty."""
    command = ["redis-cli", "-p", str(port), *words]
    try:
        done = subprocess.run(
            command, input=script, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no reply in {seconds} s"
    return (done.stdout or done.stderr).strip()


def is_up(port: int) -> bool:
    return redis_cli(port, "PING") == "PONG"


def redis_server(
    folder: Path, name: str, port: int, *options: str, addresses: tuple[str, ...] = (CONTROL,)
) -> Process:
    """A redis-server with an append-only file in its own folder, not started."""
    data = folder / name
    data.mkdir()
    command = ["redis-server", "--port", str(port), "--bind", *addresses, "--dir", str(data), "--save", ""]
    command += [
        "--appendonly",
        "yes",
        *(options if "--appendfsync" in options else (*EVERY_SECOND, *options)),
    ]
    return Process(name, command, data)


def shut_down(server: Process) -> None:
    """End it by SIGTERM. It refuses while it cannot save, so the signal is repeated."""

    def ended() -> bool:
        with suppress(subprocess.TimeoutExpired):
            server.end(signal.SIGTERM, seconds=1)
        return not server.alive

    wait_until(ended, f"the end of {server.name}")


def hosts(ports: list[int]) -> dict[int, str]:
    """A separate address for each server."""
    return {port: f"127.0.0.{number}" for number, port in enumerate(ports, 11)}


class Single:
    """One Redis with `appendfsync always`, the only policy that loses nothing at a SIGKILL."""

    kind = "single"
    replicas = False
    durability = "memory"

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.hosts = hosts([self.port])
        self.servers = {self.port: self._server(folder, "redis", self.port, *ALWAYS)}
        self.url = f"redis://{self.hosts[self.port]}:{self.port}/0"

    def _server(self, folder: Path, name: str, port: int, *options: str) -> Process:
        """A server that serves and connects from its own address, so that iptables can match it."""
        own = self.hosts[port]
        addresses = (CONTROL, own)
        options += ("--bind-source-addr", own, "--protected-mode", "no")  # it would only accept 127.0.0.1
        return redis_server(folder, name, port, *options, addresses=addresses)

    def start(self) -> None:
        for port, server in self.servers.items():
            server.start()
            wait_until(lambda port=port: is_up(port), f"redis on {port}")  # type: ignore[misc]

    def primaries(self) -> list[int]:
        """The ports of the servers that accept writes, as far as is known."""
        return [self.port]

    def stop_all(self) -> None:
        """End all servers by SIGTERM, primaries first, so that replicas catch up."""
        first = self.primaries()
        for port in sorted(self.servers, key=lambda port: port not in first):
            shut_down(self.servers[port])

    def start_all(self) -> None:
        """Start all servers again, each in its former role."""
        for server in self.servers.values():
            server.start()

    def stop(self) -> None:
        for server in self.servers.values():
            server.send(signal.SIGCONT)
            server.end()


class Sentinel(Single):
    """One primary, two replicas, three sentinels; a primary without a replica in sync refuses writes."""

    kind = "sentinel"
    replicas = True
    durability = "replicas"

    def __init__(self, folder: Path) -> None:
        ports = [free_port() for _ in range(3)]
        self.hosts = hosts(ports)
        safety = ["--min-replicas-to-write", "1", "--min-replicas-max-lag", "2"]
        follow = ("--replicaof", self.hosts[ports[0]], str(ports[0]))
        self.servers = {
            port: self._server(folder, f"redis-{port}", port, *safety, *(follow if port != ports[0] else ()))
            for port in ports
        }
        self.sentinels = [self._sentinel(folder, f"127.0.0.{21 + n}", ports[0]) for n in range(3)]
        self.sentinel_ports = [int(process.command[-1]) for process in self.sentinels]
        them = ",".join(f"127.0.0.1:{port}" for port in self.sentinel_ports)
        self.url = f"redis+sentinel://{them}/{SENTINEL_NAME}"

    def _server(self, folder: Path, name: str, port: int, *options: str) -> Process:
        """A server with a configuration file.

        Sentinel rewrites it, so a restarted server keeps its new role.
        """
        server = super()._server(folder, name, port, *options)
        words = " ".join(word or '""' for word in server.command[1:])
        file = folder / name / "redis.conf"
        file.write_text(words.removeprefix("--").replace(" --", "\n") + "\n")
        server.command = [server.command[0], str(file)]
        return server

    def _sentinel(self, folder: Path, own: str, primary: int) -> Process:
        port = free_port()
        data = folder / f"sentinel-{port}"
        data.mkdir()
        (data / "sentinel.conf").write_text(
            f"bind {CONTROL} {own}\nbind-source-addr {own}\nprotected-mode no\n"
            f"sentinel monitor {SENTINEL_NAME} {self.hosts[primary]} {primary} 2\n"
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
            wait_until(lambda port=port: is_up(port), f"sentinel on {port}")  # type: ignore[misc]
        wait_until(self._complete, "the sentinels know two replicas and each other")

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
        return [int(words[1])] if len(words) == 2 else []

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
        ports = [free_port() for _ in range(6)]
        self.hosts = hosts(ports)
        self.servers = {
            port: self._server(
                folder, f"redis-{port}", port, *options, "--cluster-announce-ip", self.hosts[port]
            )
            for port in ports
        }
        self.url = "redis+cluster://" + ",".join(f"{self.hosts[port]}:{port}" for port in ports[:3])

    def start(self) -> None:
        super().start()
        nodes = [f"{self.hosts[port]}:{port}" for port in self.servers]
        subprocess.run(
            ["redis-cli", "--cluster", "create", *nodes, "--cluster-replicas", "1", "--cluster-yes"],
            check=True,
            capture_output=True,
            timeout=60,
        )
        wait_until(
            lambda: all(self._ready(port) for port in self.servers), "cluster_state:ok and replicas in sync"
        )

    @staticmethod
    def _ready(port: int) -> bool:
        """In service, and in sync if it is a replica: one that never synchronised cannot be promoted."""
        replication = redis_cli(port, "INFO", "replication")
        in_sync = "connected_slaves:1" in replication or "master_link_status:up" in replication
        return in_sync and "cluster_state:ok" in redis_cli(port, "CLUSTER", "INFO")

    def primaries(self) -> list[int]:
        alive = [port for port, server in self.servers.items() if server.alive]
        healthy = (
            port for port in alive if "cluster_state:ok" in redis_cli(port, "CLUSTER", "INFO", seconds=2)
        )
        if (witness := next(healthy, None)) is None:  # an isolated server sees only itself
            return []
        lines = redis_cli(witness, "CLUSTER", "NODES").splitlines()
        return [
            int(line.split()[1].split("@")[0].rpartition(":")[2])
            for line in lines
            if "master" in line.split()[2] and "fail" not in line.split()[2] and len(line.split()) > 8
        ]


def redis_kinds() -> dict[str, type[Single]]:
    """The kinds of Redis by name. Raises FileNotFoundError without redis-server."""
    if shutil.which("redis-server") is None:
        raise FileNotFoundError("redis-server is not installed")
    return {kind.kind: kind for kind in (Single, Sentinel, Cluster)}
