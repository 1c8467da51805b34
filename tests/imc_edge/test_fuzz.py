"""Mutated messages against the receiving side: one short response or silence, never an exception."""

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
from tests.imc_edge.conference.requests import invite, request, resource_list, subscribe
from tests.imc_edge.doubles import FakeFlow, edge
from tests.imc_edge.process import User, edge_process, eventually, fresh, memory_kb
from tests.imc_edge.receiving.test_registration import register
from tests.mutator import Mutator
from tests.servers import running

CORPUS = [case.data for case in CASES] + [as_message(case.data, "f") for case in CASES if case.message]
CORPUS += [
    register("*", Expires="0"),
    register("<sip:c@192.0.2.7;ob>;expires=60;q=0.5", "sip:c@192.0.2.8", Expires="3600"),
    register('"C, <x>" <sip:c@[::1]:5070?X=1>;+sip.instance="<urn:uuid:0>", <sip:d@h>;expires=0'),
]
CORPUS += [
    invite("sip:bob@example.org", "sip:carol@example.org"),
    subscribe("sip:conference-factory@example.org", resource_list("sip:chat-000@example.org;Last-Notify=3")),
    request("REFER", Refer_To="<sip:bob@example.org;method=BYE>;text"),
    request("INVITE", To="<sip:chat-000@example.org>;tag=1", Subject="New"),
    request("BYE", To="<sip:chat-000@example.org>;tag=1"),
    request("ACK", To="<sip:chat-000@example.org>;tag=1"),
]
ROUNDS = 3000
SECONDS = 4.0
ABOVE = 400
"""Bytes by which a response may be longer than its request; compact header names become long ones."""


async def test_a_mutated_message_gets_at_most_one_short_response() -> None:
    """A 500 would be a bug of ours."""
    mutator = Mutator(random.Random(3))
    async with edge(max_backlog=0) as at:
        for _ in range(ROUNDS):
            data = mutator.mutate(CORPUS)
            if data.startswith(b"SIP/2.0 "):
                continue
            flow = FakeFlow()
            at.acceptor.receive(data, flow)
            await at.settle()
            await at.acceptor.conferences.drain()
            assert len(flow.sent) <= 1, data
            if flow.sent:
                response = flow.sent[0][0]
                assert len(response) <= len(data) + ABOVE + 2 * data.count(b"\n"), data  # v: becomes Via:
                assert not response.startswith(b"SIP/2.0 500"), data


def bombard_udp(at: Endpoint, mutator: Mutator, seconds: float) -> None:
    """Mutated datagrams as fast as possible."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            attacker.sendto(mutator.mutate(CORPUS)[:65000], at[1:])


def bombard_tcp(at: Endpoint, mutator: Mutator, seconds: float) -> None:
    """Mutated messages in a row; on a new connection when the edge closes one."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(at[1:], timeout=1.0) as attacker:
            for _ in range(50):
                attacker.sendall(mutator.mutate(CORPUS))


@pytest.mark.integration
def test_a_live_edge_survives_mutated_messages(tmp_path: Path) -> None:
    """It still serves, has logged no failure, and has not grown."""
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
