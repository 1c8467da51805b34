"""Measures what a flood on one TCP connection costs other users: ``python -m tests.connection_flood``.

An untrusted source sends messages that get no response, as fast as the edge reads. When it is cut off, it
connects again. All of it stays on loopback.
"""

from __future__ import annotations

import argparse
import multiprocessing
import socket
import tempfile
import time
from pathlib import Path

from imc_common.settings import Endpoint
from tests.flood import FLOODER, TRUSTED, latencies, percentile
from tests.imc_edge.process import edge_process
from tests.servers import running

KINDS = {
    "ACK": b"ACK a SIP/2.0\r\nl:0\r\n\r\n",
    "200": b"SIP/2.0 200 OK\r\nl:0\r\n\r\n",
    "faults": b"MESSAGE a SIP/2.0\r\nfaulty\r\nl:0\r\n\r\n",
}


def flood(at: Endpoint, message: bytes) -> None:
    """Send the message without end."""
    data = message * (65536 // len(message))
    while True:
        try:
            with socket.create_connection((at.host, at.port), source_address=(FLOODER, 0)) as stream:
                while True:
                    stream.sendall(data)
        except OSError:
            time.sleep(0.01)


def main() -> None:
    """Measure and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    seconds = parser.parse_args().seconds
    settings = {
        "trusted_peers": TRUSTED,
        "max_messages_per_second": 0,
        "max_backlog": 0,
        "listen": "udp:127.0.0.1:0,tcp:127.0.0.1:0",
    }
    with (
        tempfile.TemporaryDirectory() as name,
        running("redis-server", Path(name)) as server,
        edge_process(Path(name), server.url, **settings) as edge,
    ):
        udp, tcp = edge.endpoints()
        latencies(udp, 2)
        for kind in (None, *KINDS):
            flooder = None
            if kind is not None:
                flooder = multiprocessing.Process(target=flood, args=(tcp, KINDS[kind]), daemon=True)
                flooder.start()
            values = latencies(udp, seconds)
            if flooder is not None:
                flooder.kill()
                flooder.join()
            print(
                f"{'quiet' if kind is None else f'beside {kind}'}: {len(values)} messages of others, median"
                f" {percentile(values, 0.5):.1f} ms, p99 {percentile(values, 0.99):.1f} ms,"
                f" without response {sum(value >= 3000 for value in values)}"
            )


if __name__ == "__main__":
    main()
