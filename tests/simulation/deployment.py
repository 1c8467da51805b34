"""Edges and workers on a server, whose users differ from run to run."""

from __future__ import annotations

import itertools
import random as random_module
from typing import Any

from imc_common.scripts import Scripts
from imc_common.settings import Settings
from tests.simulation.check import Findings
from tests.simulation.processes import HASH_SIZE, LEASE_SECONDS, Edge, Network, Worker
from tests.simulation.redis import Server
from tests.simulation.time import Simulation

SETTINGS: dict[str, Any] = {
    "outbound_proxy": "sip:127.0.0.1:5060;transport=udp",
    "history_max_messages": 100_000,
    "catch_up_max": 1000,
}
"""Rooms keep whatever a member may miss."""


class Deployment:
    """A simulated deployment."""

    has_replica = False
    """Whether its server has one, which may be promoted."""
    has_clocks = False
    """Whether the clocks of its edges may be wrong."""
    receives = False
    """Whether its edges take requests of users."""

    def __init__(self, seed: int, path: str, scripts: Scripts, **settings: Any) -> None:
        """``path``: the socket of a Redis, which is emptied."""
        random_module.seed(seed)  # for jitter
        self.simulation = Simulation(seed)
        self.random = self.simulation.random
        self.is_over = False
        """Whether nothing more goes wrong."""
        self._settings = Settings(hash_size=HASH_SIZE, lease_ttl=LEASE_SECONDS, **SETTINGS | settings)
        self._nodes = self.random.choice((1, 2))
        self.numbers = itertools.count(1)
        self.server = Server(self.simulation, path, scripts)
        self.server.announce = self._announce
        self.findings = Findings()
        self.edges: list[Edge] = []
        self.workers: list[Worker] = []

    def start(self, network: Network) -> None:
        """Start processes, whose deliveries go to ``network``."""
        self._network = network
        for _ in range(2):
            self.add_edge()
        for _ in range(self.random.choice((1, 2))):
            self.add_worker()

    def close(self) -> None:
        """End it, and free what it holds."""
        self.simulation.close()
        self.server.close()

    def note(self, what: str) -> None:
        """Keep what has happened, for whoever reads the findings."""
        self.findings.events.append(f"{self.simulation.now:.3f} {what}")

    def add_edge(self) -> None:
        name = f"edge{next(self.numbers)}"
        edge = Edge(
            name, self.simulation, self.server, self._settings, nodes=self._nodes, receives=self.receives
        )
        edge.deliver_to(self._network)
        self.edges.append(edge)

    def add_worker(self) -> None:
        name = f"worker{next(self.numbers)}"
        self.workers.append(Worker(name, self.simulation, self.server, self._settings, nodes=self._nodes))

    def _announce(self, payload: bytes) -> None:
        """Most edges hear of a user who is back or has left."""
        for edge in self.edges:
            if self.random.random() < 0.85:
                self.simulation.after(self.random.uniform(0.0005, 0.02), lambda e=edge: e.hear(payload))  # type: ignore[misc] # bound now
