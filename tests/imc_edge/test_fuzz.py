"""Bent messages against the receiving side: an answer or silence, never an exception, never much."""

from __future__ import annotations

import random
import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest

from imc_common.settings import Endpoint
from tests.conformance.as_message import as_message
from tests.conformance.cases import CASES
from tests.imc_edge.doubles import FakeFlow, edge
from tests.imc_edge.process import User, edge_process, eventually, fresh, memory_kb
from tests.mutator import Mutator
from tests.servers import running

CORPUS = [case.data for case in CASES] + [as_message(case.data, "f") for case in CASES if case.message]
ROUNDS = 3000
SECONDS = 4.0
ABOVE = 250
"""Bytes by which an answer may be longer than its request: 200 for usual ones, compact names become long."""


async def test_whatever_comes_in_gets_at_most_one_short_answer() -> None:
    """Rows 25 and 31: no exception, no second answer, no amplification; a 500 would be a bug of ours."""
    mutator = Mutator(random.Random(3))
    async with edge(max_backlog=0) as at:
        for _ in range(ROUNDS):
            data = mutator.mutate(CORPUS)
            if data.startswith(b"SIP/2.0 "):
                continue
            flow = FakeFlow()
            at.acceptor.receive(data, flow)
            await at.settle()
            assert len(flow.sent) <= 1, data
            if flow.sent:
                answer = flow.sent[0][0]
                assert len(answer) <= len(data) + ABOVE + 2 * data.count(b"\n"), data  # v: becomes Via:
                assert not answer.startswith(b"SIP/2.0 500"), data


def bombard_udp(at: Endpoint, mutator: Mutator, seconds: float) -> None:
    """Bent datagrams as fast as they can be made."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            attacker.sendto(mutator.mutate(CORPUS)[:65000], at[1:])


def bombard_tcp(at: Endpoint, mutator: Mutator, seconds: float) -> None:
    """Bent messages one after the other, on a new connection whenever the edge has had enough."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(at[1:], timeout=1.0) as attacker:
            for _ in range(50):
                attacker.sendall(mutator.mutate(CORPUS))


@pytest.mark.integration
def test_a_live_edge_outlives_bent_messages(tmp_path: Path) -> None:
    """It serves on, has logged no surprise, and has not grown."""
    with (
        running("redis-server", tmp_path, "--maxmemory-policy", "noeviction") as server,
        edge_process(tmp_path, server.url, listen="udp:127.0.0.1:0,tcp:127.0.0.1:0") as process,
    ):
        udp, tcp = process.endpoints()
        mutator = Mutator(random.Random(4))
        bombard_udp(udp, mutator, SECONDS)
        bombard_tcp(tcp, mutator, SECONDS)
        before = memory_kb(process)
        bombard_udp(udp, mutator, SECONDS)
        bombard_tcp(tcp, mutator, SECONDS)
        with User(udp) as user:
            eventually(lambda: user.status(fresh()) == 202)
        assert process.lines("request failed") == []
        assert memory_kb(process) < before + 20_000
