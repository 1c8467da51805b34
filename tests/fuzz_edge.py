"""Sends mutated SIP messages to a live edge: ``python -m tests.fuzz_edge --seconds 60``.

They go over UDP, and over TCP in pieces. Every second the edge has to respond to a good OPTIONS with 200. It
must log no exception, and its memory must not grow.
"""

from __future__ import annotations

import argparse
import os
import random
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.conformance.as_message import as_message
from tests.conformance.cases import CASES
from tests.conformance.traits.trait import message
from tests.imc_common.bodies.corpus import CPIM
from tests.integration.service import Service, service
from tests.mutator import Mutator

OPTIONS = (
    "OPTIONS sip:{host}:{port} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{here};rport;branch=z9hG4bK{token}\r\n"
    "From: <sip:probe@127.0.0.1>;tag={token}\r\nTo: <sip:{host}:{port}>\r\nCall-ID: {token}\r\n"
    "CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)
GROWTH = 32 * 1024
"""Kilobytes that the edge may grow between the first third of a run and its end."""


class EdgeFuzzer:
    """Mutated messages for one edge; the same seed makes the same messages."""

    def __init__(self, host: str, port: int, seed: int) -> None:
        self.address = (host, port)
        self.sent = 0
        self.connections = 0
        self.random = random.Random(seed)
        self.mutator = Mutator(self.random)
        self.corpus = [as_message(case.data, "fuzz") for case in CASES if case.message is not None]
        self.corpus += [case.data for case in CASES]
        self.corpus += [message(body, Content_Type="message/cpim") for body in CPIM]

    def send_for(self, seconds: float, pause: float = 0.001) -> None:
        """Send for so many seconds. Raises TimeoutError if the edge stops responding to OPTIONS."""
        end = time.monotonic() + seconds
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            while time.monotonic() < end:
                second = time.monotonic() + 1
                while time.monotonic() < second:
                    self._send(udp)
                    time.sleep(pause)
                self.check()

    def check(self) -> None:
        """Send OPTIONS up to ten times.

        Raises TimeoutError without a response, AssertionError if it is no 200.
        """
        token = f"{self.random.getrandbits(64):x}"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.connect(self.address)
            udp.settimeout(1)
            here = udp.getsockname()[1]
            host, port = self.address
            request = OPTIONS.format(host=host, port=port, here=here, token=token).encode()
            for _ in range(10):
                with suppress(TimeoutError):
                    udp.send(request)
                    response = udp.recv(65_535)
                    assert response.startswith(b"SIP/2.0 200 "), response
                    return
        raise TimeoutError("the edge no longer responds to OPTIONS")

    def _send(self, udp: socket.socket) -> None:
        data = self.mutator.mutate(self.corpus)
        self.sent += 1
        if self.random.random() < 0.9:
            udp.sendto(data[:65_000], self.address)
            return
        with suppress(OSError), socket.create_connection(self.address, timeout=1) as tcp:
            self.connections += 1
            cut = self.random.randint(0, len(data))
            tcp.sendall(data[:cut])
            tcp.sendall(data[cut:])


@contextmanager
def isolated_service(folder: Path) -> Iterator[Service]:
    """One edge and one worker on a Valkey. Their outbound proxy is a socket that nobody reads."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        settings = {"outbound_proxy": f"sip:127.0.0.1:{sink.getsockname()[1]}", "drain_timeout": "1"}
        with service(folder, "valkey", settings) as running:
            yield running


def fuzz(running: Service, seconds: float, seed: int) -> EdgeFuzzer:
    """Fuzz a service's first edge. Raises AssertionError if it logs an exception or grows."""
    edge = running.edges[0]
    fuzzer = EdgeFuzzer(*running.edge, seed)
    fuzzer.send_for(seconds / 3)
    before = memory_of(edge.child.pid) if edge.child else 0
    fuzzer.send_for(seconds * 2 / 3)
    growth = (memory_of(edge.child.pid) if edge.child else 0) - before
    assert growth < GROWTH, f"the edge grew by {growth} kB"
    assert fuzzer.connections, "the edge accepted no TCP connection"
    log = edge.log()
    assert "Traceback" not in log, log
    assert "could not be handled" not in log, log
    return fuzzer


def memory_of(pid: int) -> int:
    """A process's resident memory in kilobytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (size,) = [line for line in lines if line.startswith("VmRSS:")]
    return int(size.split()[1])


def main() -> int:
    """The command. Its exit status is 0 if the edge served to the end."""
    parser = argparse.ArgumentParser(description="Start an edge and fuzz it.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
    with tempfile.TemporaryDirectory() as folder, isolated_service(Path(folder)) as running:
        fuzzer = fuzz(running, options.seconds, options.seed)
    print(f"{fuzzer.sent} messages sent; the edge still responds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
