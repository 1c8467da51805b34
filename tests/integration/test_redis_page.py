"""Every line of docs/redis.md, exactly as it stands there, against a live system."""

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
from tests.chaos.plant import Process, wait_until
from tests.integration.service import Service, service
from tests.integration.sip_user import SipUser, notice
from tests.integration.test_commands import add, create, promote
from tests.tools import require

pytestmark = pytest.mark.integration

PAGE = Path(__file__).parent.parent.parent / "docs" / "redis.md"
ROOM = "chat-000@example.org"  # the room of the page
HIDDEN = "hidden@example.org"
SHARD = keys.shard_of(ROOM, 4)


def blocks() -> dict[str, list[str]]:
    """The page's shell lines under each heading."""
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
    """Runs the page's lines one after the other, so that an `export` holds for the next."""

    def __init__(self, url: str) -> None:
        self._env = {**os.environ, "REDIS": f"--no-auth-warning -u {url}"}

    def run(self, heading: str) -> list[str]:
        """The output of the lines under a heading, one text for each line."""
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
    """A service of its own, on Redis."""
    require("redis-cli")
    with service(tmp_path_factory.mktemp("page"), "redis") as running:
        yield running


@pytest.fixture(scope="module")
def shell(live: Service) -> Shell:
    """A shell that knows room and shard, as the page sets them."""
    shell = Shell(live.url)
    shell.run("Shards")
    return shell


@pytest.fixture
async def users(live: Service) -> AsyncIterator[dict[str, SipUser]]:
    """Users who are gone after the test."""
    users = {name: await SipUser.open(name, live.edge) for name in ("alice", "bob", "carol")}
    yield users
    for user in users.values():
        user.close()


@contextmanager
def stopped(process: Process) -> Iterator[None]:
    """The process sleeps inside the block."""
    process.send(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send(signal.SIGCONT)


def paired(text: str) -> dict[str, str]:
    """The output of HGETALL: field, value, …"""
    lines = text.splitlines()
    return dict(zip(lines[::2], lines[1::2], strict=True))


def test_shards(live: Service) -> None:
    """The configuration, and the shard of the room as imc computes it."""
    shell = Shell(live.url)
    assert shell.run("Shards")[0].split() == ["4", live.redis.hget(keys.CONFIG, "layout").decode()]
    assert shell._env["S"] == str(SHARD)


async def test_rooms_and_members(shell: Shell, users: dict[str, SipUser]) -> None:
    """All rooms with their count; one room; its members with their roles."""
    alice, bob, carol = users.values()
    await create(alice, f"sip:{ROOM}")
    await create(alice, f"sip:{HIDDEN}", private=True)
    await add(alice, bob, f"sip:{ROOM}")
    await promote(alice, bob, "admin", f"sip:{ROOM}")
    await alice.say(f"sip:{ROOM}", f"#invite sip:{carol.address}")
    await carol.assert_gets(notice(alice.address))
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


async def test_backlog(live: Service, shell: Shell, users: dict[str, SipUser]) -> None:
    """0 everywhere at rest; what no worker takes is counted, and the oldest is shown."""
    alice = users["alice"]
    heading = "Show the backlog of requests"
    at_rest = [f"{shard} 0" for shard in range(16)]
    wait_until(lambda: shell.run(heading)[0].splitlines() == at_rest, "rest")
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


async def test_events_in_hand(shell: Shell, users: dict[str, SipUser]) -> None:
    """An event whose recipient has not answered is there, and was read: nothing is lagging."""
    alice = users["alice"]
    heading = "Show unfinished events"
    wait_until(lambda: not shell.run(heading)[0].split(), "rest", 100)
    alice.status_for = lambda _: None
    await alice.say(f"sip:{ROOM}", "#list")
    await alice.assert_gets(notice("this room does not exist"))
    (event,) = shell.run(heading)
    assert alice.address in event.split()
    (groups,) = map(paired, shell.run("Show how far a stream was read"))
    assert (groups["name"].startswith("imc@"), groups["lag"]) == (True, "0")
    alice.status_for = lambda _: 200
    await asyncio.to_thread(wait_until, lambda: not shell.run(heading)[0].split(), "the answer", 100)


def test_processes(live: Service, shell: Shell) -> None:
    """The live ones, and both owners of each shard."""
    workers, edges = (text.split() for text in shell.run("List live processes"))
    assert [name.split("-")[-2] for name in workers] == [str(process_id(live.workers[0]))]
    assert [name.split("-")[-2] for name in edges] == [str(process_id(live.edges[0]))]
    owned = [f"{shard} {workers[0]} {edges[0]}" for shard in range(16)]
    wait_until(
        lambda: shell.run("Show the owners of each shard")[0].splitlines() == owned, "an owner of each"
    )


def process_id(process: Process) -> int:
    """The process's number."""
    assert process.child is not None
    return process.child.pid


def test_dead_letters(live: Service, shell: Shell) -> None:
    """An entry nobody can handle is there with the reason."""
    assert shell.run("Show dead letters")[0].strip() == ""
    live.redis.xadd(keys.requests(SHARD), {"type": "nonsense", "from": "x@y", "room": ROOM})
    wait_until(lambda: live.redis.xlen(keys.dead(SHARD)) == 1, "a dead letter")
    (dead,) = shell.run("Show dead letters")
    words = dead.split()
    assert "nonsense" in words
    assert "dead_reason" in words


async def test_failed_deliveries(shell: Shell, users: dict[str, SipUser]) -> None:
    """The recipient, the status and the room are there."""
    alice = users["alice"]
    alice.status_for = lambda _: 486
    await alice.say(f"sip:{ROOM}", "#list")
    await alice.assert_gets(notice("this room does not exist"))
    heading = "Show failed deliveries, the latest first"
    wait_until(lambda: "486" in shell.run(heading)[0].split(), "the failure", 100)
    words = shell.run(heading)[0].split()
    assert alice.address in words
    assert ROOM in words


def test_how_many_users_there_are(live: Service, shell: Shell) -> None:
    """Of all their shards."""
    for user in ("alice@example.org", "bob@example.org"):
        live.redis.hset(keys.users(keys.user_shard(user)), user, "SHA-256=")
    assert shell.run("Count the users") == ["2\n"]


def test_every_line_of_the_page_is_run_here() -> None:
    """A line added to the page needs a check in this file."""
    source = Path(__file__).read_text()
    assert [heading for heading in BLOCKS if f'"{heading}"' not in source] == []
    lines = re.findall(r"^(?:redis-cli|export|for) .*", PAGE.read_text(), re.MULTILINE)
    assert [line for block in BLOCKS.values() for line in block] == lines


def test_the_page_has_every_key_and_no_other() -> None:
    """As `imc_common/keys.py` makes them, with S for the shard and capitals for what varies."""
    makers = [made for _, made in inspect.getmembers(keys, inspect.isfunction)]
    makers += [getattr(keys.Keys(), name) for name in ("rooms", "room", "members")]
    made = {value for value in vars(keys).values() if isinstance(value, str) and value.startswith("imc:")}
    made |= {keys.lease(0, "worker"), keys.lease(0, "edge"), *keys.accepting(0)}
    makers.remove(keys.accepting)
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
