"""sipsak, SIPp and baresip with edges on every transport, over IPv4 and IPv6."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis

from imc_common import keys
from tests.chaos.plant import Process, Single, free_port, wait_until
from tests.imc_edge.conftest import make_certificate
from tests.integration.peers.baresip import Baresip
from tests.integration.peers.kamailio import ROOT
from tests.integration.service import options
from tests.integration.sip_user import SipUser
from tests.integration.sipp_runs import SCENARIOS
from tests.tools import require

pytestmark = pytest.mark.integration


class Everywhere:
    """One edge on UDP, TCP and TLS, at 127.0.0.1 and ::1, with a worker."""

    def __init__(self, folder: Path) -> None:
        self.redis = Single(folder)
        self.port, self.tls_port = free_port(socket.SOCK_DGRAM), free_port()
        certificate = make_certificate(folder, "localhost")
        hosts = ("127.0.0.1", "[::1]")
        listen = [f"{transport}:{host}:{self.port}" for host in hosts for transport in ("udp", "tcp")]
        listen += [f"tls:{host}:{self.tls_port}" for host in hosts]
        env = {
            "IMC_DB_URL": self.redis.url,
            "IMC_LISTEN": ",".join(listen),
            "IMC_TLS_CERTIFICATE": str(certificate.certificate),
            "IMC_TLS_PRIVATE_KEY": str(certificate.private_key),
            "PYTHONPATH": str(ROOT),
        }
        modules = ("imc_edge", "imc_worker")
        self._processes = [Process(name, [sys.executable, "-m", name], folder, env) for name in modules]

    def start(self) -> None:
        self.redis.start()
        for process in self._processes:
            process.start()
        wait_until(lambda: options(self.port) == 200, "an edge that serves")

    def stop(self) -> None:
        for process in self._processes:
            process.end()
        self.redis.stop()


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everywhere]:
    """The service of all tests here."""
    require("redis-server")
    require("redis-cli")
    running = Everywhere(tmp_path_factory.mktemp("everywhere"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
async def alice(everywhere: Everywhere) -> AsyncIterator[SipUser]:
    """A user on UDP."""
    user = await SipUser.open("alice", ("127.0.0.1", everywhere.port))
    yield user
    user.close()


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_sipsak_pings_the_edge(everywhere: Everywhere, transport: str) -> None:
    """OPTIONS without a user part, as balancers and monitors ask, is answered 200.

    sipsak 0.9.8 looks for host *and port* among a certificate's names, so it is told not to look.
    """
    port = everywhere.tls_port if transport == "tls" else everywhere.port
    words = ["-vv", "-E", transport, "-s", f"sip:localhost:{port}"]
    if transport == "tls":
        words.append("--tls-ignore-cert-failure")
    done = subprocess.run([require("sipsak"), *words], capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert b"200 OK" in done.stdout


@pytest.mark.parametrize(("mode", "host"), [("t1", "127.0.0.1"), ("u1", "[::1]"), ("t1", "[::1]")])
async def test_sipp_speaks_over_tcp_and_ipv6(
    everywhere: Everywhere, alice: SipUser, tmp_path: Path, mode: str, host: str
) -> None:
    """A user on the other transport comes into the room and is heard."""
    room = f"sipp-{mode}-{len(host)}@example.org"
    await alice.say(f"sip:{room}", "#create")
    await alice.expect(".*You have made.*")
    sender = "bob@127.0.0.1:9"
    csv = tmp_path / "lines.csv"
    csv.write_text(f"SEQUENTIAL\n{sender};{room};#join\n{sender};{room};over {mode}\n")
    command = [
        require("sipp"),
        f"{host}:{everywhere.port}",
        "-sf",
        str(SCENARIOS / "say.xml"),
        "-inf",
        str(csv),
    ]
    command += ["-i", host, "-t", mode, "-m", "2", "-l", "1", "-nostdin", "-timeout", "30", "-timeout_error"]
    done = await asyncio.to_thread(
        subprocess.run, command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    await alice.expect(".*has joined.*")
    await alice.expect(f"<{sender}>: over {mode}")


async def test_baresip_is_a_user_in_a_room(everywhere: Everywhere, alice: SipUser, tmp_path: Path) -> None:
    """A real softphone joins, speaks and hears; what it is sent, it answers 200."""
    room = f"phone@127.0.0.1:{everywhere.port}"
    phone = Baresip(tmp_path, "carol", room)
    phone.start()
    try:
        await alice.say(f"sip:{room}", "#create")
        await alice.expect(".*You have made.*")
        phone.message("#join")
        await alice.expect(f".*{phone.address} has joined.*")
        phone.message("hello from a phone")
        await alice.expect(f"<{phone.address}>: hello from a phone")
        await alice.say(f"sip:{room}", "hello, phone")
        shard = keys.shard_of(room, 4)
        with redis.Redis.from_url(everywhere.redis.url) as db:
            wait_until(lambda: db.xlen(keys.events(shard)) == 0, "the phone's answer", 10)
            assert db.xlen(keys.undelivered(shard)) == 0
    finally:
        phone.process.end()
