"""Real processes to be hurt: edges and workers on a Redis of some kind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.ports import free_port

if TYPE_CHECKING:
    from tests.chaos.servers import Single

ROOT = Path(__file__).parents[2]
START_SECONDS = 60.0  # of a machine that has much else to do


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


class Plant:
    """A Redis of some kind with edges and workers on it."""

    def __init__(
        self, redis: Single, folder: Path, edges: int, workers: int, proxy_port: int, **settings: str
    ) -> None:
        """``settings``: further ones of edges and workers, as environment variables."""
        self.redis = redis
        self._folder = folder
        self._visitors: list[Process] = []
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

    def further_edge(self) -> Process:
        """One that is not among `edges`: nobody sends it anything."""
        return self._further(
            lambda number: self._process(
                self._folder,
                f"more-edge-{number}",
                "imc_edge",
                IMC_LISTEN=f"udp:127.0.0.1:{free_port()}",
            )
        )

    def further_worker(self) -> Process:
        """One that is not among `workers`."""
        return self._further(
            lambda number: self._process(self._folder, f"more-worker-{number}", "imc_worker")
        )

    def all_workers(self) -> list[Process]:
        """With those that came later."""
        return self.workers + [process for process in self._visitors if "imc_worker" in process.command]

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
