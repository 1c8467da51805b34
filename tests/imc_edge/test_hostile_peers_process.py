"""Peers that send junk, stall or lie to a whole edge process: what they get, and that others are served."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from imc_common.settings import Endpoint
from imc_edge.transports.tls import TlsFiles
from tests.imc_edge.process import User, ask_on, edge_process, eventually, fresh, memory_kb
from tests.patience import PATIENCE, Stopwatch
from tests.servers import Server, running

pytestmark = pytest.mark.integration

ALLOWANCE = 10.0
"""Seconds that a busy machine may need in addition; time in which it stops is not counted at all."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """This test's own Redis."""
    (tmp_path / "redis").mkdir()
    with running("redis-server", tmp_path / "redis") as started:
        yield started


def test_datagrams_that_are_not_sip_get_no_response_and_cost_no_memory(
    server: Server, tmp_path: Path
) -> None:
    """Among them half a SIP message; their source may be spoofed."""
    junk = [
        b"\xff" * 1000,
        fresh()[:60],
        b"OPTIONS\r\n\r\n" * 50,
        fresh().replace(b"Via", b"X-Via"),
        b"\0" * 65000,
    ]
    with edge_process(tmp_path, server.url) as edge:
        at = edge.endpoints()[0]
        with User(at) as attacker, User(at) as user:
            for _ in range(200):
                for data in junk:
                    attacker.send(data)
            before = memory_kb(edge)
            for _ in range(600):
                for data in junk:
                    attacker.send(data)
            eventually(lambda: user.status(fresh()) == 202)  # the flood may have filled the kernel's buffer
            attacker._socket.settimeout(0.2)
            with pytest.raises(TimeoutError):
                attacker.response()
            assert memory_kb(edge) < before + 20_000


def occupied(at: Endpoint, count: int, data: bytes) -> list[socket.socket]:
    """So many connections that sent this and then nothing."""
    peers = []
    for _ in range(count):
        peer = socket.create_connection(at[1:])
        peer.sendall(data)
        peers.append(peer)
    return peers


@pytest.mark.slow
@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"MESSAGE sip:a@b SIP/2.0\r\nVia: ", id="slow header"),
        pytest.param(fresh().replace(b"Length: 5", b"Length: 4000000000"), id="a body of 4 GB"),
        pytest.param(fresh().replace(b"Length: 5", b"Length: 8000"), id="slow body"),
    ],
)
def test_slow_peers_are_disconnected_within_12_seconds_and_delay_nobody(
    server: Server, tmp_path: Path, sent: bytes
) -> None:
    """1,000 connections; memory stays flat."""
    listen = "udp:127.0.0.1:0,tcp:127.0.0.1:0"
    with edge_process(tmp_path, server.url, listen=listen, max_connections_per_peer=1000) as edge:
        udp, tcp = edge.endpoints()
        before = memory_kb(edge)
        peers = occupied(tcp, 1000, sent)
        with User(udp) as user:
            assert user.ask(fresh()).status == 202
        assert memory_kb(edge) < before + 30_000
        with Stopwatch() as watch:
            for peer in peers:
                peer.settimeout(PATIENCE)
                with suppress(ConnectionError):
                    while peer.recv(65536):
                        pass
                peer.close()
        assert watch.seconds < 12 + ALLOWANCE


def test_connections_per_address_are_limited_and_other_addresses_are_served(
    server: Server, tmp_path: Path
) -> None:
    """1,000 connections from one address that is not trusted."""
    settings = {"listen": "tcp:127.0.0.1:0", "trusted_peers": "127.0.0.3/32"}
    with edge_process(tmp_path, server.url, **settings) as edge:
        at = edge.endpoints()[0]
        peers = occupied(at, 1000, b"")
        with socket.create_connection(at[1:], source_address=("127.0.0.3", 0)) as other:
            assert ask_on(other, fresh()).startswith(b"SIP/2.0 202")
        files = Path(f"/proc/{edge.child.pid}/fd")
        eventually(lambda: len(list(files.iterdir())) < 64 + 40)
        for peer in peers:
            peer.close()


def test_plain_text_on_the_tls_port_is_disconnected_within_5_seconds(
    server: Server, tmp_path: Path, tls_files: TlsFiles
) -> None:
    """And a handshake that stalls."""
    tls = {"tls_certificate": tls_files.certificate, "tls_private_key": tls_files.private_key}
    with edge_process(tmp_path, server.url, listen="tls:127.0.0.1:0", **tls) as edge:
        at = edge.endpoints()[0]
        with Stopwatch() as watch:
            for peer in occupied(at, 1, fresh()) + occupied(at, 1, b"\x16\x03\x01"):
                peer.settimeout(PATIENCE)
                with suppress(ConnectionError):
                    peer.recv(65536)
                peer.close()
        assert watch.seconds < 5 + ALLOWANCE


@pytest.mark.parametrize("end", [b"", b"\0", b"MESSAGE sip:a@b SIP/2.0\r\n\r\n"])
def test_requests_before_a_half_close_or_a_bad_byte_get_their_responses_first(
    server: Server, tmp_path: Path, end: bytes
) -> None:
    """RFC 3261 §18.2.2: on the open connection, which is closed then."""
    with edge_process(tmp_path, server.url, listen="tcp:127.0.0.1:0") as edge:
        with socket.create_connection(edge.endpoints()[0][1:]) as peer:
            peer.settimeout(PATIENCE)
            peer.sendall(fresh() + fresh() + end)
            if not end:
                peer.shutdown(socket.SHUT_WR)
            got = b""
            while data := peer.recv(65536):
                got += data
        assert got.count(b"SIP/2.0 202 Accepted\r\n") == 2
        assert got.count(b"SIP/2.0 ") == 2


def test_a_response_to_an_untrusted_peer_goes_to_its_source_whatever_maddr_says(
    server: Server, tmp_path: Path
) -> None:
    """A third party gets nothing."""
    settings = {"trusted_peers": "127.0.0.3/32", "listen": "udp:127.0.0.1:0"}
    with (
        edge_process(tmp_path, server.url, **settings) as edge,
        User(edge.endpoints()[0]) as attacker,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as victim,
    ):
        victim.bind(("127.0.0.2", 0))
        port = victim.getsockname()[1]
        for _ in range(3):
            via = f"SIP/2.0/UDP 127.0.0.1:{port};maddr=127.0.0.2;rport;branch=z9hG4bKx"
            assert attacker.ask(fresh(Via=via)).status == 403
        victim.setblocking(False)
        with pytest.raises(BlockingIOError):
            victim.recv(65536)
