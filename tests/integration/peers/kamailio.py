"""Kamailio with the configuration of ``deploy/lb`` in front of two edges.

Users are on 127.0.0.1 and edges on 127.0.0.2 and 127.0.0.3, because the balancer distinguishes them by
address.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.servers import Single
from tests.integration.service import options
from tests.ports import free_port
from tests.processes import Process, wait_until
from tests.tools import require

CONFIG = Path(__file__).parents[3] / "deploy" / "lb" / "kamailio.cfg"
ROOT = CONFIG.parents[2]


class Site:
    """A balancer with two edges and a worker behind it."""

    def __init__(self, folder: Path, redis: Single, settings: dict[str, str]) -> None:
        self.redis = redis
        self.port = free_port()
        self.edges_port = free_port()
        self.edge_port = free_port()
        env = {
            **{f"IMC_{name.upper()}": value for name, value in settings.items()},
            "IMC_DB_URL": redis.url,
            "IMC_OUTBOUND_PROXY": f"sip:127.0.0.1:{self.edges_port};transport=udp",
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        hosts = ["127.0.0.2", "127.0.0.3"]
        self.edges = {
            host: Process(
                f"edge-{host}",
                [sys.executable, "-m", "imc_edge"],
                folder,
                env | {"IMC_LISTEN": f"udp:{host}:{self.edge_port}"},
            )
            for host in hosts
        }
        self.worker = Process("worker", [sys.executable, "-m", "imc_worker"], folder, env)
        lines = "".join(f"1 sip:{host}:{self.edge_port};transport=udp\n" for host in hosts)
        (folder / "edges.list").write_text(lines)
        config = CONFIG.read_text().replace("/run/kamailio", str(folder))
        config = config.replace("$Rp == 5080", f"$Rp == {self.edges_port}")
        (folder / "kamailio.cfg").write_text(config)
        # as in edges.sh: what goes to an edge leaves from the first port
        places = [(kind, port) for kind in ("udp", "tcp") for port in (self.edges_port, self.port)]
        here = [word for kind, port in places for word in ("-l", f"{kind}:127.0.0.1:{port}")]
        words = [
            "-f",
            str(folder / "kamailio.cfg"),
            *here,
            "-DD",
            "-E",
            "-m",
            "64",
            "-M",
            "8",
            "-Y",
            str(folder),
        ]
        self.balancer = Process("kamailio", ["kamailio", *words], folder)

    @property
    def address(self) -> tuple[str, int]:
        """The balancer's address for users."""
        return "127.0.0.1", self.port

    def start(self) -> None:
        for process in (*self.edges.values(), self.worker):
            process.start()
        for host in self.edges:
            wait_until(lambda host=host: options(self.edge_port, host) == 200, f"edge {host}")  # type: ignore[misc]
        self.balancer.start()
        self.wait_for_edges(2)

    def in_service(self) -> int:
        """How many edges the balancer has in service."""
        return self.dispatcher_list().count("FLAGS: AP")

    def dispatcher_list(self) -> str:
        """The output of ``kamcmd dispatcher.list``."""
        where = f"unix:{self.balancer.folder}/kamailio_ctl"
        command = [require("kamcmd"), "-s", where, "dispatcher.list"]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout

    def wait_for_edges(self, count: int) -> None:
        """Wait until the balancer has so many edges in service."""
        wait_until(lambda: self.in_service() == count, f"{count} edges in service")

    def stop(self) -> None:
        for process in (self.balancer, *self.edges.values(), self.worker):
            process.end(signal.SIGTERM)


@contextmanager
def site(folder: Path, settings: dict[str, str] | None = None) -> Iterator[Site]:
    """A site with its own Redis that runs until the end of the block; every process gets ``settings``."""
    for program in ("kamailio", "kamcmd", "redis-server", "redis-cli"):
        require(program)
    redis = Single(folder)
    redis.start()
    running = Site(folder, redis, settings or {})
    try:
        running.start()
        yield running
    finally:
        running.stop()
        redis.stop()
