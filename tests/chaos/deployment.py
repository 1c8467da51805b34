"""The system under test: edges and workers as real processes on a Redis of some kind."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tests.ports import free_port
from tests.processes import ROOT, Process, wait_until

if TYPE_CHECKING:
    from tests.chaos.servers import Single


class Deployment:
    """Edges and workers on a Redis of some kind."""

    def __init__(
        self, redis: Single, folder: Path, edges: int, workers: int, proxy_port: int, **settings: str
    ) -> None:
        """``settings`` are further environment variables of edges and workers."""
        self.redis = redis
        self._folder = folder
        self._added: list[Process] = []
        self.proxy_port = proxy_port
        self.edge_ports = [free_port() for _ in range(edges)]
        self._env = {
            "PYTHONPATH": str(ROOT),
            "IMC_DB_URL": redis.url,
            "IMC_OUTBOUND_PROXY": f"sip:127.0.0.1:{proxy_port};transport=udp",
            "IMC_DURABILITY": redis.durability,
            **settings,
        }
        self.edges = [self._edge(folder, port) for port in self.edge_ports]
        self.workers = [self._process(folder, f"worker-{number}", "imc_worker") for number in range(workers)]

    def _edge(self, folder: Path, port: int) -> Process:
        return self._process(folder, f"edge-{port}", "imc_edge", IMC_LISTEN=f"udp:127.0.0.1:{port}")

    def add_edge(self) -> Process:
        """One more edge, not started. It is not in `edges`, so users send it no requests."""
        return self._add(
            lambda number: self._process(
                self._folder,
                f"more-edge-{number}",
                "imc_edge",
                IMC_LISTEN=f"udp:127.0.0.1:{free_port()}",
            )
        )

    def add_worker(self) -> Process:
        """One more worker, not started, and not in `workers`."""
        return self._add(lambda number: self._process(self._folder, f"more-worker-{number}", "imc_worker"))

    def all_workers(self) -> list[Process]:
        """All workers, including added ones."""
        return self.workers + [process for process in self._added if "imc_worker" in process.command]

    def _add(self, make: Callable[[int], Process]) -> Process:
        process = make(len(self._added))
        self._added.append(process)
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
        return "edge started" in process.log() or "worker started" in process.log()

    def stop(self) -> None:
        for process in self.edges + self.workers + self._added:
            process.send(signal.SIGCONT)
            process.end()
        self.redis.stop()
