"""Redis as it can be had: alone, under Sentinel or as a Cluster; real servers, each at its own address."""

from __future__ import annotations

import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.chaos.plant import Process, wait_until
from tests.ports import free_port

SENTINEL_NAME = "imc"
EVERY_SECOND = ("--appendfsync", "everysec")
ALWAYS = ("--appendfsync", "always")
CONTROL = "127.0.0.1"
"""Where every server can be reached, whatever is wrong with the address it serves at."""


def redis_cli(port: int, *words: str, seconds: float = 20.0, script: str = "") -> str:
    """The reply of one redis-cli command, or of each line of a script; its error text if there is none."""
    command = ["redis-cli", "-p", str(port), *words]
    try:
        done = subprocess.run(
            command, input=script, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no reply in {seconds} s"
    return (done.stdout or done.stderr).strip()


def answers(port: int) -> bool:
    return redis_cli(port, "PING") == "PONG"


def redis_server(
    folder: Path, name: str, port: int, *options: str, addresses: tuple[str, ...] = (CONTROL,)
) -> Process:
    """A redis-server with an AOF in its own folder."""
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
    """Ends it in good order. It refuses as long as it cannot save, and has to be told again then."""

    def ended() -> bool:
        with suppress(subprocess.TimeoutExpired):
            server.end(signal.SIGTERM, seconds=1)
        return not server.alive

    wait_until(ended, f"the end of {server.name}")


def hosts(ports: list[int]) -> dict[int, str]:
    """An address of its own for each server."""
    return {port: f"127.0.0.{number}" for number, port in enumerate(ports, 11)}


class Single:
    """One Redis with an AOF that is written before each answer: nothing else outlasts any SIGKILL."""

    kind = "single"
    replicas = False
    durability = "memory"

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.hosts = hosts([self.port])
        self.servers = {self.port: self._server(folder, "redis", self.port, *ALWAYS)}
        self.url = f"redis://{self.hosts[self.port]}:{self.port}/0"

    def _server(self, folder: Path, name: str, port: int, *options: str) -> Process:
        """One that serves at its own address and calls others from there: the network can tell it apart."""
        own = self.hosts[port]
        addresses = (CONTROL, own)
        options += ("--bind-source-addr", own, "--protected-mode", "no")  # which trusts only 127.0.0.1
        return redis_server(folder, name, port, *options, addresses=addresses)

    def start(self) -> None:
        for port, server in self.servers.items():
            server.start()
            wait_until(lambda port=port: answers(port), f"redis on {port}")  # type: ignore[misc]

    def primaries(self) -> list[int]:
        """The ports of those that take writes, as far as anybody knows."""
        return [self.port]

    def close_down(self) -> None:
        """All servers end in good order, those that take writes first: whoever was behind catches up."""
        first = self.primaries()
        for port in sorted(self.servers, key=lambda port: port not in first):
            shut_down(self.servers[port])

    def come_back(self) -> None:
        """All servers start again, each as what it was."""
        for server in self.servers.values():
            server.start()

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
        """One with a file, which sentinels have it rewrite: it starts again as what they made of it."""
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
            lambda: all(self._ready(port) for port in self.servers), "cluster_state:ok and replicas in step"
        )

    @staticmethod
    def _ready(port: int) -> bool:
        """In service, and as a replica in step: one that never saw its primary may not take over."""
        replication = redis_cli(port, "INFO", "replication")
        in_step = "connected_slaves:1" in replication or "master_link_status:up" in replication
        return in_step and "cluster_state:ok" in redis_cli(port, "CLUSTER", "INFO")

    def primaries(self) -> list[int]:
        alive = [port for port, server in self.servers.items() if server.alive]
        sound = (
            port for port in alive if "cluster_state:ok" in redis_cli(port, "CLUSTER", "INFO", seconds=2)
        )
        if (witness := next(sound, None)) is None:  # one that is cut off sees only itself
            return []
        lines = redis_cli(witness, "CLUSTER", "NODES").splitlines()
        return [
            int(line.split()[1].split("@")[0].rpartition(":")[2])
            for line in lines
            if "master" in line.split()[2] and "fail" not in line.split()[2] and len(line.split()) > 8
        ]


def redis_kinds() -> dict[str, type[Single]]:
    """The kinds by name. Raises FileNotFoundError when there is no redis-server."""
    if shutil.which("redis-server") is None:
        raise FileNotFoundError("redis-server is not installed")
    return {kind.kind: kind for kind in (Single, Sentinel, Cluster)}
