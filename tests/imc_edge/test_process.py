"""A whole edge process on a real Redis: what it accepts, what it survives, how it ends.

Covers launcher.py, health.py, flow.py and `__main__.py`.
"""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from imc_common import keys
from imc_common.build_info import build_info
from imc_edge.delivering import fan_out
from imc_edge.transports.tls import TlsFiles
from tests.imc_edge.conftest import make_certificate
from tests.imc_edge.process import EdgeProcess, User, ask_on, edge_process, eventually, fresh
from tests.patience import PATIENCE, Stopwatch
from tests.ports import free_port
from tests.servers import Server, running

pytestmark = [pytest.mark.integration, pytest.mark.compiled]

ALLOWANCE = 10.0
"""Seconds that a busy machine may need in addition; time in which it stops is not counted at all."""
AOF = ("--maxmemory-policy", "noeviction", "--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A Redis of this test's own that keeps its data."""
    folder = tmp_path / "redis"
    folder.mkdir()
    with running("redis-server", folder, *AOF) as started:
        yield started


@pytest.fixture
def db(server: Server) -> Iterator[redis.Redis]:
    """A client that looks into it."""
    client = redis.Redis(unix_socket_path=server.socket)
    yield client
    client.close()


def entries(db: redis.Redis) -> int:
    """Requests that wait in all shards."""
    return sum(int(db.xlen(keys.requests(shard))) for shard in range(16))


def test_an_edge_runs_the_modules_under_test(server: Server, tmp_path: Path) -> None:
    """`make test-compiled` would prove nothing if its edges ran the sources, or another checkout."""
    port = free_port()
    with edge_process(tmp_path, server.url, status_listen=f"127.0.0.1:{port}") as edge:
        edge.endpoints()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:  # our own edge
            metrics = page.read().decode()
    assert f'compiled="{build_info().compiled}"' in metrics


@pytest.mark.parametrize("options", [[], ["-P"]])
def test_processes_in_other_folders_run_the_modules_under_test(tmp_path: Path, options: list[str]) -> None:
    """Nothing is found in their working folder, and with -P it is not even searched."""
    command = [sys.executable, *options, "-c", "import imc_edge.delivering.fan_out as it; print(it.__file__)"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert Path(ran.stdout.strip()) == Path(fan_out.__file__)


def test_a_message_over_each_transport_and_family_is_in_redis_before_the_202(
    server: Server, db: redis.Redis, tmp_path: Path, tls_files: TlsFiles
) -> None:
    """On real sockets."""
    listen = "udp:127.0.0.1:0,udp:[::1]:0,tcp:127.0.0.1:0,tcp:[::1]:0,tls:127.0.0.1:0,tls:[::1]:0"
    tls = {"tls_certificate": tls_files.certificate, "tls_private_key": tls_files.private_key}
    with edge_process(tmp_path, server.url, listen=listen, **tls) as edge:
        for number, at in enumerate(edge.endpoints(), 1):
            data = fresh()
            if at.transport == "udp":
                with User(at) as user:
                    assert user.ask(data).status == 202
            else:
                with socket.create_connection((at.host, at.port)) as plain:
                    if at.transport == "tls":
                        context = ssl.create_default_context(cafile=str(tls_files.ca))
                        with context.wrap_socket(plain, server_hostname="localhost") as secure:
                            assert ask_on(secure, data).startswith(b"SIP/2.0 202")
                    else:
                        assert ask_on(plain, data).startswith(b"SIP/2.0 202")
            assert entries(db) == number


def test_a_retransmission_to_another_edge_after_the_first_was_killed_is_a_duplicate(
    server: Server, db: redis.Redis, tmp_path: Path
) -> None:
    """Same response, To tag included, and one entry."""
    data = fresh()
    with edge_process(tmp_path, server.url) as first:
        with User(first.endpoints()[0]) as user:
            to = user.ask(data).headers.get("To")
        first.end(signal.SIGKILL)
    with edge_process(tmp_path, server.url) as second, User(second.endpoints()[0]) as user:
        response = user.ask(data)
        assert (response.status, response.headers.get("To")) == (202, to)
        assert entries(db) == 1


def test_requests_get_503_while_redis_is_down_and_202_soon_after(
    server: Server, db: redis.Redis, tmp_path: Path
) -> None:
    """And the requests that got 202 are there. (Recovery takes less than 5 s on an idle machine.)"""
    with edge_process(tmp_path, server.url) as edge, User(edge.endpoints()[0]) as user:
        assert user.ask(fresh()).status == 202
        server.kill()
        assert user.ask(fresh()).status == 503
        eventually(lambda: user.status(fresh("OPTIONS")) == 503)
        server.start()
        with Stopwatch() as watch:
            eventually(lambda: user.status(fresh()) == 202)
            eventually(lambda: user.status(fresh("OPTIONS")) == 200)
        assert watch.seconds < 5 + ALLOWANCE
        assert entries(db) >= 2


def test_requests_get_503_while_redis_is_full(server: Server, db: redis.Redis, tmp_path: Path) -> None:
    """And 202 when it has memory again."""
    with edge_process(tmp_path, server.url) as edge, User(edge.endpoints()[0]) as user:
        assert user.ask(fresh()).status == 202
        db.config_set("maxmemory", "1mb")
        response = user.ask(fresh())
        assert response.status == 503
        assert response.headers.get("Retry-After")
        db.config_set("maxmemory", "0")
        assert user.ask(fresh()).status == 202


def test_requests_and_options_get_503_while_the_backlog_is_too_long(
    server: Server, db: redis.Redis, tmp_path: Path
) -> None:
    """`max_backlog`, per shard."""
    with edge_process(tmp_path, server.url, max_backlog=2) as edge, User(edge.endpoints()[0]) as user:
        assert [user.ask(fresh()).status for _ in range(3)] == [202, 202, 503]
        eventually(lambda: user.status(fresh("OPTIONS")) == 503)
        for shard in range(16):
            db.delete(keys.requests(shard))
        assert user.ask(fresh()).status == 202


def in_flight_to_nobody(db: redis.Redis, edge: EdgeProcess) -> socket.socket:
    """Have the edge deliver something to a socket that never responds; returns the socket once it came."""
    nobody = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    nobody.bind(("127.0.0.1", 0))
    nobody.settimeout(PATIENCE)
    to = f"bob@127.0.0.1:{nobody.getsockname()[1]}"
    eventually(lambda: db.exists(keys.lease(0, "edge")) == 1)
    fields = {"event": "help", "room": "a@b", "to": to, "from": "a@b", "data": b""}
    db.xadd(keys.events(0), fields)  # type: ignore[arg-type]
    nobody.recv(65536)
    assert edge.child.poll() is None
    return nobody


def test_after_sigterm_options_and_requests_get_503_and_what_is_in_flight_is_finished(
    server: Server, db: redis.Redis, tmp_path: Path
) -> None:
    """OPTIONS 503 first; leases given back; exit status 0 within `drain_timeout`."""
    with edge_process(tmp_path, server.url, drain_timeout=3) as edge, User(edge.endpoints()[0]) as user:
        with in_flight_to_nobody(db, edge):
            edge.child.send_signal(signal.SIGTERM)
            eventually(lambda: user.status(fresh("OPTIONS")) == 503)
            response = user.ask(fresh())
            assert response.status == 503
            assert response.headers.get("Retry-After")
            with Stopwatch() as watch:
                assert edge.child.wait(PATIENCE) == 0
            assert watch.seconds < 3 + ALLOWANCE
        assert not [shard for shard in range(16) if db.exists(keys.lease(shard, "edge"))]
        assert db.zcard(keys.EDGES) == 0


def test_an_edge_with_nothing_in_flight_ends_at_once(server: Server, tmp_path: Path) -> None:
    """Without waiting for `drain_timeout`."""
    with edge_process(tmp_path, server.url) as edge:
        edge.endpoints()
        with Stopwatch() as watch:
            assert edge.end() == 0
        assert watch.seconds < ALLOWANCE  # and not `drain_timeout`, half a minute


def test_a_second_sigterm_ends_the_process_at_once(server: Server, db: redis.Redis, tmp_path: Path) -> None:
    """Exit status 1: something was left."""
    with edge_process(tmp_path, server.url) as edge:
        edge.endpoints()
        with in_flight_to_nobody(db, edge):
            edge.child.send_signal(signal.SIGTERM)
            eventually(lambda: bool(edge.lines("edge draining")))
            assert edge.end() == 1


def test_sighup_reloads_certificates(server: Server, tmp_path: Path) -> None:
    """Without a restart; a malformed file changes nothing."""
    old, new = make_certificate(tmp_path, "old"), make_certificate(tmp_path, "new")
    assert old.certificate is not None
    assert old.private_key is not None
    assert new.certificate is not None
    assert new.private_key is not None
    live = tmp_path / "live.pem"
    live.write_bytes(old.certificate.read_bytes() + old.private_key.read_bytes())
    with edge_process(tmp_path, server.url, listen="tls:127.0.0.1:0", tls_certificate=live) as edge:
        at = edge.endpoints()[0][1:]
        assert ssl.get_server_certificate(at) in old.certificate.read_text()
        live.write_bytes(new.certificate.read_bytes() + new.private_key.read_bytes())
        edge.child.send_signal(signal.SIGHUP)
        eventually(lambda: ssl.get_server_certificate(at) in new.certificate.read_text())  # type: ignore[union-attr]
        live.write_bytes(b"rubbish")
        edge.child.send_signal(signal.SIGHUP)
        eventually(lambda: bool(edge.lines("certificates not reloaded")))
        assert ssl.get_server_certificate(at) in new.certificate.read_text()


def test_processes_may_share_a_port(server: Server, db: redis.Redis, tmp_path: Path) -> None:
    """`share_ports`: the kernel assigns each source to one of them."""
    with edge_process(tmp_path, server.url, share_ports=True) as one:
        at = one.endpoints()[0]
        with edge_process(tmp_path, server.url, share_ports=True, listen=str(at)) as two:
            two.endpoints()
            for _ in range(20):
                with User(at) as user:
                    assert user.ask(fresh()).status == 202
    assert entries(db) == 20


@pytest.mark.parametrize(
    ("settings", "status", "said"),
    [
        ({"max_backlog": "many"}, 2, "max_backlog"),
        ({"listen": "tls:127.0.0.1:0"}, 1, "tls_certificate"),
        ({"listen": "udp:192.0.2.1:5060"}, 1, "udp:192.0.2.1:5060"),
        ({"tls_ca": "/no/such/file"}, 1, "/no/such/file"),
    ],
)
def test_an_edge_with_an_unusable_setting_exits_and_names_it(
    server: Server, tmp_path: Path, settings: dict[str, str], status: int, said: str
) -> None:
    """It never starts to serve."""
    with edge_process(tmp_path, server.url, **settings) as edge:
        assert edge.child.wait(PATIENCE) == status
        assert said in edge._log.read_text()


def test_an_edge_waits_for_redis_and_can_be_stopped_meanwhile(tmp_path: Path) -> None:
    """At a cold start, processes start in any order."""
    with edge_process(tmp_path, f"unix://{tmp_path}/none") as edge:
        eventually(lambda: bool(edge.lines("redis unreachable")))
        assert edge.end() == 0


def test_a_burst_from_many_users_is_accepted_whole(server: Server, db: redis.Redis, tmp_path: Path) -> None:
    """Group commit under load loses no request and duplicates none."""
    with edge_process(tmp_path, server.url, max_messages_per_second=0) as edge:
        at = edge.endpoints()[0]
        statuses: list[int] = []

        def talk() -> None:
            with User(at) as user:
                statuses.extend(user.ask(fresh()).status for _ in range(50))

        threads = [threading.Thread(target=talk) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == [202] * 400
        assert entries(db) == 400
