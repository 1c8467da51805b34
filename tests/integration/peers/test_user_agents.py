"""sipsak, OpenSSL, SIPp and baresip against an edge on UDP, TCP and TLS over IPv4 and IPv6."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis

from imc_common import keys
from tests.chaos.servers import Single
from tests.imc_common.bodies.corpus import LIME_TYPE, lime
from tests.imc_edge.conftest import make_certificate
from tests.integration.peers.baresip import Baresip
from tests.integration.peers.kamailio import ROOT
from tests.integration.service import options
from tests.integration.sip_user import SipUser
from tests.integration.sipp_runs import SCENARIOS
from tests.ports import free_port
from tests.processes import Process, wait_until
from tests.tools import require

pytestmark = pytest.mark.integration


class Everywhere:
    """One worker, and one edge that listens on UDP, TCP and TLS at 127.0.0.1 and ::1."""

    def __init__(self, folder: Path) -> None:
        self.redis = Single(folder)
        self.port, self.tls_port = free_port(), free_port()
        certificate = make_certificate(folder, "localhost")
        hosts = ("127.0.0.1", "[::1]")
        listen = [f"{transport}:{host}:{self.port}" for host in hosts for transport in ("udp", "tcp")]
        listen += [f"tls:{host}:{self.tls_port}" for host in hosts]
        env = {
            "IMC_DB_URL": self.redis.url,
            "IMC_LISTEN": ",".join(listen),
            "IMC_DESTINATION_NETWORKS": "127.0.0.0/8,::1/128",
            "IMC_TLS_CERTIFICATE": str(certificate.certificate),
            "IMC_TLS_PRIVATE_KEY": str(certificate.private_key),
            "PYTHONPATH": str(ROOT),
        }
        self.authority = str(certificate.ca)
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
    """One service for all tests of this module."""
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


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_sipsak_gets_200_to_options(everywhere: Everywhere, transport: str) -> None:
    """OPTIONS without a user part, as balancers and monitors send it."""
    command = [require("sipsak"), "-vv", "-E", transport, "-s", f"sip:localhost:{everywhere.port}"]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert b"200 OK" in done.stdout


def test_openssl_client_gets_200_to_options_over_tls(everywhere: Everywhere) -> None:
    """OpenSSL's client verifies the certificate.

    Debian's SIPp is built without TLS, and sipsak 0.9.8 treats a TLS 1.3 session ticket as an error.
    """
    request = (
        "OPTIONS sip:localhost SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1:9;branch=z9hG4bKtls;rport\r\n"
        "Max-Forwards: 70\r\nFrom: <sip:probe@localhost>;tag=1\r\nTo: <sip:localhost>\r\n"
        "Call-ID: tls\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
    where = ["-connect", f"127.0.0.1:{everywhere.tls_port}", "-servername", "localhost"]
    verify = ["-CAfile", everywhere.authority, "-verify_return_error", "-verify_hostname", "localhost"]
    client = subprocess.Popen(
        [require("openssl"), "s_client", "-quiet", *where, *verify],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert client.stdin is not None
    assert client.stdout is not None
    with client.stdin, client.stdout:
        client.stdin.write(request.encode())
        client.stdin.flush()
        assert client.stdout.readline() == b"SIP/2.0 200 OK\r\n"
        client.kill()
    client.wait()


@pytest.mark.parametrize(("mode", "host"), [("t1", "127.0.0.1"), ("u1", "[::1]"), ("t1", "[::1]")])
async def test_a_sipp_user_over_tcp_or_ipv6_talks_in_a_room(
    everywhere: Everywhere, alice: SipUser, tmp_path: Path, mode: str, host: str
) -> None:
    """The other member is on UDP and IPv4."""
    room = f"sipp-{mode}-{len(host)}@example.org"
    await alice.say(f"sip:{room}", "#create")
    await alice.assert_gets(".*You have created.*")
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
    command += ["-i", host, "-t", mode, "-m", "2", "-l", "1", "-nostdin", "-timeout", "90", "-timeout_error"]
    done = await asyncio.to_thread(
        subprocess.run, command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    await alice.assert_gets(".*has joined.*")
    await alice.assert_gets(f"<{sender}>: over {mode}")


async def meet(alice: SipUser, phone: Baresip, room: str) -> None:
    """Alice makes a room, and the phone joins it."""
    await alice.say(f"sip:{room}", "#create")
    await alice.assert_gets(".*You have created.*")
    phone.message("#join")
    await alice.assert_gets(f".*{phone.address} has joined.*")


async def test_a_baresip_user_talks_in_a_room(everywhere: Everywhere, alice: SipUser, tmp_path: Path) -> None:
    """A real softphone joins, sends and receives; it accepts the delivery with 200."""
    room = f"phone@127.0.0.1:{everywhere.port}"
    phone = Baresip(tmp_path, "carol", room)
    phone.start()
    try:
        await meet(alice, phone, room)
        phone.message("hello from a phone")
        await alice.assert_gets(f"<{phone.address}>: hello from a phone")
        await alice.say(f"sip:{room}", "hello, phone")
        shard = keys.shard_of(room, 4)
        with redis.Redis.from_url(everywhere.redis.url) as db:
            wait_until(lambda: db.xlen(keys.events(shard)) == 0, "the phone's response", 100)
            failed = repr(db.xrange(keys.undelivered(shard)))  # other tests' rooms may be of this shard
        assert phone.address not in failed
    finally:
        phone.stop()


async def test_a_baresip_user_refuses_an_encrypted_message_and_gets_the_next(
    everywhere: Everywhere, alice: SipUser, tmp_path: Path
) -> None:
    """415: it shows nothing of it."""
    room = f"encrypted@127.0.0.1:{everywhere.port}"
    phone = Baresip(tmp_path, "carol", room)
    phone.start()
    try:
        await meet(alice, phone, room)
        phone.assert_gets_eventually(".*You have joined.*")
        body = lime(f"sip:{alice.address};gr=urn:uuid:1", f"sip:{phone.address};gr=urn:uuid:2")
        await alice.say(f"sip:{room}", body, content_type=LIME_TYPE)
        await alice.say(f"sip:{room}", "in clear")
        phone.assert_gets(f"<{alice.address}>: in clear")
        shard = keys.shard_of(room, 4)
        with redis.Redis.from_url(everywhere.redis.url) as db:
            wait_until(lambda: db.xlen(keys.events(shard)) == 0, "the phone's responses", 100)
            failed = [fields for _, fields in db.xrange(keys.undelivered(shard))]  # type: ignore[union-attr, str-unpack]
        assert [each[b"status"] for each in failed if each[b"from"] == phone.address.encode()] == [b"415"]
    finally:
        phone.stop()
