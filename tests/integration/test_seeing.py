"""What operators see of a running service: status pages, metrics, logs, `imc trace`, `imc top` and HEP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.hep import decode
from tests.integration.conftest import OpenUser
from tests.integration.room_steps import create, join, short
from tests.integration.service import Service, redis_server, service
from tests.integration.sip_user import SipUser, notice
from tests.patience import PATIENCE
from tests.processes import wait_until
from tests.tools import require

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service at log level debug."""
    with service(tmp_path_factory.mktemp("seen"), "redis", {"log_level": "debug"}) as running:
        yield running


@pytest.fixture
async def users(seen: Service) -> AsyncIterator[OpenUser]:
    """Opens users of this service."""
    made: list[SipUser] = []

    async def make(name: str, edge: tuple[str, int] = seen.edge) -> SipUser:
        made.append(await SipUser.open(name, edge))
        return made[-1]

    yield make
    for user in made:
        user.close()


def imc(seen: Service, *words: str) -> list[str]:
    """The command line of an `imc` command on this service's Redis."""
    return [sys.executable, "-m", "imc_cli", *words, "--db-url", seen.url]


async def test_all_log_lines_of_a_message_have_its_call_id(seen: Service, users: OpenUser, room: str) -> None:
    """One grep over the logs of edges and workers shows every step."""
    alice, bob = await users("alice"), await users("bob")
    await create(alice, room)
    await join(bob, room, alice)
    await alice.say(room, "follow me")
    received = await bob.assert_gets(f"<{alice.address}>: follow me")
    assert received

    def steps() -> set[str]:
        logs = (log.log().rpartition("\n")[0] for log in (*seen.edges, *seen.workers))
        lines = [json.loads(line) for log in logs for line in log.splitlines()]
        spoken = [line for line in lines if line["event"] == "received" and line.get("type") == "message"]
        return {line["event"] for line in lines if line.get("call_id") == spoken[-1]["call_id"]}

    every = {"received", "responded", "handled", "sending", "delivered"}
    await asyncio.to_thread(wait_until, lambda: steps() >= every, "every step")


async def test_imc_trace_shows_the_steps_of_a_room_or_user(
    seen: Service, users: OpenUser, room: str, tmp_path: Path
) -> None:
    """It shows neither other rooms nor the content of messages."""
    alice, bob = await users("alice"), await users("bob")
    await create(alice, room)
    of_room, of_bob = Trace(seen, tmp_path, room, "--json"), Trace(seen, tmp_path, f"sip:{bob.address}")
    wait_until(lambda: seen.redis.scard("imc:watched") == 2, "both traces")
    until = time.monotonic() + PATIENCE
    while not of_room.steps() >= {"received", "handled", "sending", "delivered"}:
        assert time.monotonic() < until  # every process reads once a second what is traced
        await alice.say(room, "#list")
        await alice.assert_gets(notice("Members"))
        await asyncio.sleep(0.2)
    other = f"{room}".replace("room-", "elsewhere-")
    await create(alice, other)
    await join(bob, room, alice)
    await alice.say(room, "words of mine")
    await bob.assert_gets(f"<{alice.address}>: words of mine")
    expected = {
        *(("received", "join"), ("handled", "join"), ("sending", "joined"), ("delivered", "joined")),
        *(("received", "message"), ("handled", "message"), ("sending", "message"), ("delivered", "message")),
    }
    wait_until(lambda: {(s["step"], s.get("type")) for s in of_room.lines()} >= expected, "all steps")
    wait_until(lambda: "delivered" in of_bob.output() and bob.address in of_bob.output(), "steps of bob")
    for trace in (of_room, of_bob):
        trace.end()
    assert {step["room"] for step in of_room.lines()} == {short(room)}
    assert "words of mine" not in of_room.output() + of_bob.output()
    wait_until(lambda: seen.redis.scard("imc:watched") == 0, "the end of the traces")


class Trace:
    """A running `imc trace` of one address."""

    def __init__(self, seen: Service, folder: Path, address: str, *form: str) -> None:
        self._file = folder / f"trace-{secrets.token_hex(4)}"
        with self._file.open("w") as file:
            command = imc(seen, "trace", address, "--seconds", "200", *form)
            self._process = subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL)

    def output(self) -> str:
        """The complete lines that it has written."""
        text, end, _ = self._file.read_text().rpartition("\n")
        return text + end

    def lines(self) -> list[dict[str, str]]:
        """Its output with --json, parsed."""
        return [json.loads(line) for line in self.output().splitlines()]

    def steps(self) -> set[str]:
        """The names of the steps in its output with --json."""
        return {line["step"] for line in self.lines()}

    def end(self) -> None:
        """Send SIGINT, as Ctrl-C does; the exit status must be 0."""
        self._process.send_signal(signal.SIGINT)
        assert self._process.wait(PATIENCE) == 0


