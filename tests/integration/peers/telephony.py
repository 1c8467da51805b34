"""A telephone platform as the migration page has it. Debian's Kamailio is its proxy and registrar.

It runs the configurations in ``deploy/kamailio`` with Kamailio's own tables in a MariaDB; only addresses and
paths are replaced. Beside it run two edges and a worker with the settings of that folder. The proxy is at
127.0.0.4 and the edges at 127.0.0.2 and 127.0.0.3, since it tells edges by their address; users are at
127.0.0.1. All of them listen for TLS, too, once `add_certificates` was called.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import ClassVar, TypeVar

import sqlalchemy as sa

from imc_cli.migration.tables import connect
from tests.certificates import make_authority, make_certificate
from tests.chaos.servers import Single
from tests.integration.command import run
from tests.integration.migration.databases import create_kamailio_tables, empty_mariadb, execute
from tests.integration.service import options
from tests.ports import free_port
from tests.processes import ROOT, Process, wait_until
from tests.tools import require

FILES = ROOT / "deploy" / "kamailio"
DOMAIN = "example.org"
PASSWORD = "wonder-land"
EDGES = {"10.0.0.11": "127.0.0.2", "10.0.0.12": "127.0.0.3"}
PROXY = "127.0.0.4"


class Platform:
    """A proxy with one of the two configurations, its database, and imc beside it."""

    files: ClassVar[Path] = FILES
    """The folder of the proxy's configurations."""
    names: ClassVar[tuple[str, ...]] = ("before.cfg", "after.cfg", "dispatcher.list")

    def __init__(self, folder: Path, database: str, redis: Single, settings: dict[str, str]) -> None:
        self.database, self.redis, self.folder = database, redis, folder
        self.port, self.edge_port = free_port(), free_port()
        self.tls_port, self.edge_tls_port = free_port(), free_port()
        for file in (*(self.files / name for name in self.names), FILES / "imc.toml"):
            name = file.name
            self.add_configuration(name, file.read_text())
            assert "10.0.0." not in (folder / name).read_text(), name
        env = {"IMC_DRAIN_TIMEOUT": "2"} | {f"IMC_{name.upper()}": value for name, value in settings.items()}
        config = ["--config", str(folder / "imc.toml")]
        self.edges = {
            host: Process(
                f"edge-{host}",
                [sys.executable, "-m", "imc_edge", *config],
                folder,
                env | {"IMC_LISTEN": f"udp:{host}:{self.edge_port},tcp:{host}:{self.edge_port}"},
            )
            for host in EDGES.values()
        }
        self.worker = Process("worker", [sys.executable, "-m", "imc_worker", *config], folder, env)
        self.proxy = Process("proxy", [], folder)

    @staticmethod
    def require_programs() -> None:
        """Skip or fail the test if a program is not installed."""
        for program in ("kamailio", "kamcmd"):
            require(program)

    @staticmethod
    def create_tables(database: str) -> None:
        """The tables of users, registrations and the module."""
        create_kamailio_tables(database, "standard", "auth_db", "usrloc", "imc")

    def add_configuration(self, name: str, text: str) -> None:
        """Write a file with the addresses and paths of this test, for `start_proxy`."""
        (self.folder / name).write_text(self.here(text))

    def here(self, text: str) -> str:
        """A file of deploy/kamailio with the addresses and paths of this test."""
        for shown, host in EDGES.items():
            text = text.replace(f"{shown}:5060", f"{host}:{self.edge_port}")
            text = text.replace(f"{shown}:5061", f"{host}:{self.edge_tls_port}")
        for shown, real in (
            ("10.0.0.1:5060", f"{PROXY}:{self.port}"),
            ("10.0.0.1:5061", f"{PROXY}:{self.tls_port}"),
            ("10.0.0.1/32", f"{PROXY}/32"),
            ("ipv4=10.0.0.1\n", f"ipv4={PROXY}\n"),
            ("redis://10.0.0.21:6379/0", self.redis.url),
            *self.places(),
        ):
            text = text.replace(shown, real)
        return text

    def places(self) -> list[tuple[str, str]]:
        """Paths and database in the configurations, and those of this test."""
        return [
            ("mysql://kamailio:kamailiorw@localhost/kamailio", self.database),
            ("/etc/kamailio/", f"{self.folder}/"),
            ("/run/kamailio/", f"{self.folder}/"),
        ]

    def add_certificates(self) -> None:
        """Make an authority, `ca.pem`, and certificates of proxy and edges, which then listen for TLS."""
        make_authority(self.folder)
        make_certificate(self.folder, "proxy", PROXY)
        make_certificate(self.folder, "edge", *EDGES.values())
        for host, edge in self.edges.items():
            edge.env["IMC_LISTEN"] += f",tls:{host}:{self.edge_tls_port}"

    @property
    def address(self) -> tuple[str, int]:
        """The proxy's address for users."""
        return PROXY, self.port

    @property
    def uri(self) -> str:
        """The proxy's URI for phones."""
        return f"sip:{PROXY}:{self.port};transport=udp"

    def add_subscriber(self, name: str) -> None:
        """A user of the domain who can register with ``PASSWORD``."""
        row = f"('{name}', '{DOMAIN}', '{PASSWORD}')"
        execute(self.database, f"INSERT INTO subscriber (username, domain, password) VALUES {row}")  # noqa: S608 # ours

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """The rows of a query to the database."""
        engine = connect(self.database)
        with engine.connect() as connection:
            found = [tuple(row) for row in connection.execute(sa.text(query))]
        engine.dispose()
        return found

    @property
    def tls_uri(self) -> str:
        """The proxy's URI for phones that use TLS."""
        return f"sip:{PROXY}:{self.tls_port};transport=tls"

    def start_proxy(self, configuration: str, *defines: str) -> None:
        """Start Kamailio with before.cfg, after.cfg or another; returns when it responds to OPTIONS."""
        config = ["-f", f"{self.folder}/{configuration}", "-w", str(self.folder), "-Y", str(self.folder)]
        self.proxy.command = [require("kamailio"), *config, "-DD", "-E", "-m", "64", "-M", "8"]
        self.proxy.command += [word for name in defines for word in ("-A", name)]
        self.run_proxy()

    def run_proxy(self) -> None:
        """Start it by its command; returns when it responds to OPTIONS."""
        self.proxy.start()
        wait_until(lambda: options(self.port, PROXY) is not None, "the proxy")

    def stop_proxy(self) -> None:
        """End it with SIGTERM, which has its module write its rooms to the database."""
        assert self.proxy.end(signal.SIGTERM) == 0, self.proxy.log()

    def start_imc(self) -> None:
        """Start edges and worker; returns when the edges serve."""
        for process in (*self.edges.values(), self.worker):
            process.start()
        for host in self.edges:
            wait_until(lambda host=host: options(self.edge_port, host) == 200, f"edge {host}")  # type: ignore[misc]

    def edges_in_service(self) -> int:
        """How many edges the proxy has in service."""
        ask = [require("kamcmd"), "-s", f"unix:{self.folder}/kamailio_ctl", "dispatcher.list"]
        listed = subprocess.run(ask, capture_output=True, text=True, timeout=60, check=False).stdout
        return len(re.findall("FLAGS: AP", listed))

    def wait_for_edges(self, count: int) -> None:
        """Wait until the proxy has so many edges in service."""
        wait_until(lambda: self.edges_in_service() == count, f"{count} edges in service")

    def imc(self, *words: str) -> str:
        """The output of an `imc` command that must succeed."""
        done = run(*words, "--config", f"{self.folder}/imc.toml")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def stop(self) -> None:
        """End everything that runs."""
        for process in (self.proxy, *self.edges.values(), self.worker):
            process.end(signal.SIGTERM)


PlatformT = TypeVar("PlatformT", bound=Platform)


@contextmanager
def platform(folder: Path, *subscribers: str, **settings: str) -> Iterator[Platform]:
    """A platform with these users, of which nothing runs but the servers of its databases.

    Edges and workers get the settings beside those of imc.toml.
    """
    with platform_of(Platform, folder, subscribers, settings) as running:
        yield running


@contextmanager
def platform_of(
    kind: type[PlatformT], folder: Path, subscribers: Iterable[str], settings: dict[str, str]
) -> Iterator[PlatformT]:
    """The same, with another proxy."""
    kind.require_programs()
    for program in ("redis-server", "redis-cli"):
        require(program)
    with ExitStack() as stack:
        url = stack.enter_context(empty_mariadb())
        kind.create_tables(url)
        redis = Single(folder)
        stack.callback(redis.stop)
        redis.start()
        running = kind(folder, url, redis, settings)
        stack.callback(running.stop)
        for name in subscribers:
            running.add_subscriber(name)
        yield running
