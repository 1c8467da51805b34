"""Digest authentication by real edge processes on a real Redis."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import redis

from imc_common import keys
from imc_common.sip import Response
from imc_common.users import hashes_of, pack
from tests.imc_edge.identity.fake_edges import PASSWORD, challenges, credentials
from tests.imc_edge.process import User, edge_process, eventually, fresh
from tests.patience import PATIENCE
from tests.servers import Server, running
from tests.tools import require

pytestmark = pytest.mark.integration

ALICE = "alice@example.org"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """This test's own Redis, with the user Alice."""
    folder = tmp_path / "redis"
    folder.mkdir()
    options = ("--maxmemory-policy", "noeviction", "--appendonly", "yes", "--appendfsync", "always")
    with running("redis-server", folder, *options) as started:
        with redis.Redis(unix_socket_path=started.socket) as db:
            users = keys.users(keys.user_shard(ALICE))
            db.hset(users, ALICE, pack(hashes_of(ALICE, PASSWORD, ["SHA-512-256", "SHA-256"])))
        yield started


def authorization(challenged: Response, count: int = 1) -> str:
    """Credentials for a challenge."""
    return credentials(challenges(challenged)[0], count)


def status(user: User, authorization: str) -> int:
    """The status of a new request with these credentials."""
    return user.ask(fresh(Authorization=authorization)).status


def test_a_nonce_outlives_the_edge_that_made_it_and_redis(server: Server, tmp_path: Path) -> None:
    """Used nonce counts stay used, the others stay valid. Without Redis: 503."""
    with edge_process(tmp_path, server.url, identity="digest") as edge:
        with User(edge.endpoints()[0]) as user:
            challenged = user.ask(fresh())
            assert challenged.status == 401
            assert status(user, authorization(challenged, 1)) == 202
        edge.end(signal.SIGKILL)
    with edge_process(tmp_path, server.url, identity="digest") as edge, User(edge.endpoints()[0]) as user:
        assert status(user, authorization(challenged, 1)) == 401
        assert status(user, authorization(challenged, 2)) == 202
        server.kill()
        assert status(user, authorization(challenged, 3)) == 503
        assert user.ask(fresh()).status == 401  # it needs no Redis to challenge
        server.start()
        counts = iter(range(4, 200))
        eventually(lambda: status(user, authorization(challenged, next(counts))) == 202)
        assert status(user, authorization(challenged, 2)) == 401


def test_edges_whose_clocks_are_hours_apart_check_each_others_nonces(server: Server, tmp_path: Path) -> None:
    """Nonces follow Redis's clock, not the clocks of the hosts."""
    require("faketime")
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))

    def at(clock: str) -> dict[str, str]:
        return {"LD_PRELOAD": str(library), "FAKETIME": clock, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

    settings = {"identity": "digest"}
    with (
        edge_process(tmp_path, server.url, at("+1h"), **settings) as fast,
        edge_process(tmp_path, server.url, at("-1h"), **settings) as slow,
        User(fast.endpoints()[0]) as at_fast,
        User(slow.endpoints()[0]) as at_slow,
    ):
        told = [datetime.fromisoformat(str(e.lines("edge started")[-1]["timestamp"])) for e in (fast, slow)]
        assert told[0] - told[1] > timedelta(minutes=110)  # what the edges themselves take the time for
        for here, there in ((at_fast, at_slow), (at_slow, at_fast)):
            challenged = here.ask(fresh())
            assert status(there, authorization(challenged, 1)) == 202
            assert status(here, authorization(challenged, 2)) == 202


def test_sighup_reloads_keys_of_a_file_and_the_old_one_still_checks(server: Server, tmp_path: Path) -> None:
    """An unusable file changes nothing."""
    file = tmp_path / "keys"
    file.write_text("a" * 32)
    settings = {"identity": "digest", "digest_key_file": file}
    with edge_process(tmp_path, server.url, **settings) as edge, User(edge.endpoints()[0]) as user:
        old = user.ask(fresh())
        file.write_text("b" * 32 + "\n" + "a" * 32)
        edge.child.send_signal(signal.SIGHUP)
        eventually(lambda: bool(edge.lines("certificates reloaded")))
        assert status(user, authorization(old)) == 202
        new = user.ask(fresh())
        file.write_text("b" * 32)
        edge.child.send_signal(signal.SIGHUP)
        eventually(lambda: len(edge.lines("certificates reloaded")) == 2)
        assert status(user, authorization(old, 2)) == 401
        assert status(user, authorization(new)) == 202
        file.write_text("short")
        edge.child.send_signal(signal.SIGHUP)
        eventually(lambda: bool(edge.lines("digest keys not reloaded")))
        assert status(user, authorization(new, 2)) == 202


def test_an_edge_with_an_unusable_key_file_does_not_start(server: Server, tmp_path: Path) -> None:
    """Its output says why."""
    with edge_process(tmp_path, server.url, identity="digest", digest_key_file="/no/such/file") as edge:
        assert edge.child.wait(PATIENCE) == 1
        assert "digest_key_file /no/such/file: No such file" in edge._log.read_text()


def test_an_edge_that_trusts_no_other_host_warns_if_others_can_reach_it(
    server: Server, tmp_path: Path
) -> None:
    """The most likely mistake in a first set-up."""
    warning = "requests from other hosts get 403"
    for settings, is_warned in (
        ({"listen": "udp:0.0.0.0:0"}, True),
        ({"listen": "udp:0.0.0.0:0", "trusted_peers": "10.0.0.0/8"}, False),
        ({"listen": "udp:0.0.0.0:0", "identity": "digest"}, False),
        ({}, False),
    ):
        with edge_process(tmp_path, server.url, **settings) as edge:
            edge.endpoints()
            eventually(lambda: bool(edge.lines("edge started")))
            assert edge.end() == 0
            assert bool(edge.lines(warning)) == is_warned


def test_after_flushall_a_further_edge_has_the_secret_of_the_running_one(
    server: Server, tmp_path: Path
) -> None:
    """A request and its retransmission at the other edge are one request."""
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
    with edge_process(one, server.url) as running_edge, User(running_edge.endpoints()[0]) as user:
        assert server.call("FLUSHALL") == b"+OK"
        eventually(lambda: bool(running_edge.lines("redis lost its data")))
        with edge_process(other, server.url) as later, User(later.endpoints()[0]) as elsewhere:
            request = fresh()
            first, again = user.ask(request), elsewhere.ask(request)
            assert (first.status, again.status, again.to.tag) == (202, 202, first.to.tag)
            with redis.Redis(unix_socket_path=server.socket) as db:
                assert sum(db.xlen(keys.requests(shard)) for shard in range(16)) == 1


def test_an_edge_ends_when_another_secret_is_in_redis(server: Server, tmp_path: Path) -> None:
    """With status 1, and the reason in the log; a supervisor starts it with the new secret."""
    with edge_process(tmp_path, server.url) as edge:
        edge.endpoints()
        with redis.Redis(unix_socket_path=server.socket) as db:
            db.hset(keys.CONFIG, "secret", "00" * 32)
        eventually(lambda: edge.child.poll() is not None)
        assert edge.child.returncode == 1
        assert "another secret" in str(edge.lines("edge stopped immediately"))
