"""SIPp, the SIP community's traffic generator, as sender and as member of a room."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.tools import require

SCENARIOS = Path(__file__).parent / "sipp"
_RECEIVED = re.compile(r"UDP message received \[\d+\] bytes :\n\n(MESSAGE .*?)\n\n(.*?)\n-{20,}", re.DOTALL)
_CALL_ID = re.compile("^Call-ID: *(.*)$", re.MULTILINE | re.IGNORECASE)


def say(folder: Path, edge: tuple[str, int], lines: Sequence[tuple[str, str, str]]) -> None:
    """Send each (sender, room, text) as a MESSAGE, in order; each must be accepted with 202."""
    number = len(list(folder.glob("say-*.csv")))
    csv = folder / f"say-{number}.csv"
    csv.write_text("SEQUENTIAL\n" + "".join(";".join(line) + "\n" for line in lines))
    command = [
        require("sipp"), f"{edge[0]}:{edge[1]}", "-sf", str(SCENARIOS / "say.xml"), "-inf", str(csv),
        "-i", "127.0.0.1", "-m", str(len(lines)), "-l", "1", "-nostdin", "-timeout", "90", "-timeout_error",
    ]  # fmt: skip
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr


@dataclass
class SippMember:
    """A sipp that listens as one user; its log has what it received."""

    name: str
    port: int
    log: Path
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, folder: Path, name: str, port: int, scenario: str, calls: int, **words: str) -> SippMember:
        """Listen with a scenario until ``calls`` calls (MESSAGEs) are done.

        Each of ``words`` names text of the scenario, with underscores for spaces, and its replacement.
        """
        text = (SCENARIOS / scenario).read_text()
        for word, replacement in words.items():
            text = text.replace(word.replace("_", " "), replacement)
        (folder / f"{name}.xml").write_text(text)
        log = folder / f"{name}.log"
        command = [
            require("sipp"), "-sf", f"{name}.xml", "-i", "127.0.0.1", "-p", str(port), "-m", str(calls),
            "-nostdin", "-trace_msg", "-message_file", str(log), "-timeout", "200", "-timeout_error",
        ]  # fmt: skip
        with (folder / f"{name}.out").open("wb") as out:
            process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
            )
        return cls(name, port, log, process)

    @property
    def address(self) -> str:
        """The user's address, with the port."""
        return f"{self.name}@127.0.0.1:{self.port}"

    def wait(self, seconds: float = 120) -> int:
        """Wait until it exits; the status is 0 if every call followed the scenario."""
        return self.process.wait(seconds)

    def stop(self) -> None:
        """Kill it if it still runs."""
        self.process.kill()
        self.process.wait()

    def texts(self) -> list[str]:
        """The bodies of all MESSAGEs in order, without retransmissions."""
        first: dict[str, str] = {}
        for call_id, body in self._received():
            first.setdefault(call_id, body)
        return list(first.values())

    def count_received(self) -> int:
        """How many MESSAGEs came, retransmissions included."""
        return len(self._received())

    def _received(self) -> list[tuple[str, str]]:
        """Call-ID and body of each MESSAGE, in order."""
        found = _RECEIVED.findall(self.log.read_text() + "-" * 20)
        return [(_CALL_ID.findall(head)[0], body.rstrip("\n")) for head, body in found]
