"""Sets the wall clocks of running processes. Their monotonic clocks do not change."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

from tests.processes import Process


class Clocks:
    """Gives each process its own wall clock: a file with an offset that the preloaded ``clock.c`` reads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._library = folder / "clock.so"
        source = Path(__file__).with_name("clock.c")
        command = ["gcc", "-O2", "-shared", "-fPIC", "-o", str(self._library), str(source)]
        subprocess.run(command, check=True, timeout=60)

    @staticmethod
    def available() -> bool:
        """Whether there is a compiler for ``clock.c``."""
        return shutil.which("gcc") is not None

    def give(self, process: Process) -> None:
        """From its next start on, the process uses its own clock, which is correct at first."""
        self.set(process, 0)
        process.env |= {"LD_PRELOAD": str(self._library), "CHAOS_CLOCK": str(self._file(process))}

    def set(self, process: Process, ahead: int) -> None:
        """Set the process's clock so many seconds ahead of the correct time, at once."""
        with self._file(process).open("r+b" if self._file(process).exists() else "wb") as file:
            file.write(struct.pack("l", ahead))

    def _file(self, process: Process) -> Path:
        return self._folder / f"{process.name}.clock"
