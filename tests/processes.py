"""Child processes of tests: start, signal, wait, read the log; and waiting for a condition."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
MEASURING = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")
"""Variables by which a child process measures its coverage, which costs half of its time. Whole systems run
the same lines as the processes of smaller tests, which are measured."""
START_SECONDS = 60.0  # enough on a busy machine


def wait_until(true: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Wait until ``true()`` is true. Raises TimeoutError that names ``what``."""
    until = time.monotonic() + seconds
    while not true():
        if time.monotonic() > until:
            raise TimeoutError(f"{what} did not happen in {seconds} s")
        time.sleep(0.05)


@dataclass
class Process:
    """One child process. It can be started again with the same command; its log is NAME.log in ``folder``."""

    name: str
    command: list[str]
    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    child: subprocess.Popen[bytes] | None = None

    def start(self) -> Process:
        log = (self.folder / f"{self.name}.log").open("ab")
        around = {name: value for name, value in os.environ.items() if name not in MEASURING}
        self.child = subprocess.Popen(
            self.command, cwd=self.folder, env={**around, **self.env}, stdout=log, stderr=log
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
        """Send the signal and wait for the exit; returns the exit status."""
        if self.child is None:
            return 0
        self.send(number)
        return self.child.wait(seconds)

    def log(self) -> str:
        return (self.folder / f"{self.name}.log").read_text(errors="replace")
