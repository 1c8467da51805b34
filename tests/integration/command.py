"""Runs the `imc` command as a separate process, with or without a terminal."""

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
    *args: str, seconds: float = 110, cwd: Path | None = None, text: str = "", before: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run `imc` and wait until it exits; ``text`` is its standard input, ``before`` a statement run first."""
    command = [*IMC[:-1], f"{before}\n{IMC[-1]}"]
    return subprocess.run(
        [*command, *args],
        input=text,
        capture_output=True,
        text=True,
        timeout=seconds,
        cwd=cwd,
        check=False,
    )


class Running:
    """An `imc` that keeps running; standard output and error are collected in ``output``."""

    def __init__(self, *args: str, cwd: Path) -> None:
        self.output = ""
        self.process = subprocess.Popen(
            [*IMC, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=cwd
        )
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)

    def wait_for(self, pattern: str, seconds: float = 90) -> re.Match[str]:
        """Wait until the output contains the pattern; returns the match."""
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
        """Send SIGINT, as Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def end(self, seconds: float = 80) -> int:
        """Wait until it exits and read the rest of its output; returns the exit status."""
        until = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < until, f"still running:\n{self.output}"
            self._read(0.1)
        self._read(0)
        return self.process.returncode


@contextmanager
def running(*args: str, cwd: Path) -> Iterator[Running]:
    """An `imc` that runs until the end of the block; two SIGINTs end it if the block did not."""
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
    """An `imc` on a pseudo-terminal."""

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
        """Press these keys."""
        os.write(self.master, keys.encode())

    def wait_for(self, pattern: str, seconds: float = 90) -> None:
        """Wait until the output since the last wait contains the pattern, escape sequences left out."""
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
        except OSError:  # EIO: the program has exited
            return
        if _CURSOR_QUESTION in data:
            os.write(self.master, b"\x1b[1;1R")
        self.raw += data.decode(errors="replace")

    def end(self, seconds: float = 60) -> int:
        """Wait until it exits; returns the exit status."""
        until = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < until, self.raw
            self._read()
        os.close(self.master)
        return self.process.returncode
