"""The `imc` command as a process of its own, with or without a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

IMC = [sys.executable, "-c", "from imc_cli import main; main()"]
_CURSOR_QUESTION = b"\x1b[6n"
_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|[=>()][A-Z0-9]?)")


def run(
    *args: str, seconds: float = 110, cwd: Path | None = None, text: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run `imc` to its end, with this text on standard input."""
    return subprocess.run(
        [*IMC, *args],
        input=text,
        capture_output=True,
        text=True,
        timeout=seconds,
        cwd=cwd,
        check=False,
    )


class Running:
    """An `imc` that runs on, both outputs read line by line."""

    def __init__(self, *args: str, cwd: Path) -> None:
        self.output = ""
        self.process = subprocess.Popen(
            [*IMC, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=cwd
        )
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)

    def wait_for(self, pattern: str, seconds: float = 90) -> re.Match[str]:
        """Wait until the output so far has the pattern."""
        until = time.monotonic() + seconds
        while (match := re.search(pattern, self.output)) is None:
            assert time.monotonic() < until, f"{pattern!r} did not come:\n{self.output}"
            ended = self.process.poll() is not None
            self._read(0.1)
            assert not ended or re.search(pattern, self.output), f"ended without {pattern!r}:\n{self.output}"
        return match

    def _read(self, seconds: float) -> None:
        assert self.process.stdout is not None
        if select.select([self.process.stdout], [], [], seconds)[0]:
            self.output += (self.process.stdout.read() or b"").decode()

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def end(self, seconds: float = 80) -> int:
        """The exit status, once it has ended; the rest of the output is read."""
        until = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < until, f"has not ended:\n{self.output}"
            self._read(0.1)
        self._read(0)
        return self.process.returncode


@contextmanager
def running(*args: str, cwd: Path) -> Iterator[Running]:
    """An `imc` for the length of the block; ended hard if the block did not end it."""
    imc = Running(*args, cwd=cwd)
    try:
        yield imc
    finally:
        if imc.process.poll() is None:
            imc.interrupt()
            time.sleep(0.2)
            imc.interrupt()
            imc.process.wait(60)
        assert imc.process.stdout is not None
        imc.process.stdout.close()


class Terminal:
    """An `imc` at a terminal of its own."""

    def __init__(self, *args: str) -> None:
        self.master, slave = pty.openpty()
        self.raw = ""
        self._waited = 0
        self.process = subprocess.Popen(
            [*IMC, *args],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": "xterm-256color"},
        )
        os.close(slave)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self.master, keys.encode())

    def wait_for(self, pattern: str, seconds: float = 90) -> None:
        """Wait until the pattern is in what was written since the last wait, escape sequences left out."""
        until = time.monotonic() + seconds
        while True:
            text = _ESCAPES.sub("", self.raw)
            match = re.compile(pattern, re.DOTALL).search(text, self._waited)
            if match is not None:
                self._waited = match.end()
                return
            assert time.monotonic() < until, f"{pattern!r} did not come: {text[self._waited :]!r}"
            self._read()

    def _read(self) -> None:
        if not select.select([self.master], [], [], 0.1)[0]:
            return
        try:
            data = os.read(self.master, 65536)
        except OSError:  # EIO: the program has ended
            return
        if _CURSOR_QUESTION in data:
            os.write(self.master, b"\x1b[1;1R")
        self.raw += data.decode(errors="replace")

    def end(self, seconds: float = 60) -> int:
        """The exit status, once it has ended."""
        until = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < until, self.raw
            self._read()
        os.close(self.master)
        return self.process.returncode
