"""Floods of real datagrams at a real edge; `python -m tests.flood` does it at length and prints figures."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flood import FLOODER, TRUSTED, dropped, flooding, send_bad
from tests.imc_edge.process import User, edge_process, eventually, fresh
from tests.patience import PATIENCE
from tests.ports import free_port
from tests.servers import Server, running

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.compiled]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """This test's own Redis."""
    (tmp_path / "redis").mkdir()
    with running("redis-server", tmp_path / "redis") as started:
        yield started


def test_malformed_datagrams_leave_no_memory_behind(server: Server, tmp_path: Path) -> None:
    """All with different names. Memory does not grow, and each costs little CPU."""
    with edge_process(tmp_path, server.url, trusted_peers=TRUSTED) as edge:
        cost = send_bad(edge, edge.endpoints()[0], 20_000)
        assert cost.grown_kb < 8_000, cost
        assert cost.cpu_seconds / cost.kilobytes < 0.005, cost
        assert not edge.lines("request failed")


def test_others_are_served_during_a_flood_of_one_source(server: Server, tmp_path: Path) -> None:
    """The flood is dropped before it is parsed; messages of others are accepted."""
    port = free_port()
    settings = {"trusted_peers": TRUSTED, "max_messages_per_second": 0, "status_listen": f"127.0.0.1:{port}"}
    assert FLOODER not in TRUSTED
    with edge_process(tmp_path, server.url, **settings) as edge:
        at = edge.endpoints()[0]
        with flooding(at, 5_000), User(at) as user:
            eventually(lambda: dropped(port) > 1000)
            for _ in range(200):
                # the kernel may drop a datagram of a full buffer: it is sent again, as UDP asks
                request = fresh()
                eventually(lambda request=request: user.status(request, 0.5) == 202)  # type: ignore[misc]


@pytest.mark.parametrize("message", [b"ACK a SIP/2.0\r\nl:0\r\n\r\n", b"SIP/2.0 200 OK\r\nl:0\r\n\r\n"])
def test_a_flood_on_a_connection_is_cut_and_keeps_nobody_from_being_served(
    server: Server, tmp_path: Path, message: bytes
) -> None:
    """Of requests that get no response, and of responses."""
    settings = {"trusted_peers": TRUSTED, "listen": "udp:127.0.0.1:0,tcp:127.0.0.1:0"}
    with edge_process(tmp_path, server.url, **settings) as edge:
        udp, tcp = edge.endpoints()
        with User(udp) as user, socket.create_connection(tcp[1:], source_address=(FLOODER, 0)) as flooder:
            flooder.setblocking(False)
            served, cut = 0, False
            deadline = time.monotonic() + PATIENCE
            while not cut and time.monotonic() < deadline:
                try:
                    flooder.send(message * 5000)
                except BlockingIOError:
                    pass
                except OSError:
                    cut = True
                served += user.status(fresh(), PATIENCE) == 202
            assert cut
            assert served > 10
        assert edge.lines("connection closed")