async def test_imc_top_shows_owners_rates_and_the_busiest_room(
    seen: Service, users: OpenUser, room: str
) -> None:
    """In a real terminal; q ends it and restores the screen."""
    program = require("tmux")
    alice, bob = await users("alice"), await users("bob")
    await create(alice, room)
    await join(bob, room, alice)
    with tempfile.TemporaryDirectory() as folder:

        def tmux(*words: str) -> str:
            command = [program, "-S", str(Path(folder) / "s"), "-f", "/dev/null", *words]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout

        def pane() -> str:
            return tmux("capture-pane", "-p")

        command = " ".join(imc(seen, "top", "--every", "0.5"))
        tmux("new-session", "-d", "-x", "170", "-y", "40", f"{command}; echo ENDED; sleep 600")
        try:
            words = (short(room), "requests/s", "shard", "worker", "edge", "busiest rooms", "backlog")
            until = time.monotonic() + PATIENCE
            while not all(word in pane() for word in words) or "nobody" in pane():
                assert time.monotonic() < until, pane()
                await alice.say(room, "busy")
                await bob.assert_gets(f"<{alice.address}>: busy")
                await asyncio.sleep(0.1)
            tmux("send-keys", "q")
            wait_until(lambda: "ENDED" in pane(), "the end of imc top")
            assert "busiest rooms" not in pane()
        finally:
            tmux("kill-server")


def test_edges_and_workers_serve_health_and_metrics(tmp_path: Path) -> None:
    """`/livez` and `/readyz` are 200, and `/metrics` has every important metric."""
    with service(tmp_path, "redis", {"status_listen": "127.0.0.1:0"}) as running:
        pages = []
        for process in (*running.edges, *running.workers):
            wait_until(lambda process=process: "status server started" in process.log(), "pages")  # type: ignore[misc]
            lines = [
                json.loads(line) for line in process.log().splitlines() if "status server started" in line
            ]
            pages.append(f"http://127.0.0.1:{lines[0]['port']}")
        for url in pages:
            wait_until(lambda url=url: status(f"{url}/readyz") == 200, "readiness")  # type: ignore[misc]
            assert status(f"{url}/livez") == 200
        edge, worker = (metrics(f"{url}/metrics") for url in pages)
    both = {"imc_leases", "imc_backlog", "imc_pending", "imc_dead_letters", "imc_active_rooms"}
    assert both <= edge & worker
    assert {"imc_members", "imc_worker_entries"} <= worker
    assert {"imc_responses", "imc_accept_seconds", "imc_deliveries", "imc_delivery_seconds"} <= edge
    assert {"imc_delivery_retransmissions", "imc_delivery_reports"} <= edge


def status(url: str) -> int:
    """The status of a GET; 0 without a response."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as response:  # noqa: S310 # our own address
            return int(response.status)
    except urllib.error.HTTPError as error:
        return int(error.code)
    except OSError:
        return 0


def metrics(url: str) -> set[str]:
    """The names of all metrics on a page."""
    with urllib.request.urlopen(url, timeout=PATIENCE) as response:  # noqa: S310 # our own address
        return {family.name for family in text_string_to_metric_families(response.read().decode())}


async def test_a_hep_collector_gets_a_copy_of_every_sip_message(tmp_path: Path, room: str) -> None:
    """A command, its 202, the notice and its 200, each with its source and target."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as homer:
        homer.bind(("127.0.0.1", 0))
        homer.settimeout(PATIENCE)
        hep = {"hep_address": f"127.0.0.1:{homer.getsockname()[1]}"}
        with service(tmp_path, "redis", hep) as running:
            alice = await SipUser.open("alice", running.edge)
            await create(alice, room)
            ends = ("127.0.0.1", alice.port), running.edge
            alice.close()
            seen: set[tuple[str, tuple[str, int], tuple[str, int]]] = set()
            while len(seen) < 4:
                packet = decode(homer.recv(65536))
                first = packet["payload"].split(b"\r\n")[0].decode()
                if "OPTIONS" in packet["payload"].decode():
                    continue  # sent by the test when it waits for the edge
                source = packet["source"], packet["source_port"]
                target = packet["target"], packet["target_port"]
                seen.add((first.split(" sip:")[0][:11], source, target))
    user, edge = ends
    assert seen == {
        ("MESSAGE", user, edge),
        ("SIP/2.0 202", edge, user),
        ("MESSAGE", edge, user),
        ("SIP/2.0 200", user, edge),
    }


async def test_sighup_reloads_the_settings_that_can_change(tmp_path: Path, room: str) -> None:
    """A new prefix and a new limit apply at once; another number of shards needs a restart."""
    config = tmp_path / "imc.toml"
    config.write_text("")
    by_the_file = {"max_rooms_per_owner": ""}
    with contextlib.ExitStack() as stack:
        (tmp_path / "server").mkdir()
        running = Service(tmp_path, stack.enter_context(redis_server(tmp_path / "server")), by_the_file)
        for process in (*running.edges, *running.workers):
            process.command += ["--config", str(config)]
        stack.callback(running.stop)
        running.start()
        alice, bob = [await SipUser.open(name, running.edge) for name in ("alice", "bob")]
        await create(alice, room)
        await join(bob, room, alice)
        config.write_text('sender_prefix = "{user} says: "\nmax_rooms_per_owner = 1\nhash_size = 5\n')
        for process in (*running.edges, *running.workers):
            process.send(signal.SIGHUP)
        for process in (*running.edges, *running.workers):
            said = '"settings": ["hash_size"]'
            wait_until(lambda process=process, said=said: said in process.log(), "new settings")  # type: ignore[misc]
        await alice.say(room, "hello")
        await bob.assert_gets("alice says: hello")
        await alice.say("sip:second@example.org", "#create")
        await alice.assert_gets(notice("cannot own more rooms"))
        config.write_text("hash_size = 99\n")
        running.edges[0].send(signal.SIGHUP)
        wait_until(lambda: "settings not reloaded" in running.edges[0].log(), "a line about the mistake")
        alice.close()
        bob.close()
