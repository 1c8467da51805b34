"""Measures what floods cost an edge and its other users: ``python -m tests.flood``.

Bad datagrams come from a trusted peer, so that the edge parses each. The flood beside which others are
measured comes from an untrusted source. All of it stays on loopback.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from imc_common.settings import Endpoint
from tests.imc_edge.process import EdgeProcess, User, edge_process, fresh, memory_kb
from tests.ports import free_port
from tests.servers import running

BATCH = 48
"""Datagrams sent before the edge has to confirm that it read them, so that the kernel's buffer drops none."""
FLOODER = "127.0.0.9"
NUMBERS = itertools.count(1)
TRUSTED = "127.0.0.1/32"


def bad(number: int) -> bytes:
    """One of twelve kinds of bad datagram, with names that no earlier datagram had."""
    name = f"u{number}"
    good = fresh(From=f"<sip:{name}@h{number}.example>;tag={number}")
    return (
        lambda: good.replace(b"CSeq: 1", b"CSeq: x"),
        lambda: good.replace(b"Content-Length: 5", b"Content-Length: 50"),
        lambda: good.replace(b"text/plain", f"x-{name}/y".encode()),
        lambda: good.replace(b"Call-ID", b"X-Call-ID"),
        lambda: good.replace(b"sip:chat-000@example.org", f"tel:{number}".encode()),
        lambda: good.replace(b"To: <sip:", b"To: <" + b"\\" * 900),
        lambda: good[:90],
        lambda: good.replace(b"Max-Forwards: 70", b"Max-Forwards: 0"),
        lambda: b"MESSAGE " + secrets.token_bytes(600),
        lambda: good.replace(b"Via:", b"Via: ;;;;;;;,,,,,,,\r\nVia:"),
        lambda: b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK" + name.encode() + b"\r\n\r\n",
        lambda: secrets.token_bytes(1200),
    )[number % 12]()


@dataclass(frozen=True)
class Cost:
    """The cost of bad datagrams to an edge."""

    datagrams: int
    kilobytes: float
    cpu_seconds: float
    grown_kb: int

    def __str__(self) -> str:
        each, per_kb = self.cpu_seconds / self.datagrams * 1e6, self.cpu_seconds / self.kilobytes * 1e6
        return (
            f"{self.datagrams:,} bad datagrams: {each:.0f} µs of CPU each, {per_kb:.0f} µs per kilobyte,"
            f" memory grew by {self.grown_kb:,} KB"
        )


def send_bad(edge: EdgeProcess, at: Endpoint, count: int) -> Cost:
    """Send ``count`` bad datagrams and measure, after up to 20,000 that warm the edge up."""
    with User(at) as user:
        _send_all(user, min(count, 20_000))
        memory, cpu, size = memory_kb(edge), cpu_seconds(edge), 0
        size = _send_all(user, count)
        return Cost(count, size / 1024, cpu_seconds(edge) - cpu, memory_kb(edge) - memory)


def _send_all(user: User, count: int) -> int:
    size = 0
    for sent in range(0, count, BATCH):
        for _ in range(min(BATCH, count - sent)):
            data = bad(next(NUMBERS))
            size += len(data)
            user.send(data)
        _until_read(user)
    return size


def _until_read(user: User) -> None:
    """Wait for the response to an OPTIONS: the edge has then read everything sent before it."""
    user.ask(fresh("OPTIONS"))


def cpu_seconds(edge: EdgeProcess) -> float:
    """CPU time that the process has used."""
    fields = Path(f"/proc/{edge.child.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def flooding(at: Endpoint, per_second: int) -> Iterator[None]:
    """Another process sends about ``per_second`` well-formed messages from an untrusted source."""
    command = [
        sys.executable,
        "-m",
        "tests.flood",
        "--flood",
        f"{at.host}:{at.port}",
        "--rate",
        str(per_second),
    ]
    flooder = subprocess.Popen(command)
    try:
        yield
    finally:
        flooder.kill()
        flooder.wait()


def flood(host: str, port: int, per_second: int, seconds: float = 120.0) -> None:
    """Send in bursts every 10 ms, until killed or for ``seconds``."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((FLOODER, 0))
        each, until = max(1, per_second // 100), time.monotonic() + seconds
        requests = [fresh() for _ in range(1000)]
        turn = itertools.cycle(requests)
        while time.monotonic() < until:
            begun = time.monotonic()
            for _ in range(each):
                sock.sendto(next(turn), (host, port))
            time.sleep(max(0.0, begun + 0.01 - time.monotonic()))


def latencies(at: Endpoint, seconds: float, pause: float = 0.01) -> list[float]:
    """Milliseconds from each message of a trusted user to its 202, sorted; no response counts as 3,000."""
    found = []
    until = time.monotonic() + seconds
    with User(at) as user:
        while time.monotonic() < until:
            begun = time.monotonic()
            status = user.status(fresh())
            assert status in {202, None}, status
            found.append((time.monotonic() - begun) * 1000)
            time.sleep(pause)
    return sorted(found)


def dropped(status_port: int) -> int:
    """Requests that the edge dropped unread, as its own metric counts them."""
    with urlopen(f"http://127.0.0.1:{status_port}/metrics", timeout=10) as page:
        found = re.search(rb'imc_ignored_total\{reason="flood"\} ([0-9.]+)', page.read())
    return int(float(found[1])) if found else 0


def percentile(values: list[float], share: float) -> float:
    """The value below which ``share`` of the sorted values lie."""
    return values[min(len(values) - 1, int(len(values) * share))]


def main() -> None:
    """Measure and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datagrams", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=int, default=20_000)
    parser.add_argument("--flood", default="", help="only flood this address")
    options = parser.parse_args()
    if options.flood:
        host, _, port = options.flood.rpartition(":")
        flood(host, int(port), options.rate)
        return
    settings = {"trusted_peers": TRUSTED, "max_messages_per_second": 0, "max_backlog": 0}
    with tempfile.TemporaryDirectory() as name, running("redis-server", Path(name)) as server:
        with edge_process(Path(name), server.url, **settings) as edge:
            print(send_bad(edge, edge.endpoints()[0], options.datagrams))
        for limit in (15, 0):
            port = free_port()
            own = {"max_requests_per_source": limit, "status_listen": f"127.0.0.1:{port}"}
            with edge_process(Path(name), server.url, **settings, **own) as edge:
                at = edge.endpoints()[0]
                latencies(at, 2)
                quiet = latencies(at, options.seconds)
                with flooding(at, options.rate):
                    time.sleep(1)
                    before = dropped(port)
                    flooded = latencies(at, options.seconds)
                    print(f"{(dropped(port) - before) / options.seconds:,.0f} requests dropped per second")
            for about, values in (("quiet", quiet), ("flooded", flooded)):
                print(
                    f"limit {limit}/s, {about}: {len(values)} messages of others, median"
                    f" {percentile(values, 0.5):.1f} ms, p99 {percentile(values, 0.99):.1f} ms,"
                    f" without response {sum(value >= 3000 for value in values)}"
                )


if __name__ == "__main__":
    main()
