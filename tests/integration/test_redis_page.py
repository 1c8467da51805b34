"""Runs every command line of docs/redis.md unchanged against a live system."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imc_common import keys
from tests.integration.room_steps import add, create, invite, promote
from tests.integration.service import Service, service
from tests.integration.sip_user import SipUser, notice
from tests.processes import Process, wait_until
from tests.tools import require

pytestmark = pytest.mark.integration

PAGE = Path(__file__).parent.parent.parent / "docs" / "redis.md"
ROOM = "chat-000@example.org"  # the room of the page
HIDDEN = "hidden@example.org"
SHARD = keys.shard_of(ROOM, 4)


def blocks() -> dict[str, list[str]]:
    """The page's shell lines by heading."""
    found: dict[str, list[str]] = {}
    for section in re.split(r"^#+ ", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        lines = [
            line
            for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
            for line in block.splitlines()
        ]
        if lines:
            found[section.splitlines()[0]] = lines
    return found


BLOCKS = blocks()


class Shell:
    """Runs the page's lines in order and passes exported variables on to the next line."""

    def __init__(self, url: str) -> None:
        self._env = {**os.environ, "REDIS": f"--no-auth-warning -u {url}"}

    def run(self, heading: str) -> list[str]:
        """The output of each line under a heading."""
        texts = []
        for line in BLOCKS[heading]:
            script = ["bash", "-euc", f"{line}\nprintf '\\0'; env -0"]
            done = subprocess.run(
                script,
                env=self._env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=120,
                check=True,
            )
            text, *env = done.stdout.decode(errors="replace").split("\0")
            self._env = dict(entry.split("=", 1) for entry in env if "=" in entry)
            assert done.stderr == b""
            texts.append(text)
        return texts


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service on Redis that no other module uses."""
    require("redis-cli")
    with service(tmp_path_factory.mktemp("page"), "redis") as running:
        yield running


@pytest.fixture(scope="module")
def shell(live: Service) -> Shell:
    """A shell with the variables for room and shard that the page sets."""
    shell = Shell(live.url)
    shell.run("Shards")
    return shell


@pytest.fixture
async def users(live: Service) -> AsyncIterator[dict[str, SipUser]]:
    """Users alice, bob and carol, closed after the test."""
    users = {name: await SipUser.open(name, live.edge) for name in ("alice", "bob", "carol")}
    yield users
    for user in users.values():
        user.close()


@contextmanager
def stopped(process: Process) -> Iterator[None]:
    """The process is stopped (SIGSTOP) for the length of the block."""
    process.send(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send(signal.SIGCONT)


def paired(text: str) -> dict[str, str]:
    """The output of HGETALL: field, value, …"""
    lines = text.splitlines()
    return dict(zip(lines[::2], lines[1::2], strict=True))


def test_the_page_computes_the_shard_of_a_room_as_imc_does(live: Service) -> None:
    """It also shows the configuration that processes agreed on."""
    shell = Shell(live.url)
    assert shell.run("Shards")[0].split() == ["4", live.redis.hget(keys.CONFIG, "layout").decode()]
    assert shell._env["S"] == str(SHARD)


async def test_the_page_shows_rooms_and_members(shell: Shell, users: dict[str, SipUser]) -> None:
    """All rooms, their number, one room, and its members with their roles."""
    alice, bob, carol = users.values()
    await create(alice, f"sip:{ROOM}")
    await create(alice, f"sip:{HIDDEN}", private=True)
    await add(alice, bob, f"sip:{ROOM}")
    await promote(alice, bob, "admin", f"sip:{ROOM}")
    await invite(alice, carol, f"sip:{ROOM}")
    (rooms,) = shell.run("List the rooms of all shards")
    assert sorted(rooms.split()) == [ROOM, HIDDEN]
    assert shell.run("Count the rooms") == ["2\n"]
    (room,) = map(paired, shell.run("Show one room"))
    assert room["private"] == "0"
    assert room["owner"] == alice.address
    assert room["created_at"].isdigit()
    (members,) = map(paired, shell.run("Show its members"))
    assert members == {alice.address: "owner", bob.address: "admin", carol.address: "invited"}
    await alice.say(f"sip:{ROOM}", "#destroy")
    for one in (alice, bob):
        await one.assert_gets(notice("deleted this room"))


def test_the_page_shows_what_a_room_keeps_and_who_is_away(live: Service, shell: Shell) -> None:
    """Written by hand: this service keeps nothing."""
    names, client, bob = keys.Keys(), live.redis, "bob@example.org"
    client.xadd(names.history(SHARD, ROOM), {bob: "hello"}, id="1700000000000-0")
    client.hset(names.members(SHARD, ROOM), mapping={bob: "member away", "alice@example.org": "owner"})
    soon = int(client.time()[0] * 1000) + 600_000
    client.zadd(keys.probes(SHARD), {bob: soon})
    (kept,) = shell.run("Show what it keeps, the latest first")
    assert kept.split() == ["1700000000000-0", bob, "hello"]
    away, probes = shell.run("Show who is away")
    assert away.split() == [bob, "member", "away"]
    assert probes.split() == [bob, str(soon)]
    client.delete(names.history(SHARD, ROOM), names.members(SHARD, ROOM), keys.probes(SHARD))


async def test_the_page_shows_the_backlog(live: Service, shell: Shell, users: dict[str, SipUser]) -> None:
    """0 in every shard at rest; with a stopped worker, the number of requests and the oldest one."""
    alice = users["alice"]
    heading = "Show the backlog of requests"
    at_rest = [f"{shard} 0" for shard in range(16)]
    wait_until(lambda: shell.run(heading)[0].splitlines() == at_rest, "no backlog")
    assert shell.run(heading)[1].strip() == ""
    with stopped(live.workers[0]):
        await alice.say(f"sip:{ROOM}", "one")
        await alice.say(f"sip:{ROOM}", "two")
        backlog, oldest = shell.run(heading)
    assert f"{SHARD} 2" in backlog.splitlines()
    assert alice.address in oldest
    assert ROOM in oldest
    for _ in range(2):
        await alice.assert_gets(notice("this room does not exist"))


async def test_the_page_shows_pending_events(shell: Shell, users: dict[str, SipUser]) -> None:
    """An event whose recipient has not responded is listed, and the reader has no lag."""
    alice = users["alice"]
    heading = "Show unfinished events"
    wait_until(lambda: not shell.run(heading)[0].split(), "no pending event", 100)
    alice.status_for = lambda _: None
    await alice.say(f"sip:{ROOM}", "#list")
    await alice.assert_gets(notice("this room does not exist"))
    (event,) = shell.run(heading)
    assert alice.address in event.split()
    (groups,) = map(paired, shell.run("Show how far a stream was read"))
    assert (groups["name"].startswith("imc@"), groups["lag"]) == (True, "0")
    alice.status_for = lambda _: 200
    await asyncio.to_thread(wait_until, lambda: not shell.run(heading)[0].split(), "no pending event", 100)


def test_the_page_shows_live_processes_and_owners_of_shards(live: Service, shell: Shell) -> None:
    """Each shard is owned by a worker and an edge."""
    workers, edges = (text.split() for text in shell.run("List live processes"))
    assert [name.split("-")[-2] for name in workers] == [str(process_id(live.workers[0]))]
    assert [name.split("-")[-2] for name in edges] == [str(process_id(live.edges[0]))]
    owned = [f"{shard} {workers[0]} {edges[0]}" for shard in range(16)]
    wait_until(
        lambda: shell.run("Show the owners of each shard")[0].splitlines() == owned, "an owner of each"
    )


def process_id(process: Process) -> int:
    """The process id."""
    assert process.child is not None
    return process.child.pid


def test_the_page_shows_dead_letters_with_their_reason(live: Service, shell: Shell) -> None:
    """Here an entry of an unknown type."""
    assert shell.run("Show dead letters")[0].strip() == ""
    live.redis.xadd(keys.requests(SHARD), {"type": "nonsense", "from": "x@y", "room": ROOM})
    wait_until(lambda: live.redis.xlen(keys.dead(SHARD)) == 1, "a dead letter")
    (dead,) = shell.run("Show dead letters")
    words = dead.split()
    assert "nonsense" in words
    assert "dead_reason" in words


async def test_the_page_shows_failed_deliveries(shell: Shell, users: dict[str, SipUser]) -> None:
    """With the recipient, the status and the room."""
    alice = users["alice"]
    alice.status_for = lambda _: 486
    await alice.say(f"sip:{ROOM}", "#list")
    await alice.assert_gets(notice("this room does not exist"))
    heading = "Show failed deliveries, the latest first"
    wait_until(lambda: "486" in shell.run(heading)[0].split(), "the failure", 100)
    words = shell.run(heading)[0].split()
    assert alice.address in words
    assert ROOM in words


def test_the_page_counts_users_in_all_shards(live: Service, shell: Shell) -> None:
    """Users have shards of their own."""
    for user in ("alice@example.org", "bob@example.org"):
        live.redis.hset(keys.users(keys.user_shard(user)), user, "SHA-256=")
    assert shell.run("Count the users") == ["2\n"]


def test_every_command_line_of_the_page_is_tested() -> None:
    """A new line in the page needs a test in this file."""
    source = Path(__file__).read_text()
    assert [heading for heading in BLOCKS if f'"{heading}"' not in source] == []
    lines = re.findall(r"^(?:redis-cli|export|for) .*", PAGE.read_text(), re.MULTILINE)
    assert [line for block in BLOCKS.values() for line in block] == lines


def test_the_page_lists_every_redis_key() -> None:
    """The keys that `imc_common/keys.py` makes and no others; S is the shard, capitals are variables."""
    makers = [made for _, made in inspect.getmembers(keys, inspect.isfunction)]
    makers += [getattr(keys.Keys(), name) for name in ("rooms", "room", "members", "history")]
    made = {value for value in vars(keys).values() if isinstance(value, str) and value.startswith("imc:")}
    made |= {keys.lease(0, "worker"), keys.lease(0, "edge"), *keys.accepting(0)}
    made.add(keys.turn(keys.failures("uN", "DIGEST")))
    made.add(keys.away_shards("USER").replace(keys.user_shard("USER"), "uN"))
    makers.remove(keys.accepting)
    makers.remove(keys.authors_prefix)
    for make in makers:
        shard, *names = inspect.signature(make).parameters
        if shard == "shard" and names not in (["role"], ["part"]):
            made.add(make(0, *(name.upper() for name in names)))
        if shard == "tag":
            made.add(make("uN", *(name.upper() for name in names)))
    rows = re.findall(r"^\| (`imc.*?) \|", PAGE.read_text(), re.MULTILINE)
    assert {key for row in rows for key in re.findall(r"`([^`]+)`", row)} == {
        key.replace("{0}", "{S}") for key in made
    }
