"""A million bad datagrams at a real edge: its memory afterwards, and its service to others meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.flood import TRUSTED, latencies, percentile, send_bad
from tests.imc_edge.process import edge_process
from tests.servers import running

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(900)]

DATAGRAMS = 1_000_000
MAX_GROWN_KB = 10_000
"""Ten bytes per datagram: anything that were kept of each would be larger."""


def test_a_million_bad_datagrams_do_not_grow_memory_and_others_are_served(tmp_path: Path) -> None:
    """Each has new names and is parsed, because its source is trusted."""
    (tmp_path / "redis").mkdir()
    settings = {"trusted_peers": TRUSTED, "max_messages_per_second": 0, "max_backlog": 0}
    with (
        running("redis-server", tmp_path / "redis") as server,
        edge_process(tmp_path, server.url, **settings) as edge,
        ThreadPoolExecutor(1) as sender,
    ):
        at = edge.endpoints()[0]
        sending = sender.submit(send_bad, edge, at, DATAGRAMS)
        waits = []
        while not sending.done():
            waits += latencies(at, 2)
        cost = sending.result()
        waits.sort()
        print(f"{cost}; {len(waits):,} messages of others, p99 {percentile(waits, 0.99):.1f} ms")
        assert cost.datagrams == DATAGRAMS
        assert cost.grown_kb < MAX_GROWN_KB, cost
        responses = sum(wait < 3000 for wait in waits)
        assert responses >= 0.99 * len(waits)  # the kernel may drop a datagram of a full buffer
        assert not edge.lines("request failed")
