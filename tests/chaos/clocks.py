"""Wall clocks that can be set while processes run by them. Their monotonic clocks stay as they are."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

from tests.chaos.plant import Process


class Clocks:
    """A clock for each process that gets one: a file at which the preloaded ``clock.c`` looks each time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._library = folder / "clock.so"
        source = Path(__file__).with_name("clock.c")
        command = ["gcc", "-O2", "-shared", "-fPIC", "-o", str(self._library), str(source)]
        subprocess.run(command, check=True, timeout=60)

    @staticmethod
    def available() -> bool:
        """Whether there is a compiler for it."""
        return shutil.which("gcc") is not None

    def give(self, process: Process) -> None:
        """From its next start on the process goes by a clock of its own, which is right at first."""
        self.set(process, 0)
        process.env |= {"LD_PRELOAD": str(self._library), "CHAOS_CLOCK": str(self._file(process))}

    def set(self, process: Process, ahead: int) -> None:
        """At once the process's clock is so many seconds ahead."""
        with self._file(process).open("r+b" if self._file(process).exists() else "wb") as file:
            file.write(struct.pack("l", ahead))

    def _file(self, process: Process) -> Path:
        return self._folder / f"{process.name}.clock"
