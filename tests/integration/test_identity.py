"""Digest authentication with two edges, users made by `imc user`, and SIP clients of others.

Covers imc_cli/user.py.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import sipmessage

from imc_common import keys
from tests.integration.command import Terminal, run
from tests.integration.login import PASSWORD, credentials
from tests.integration.peers.baresip import Baresip
from tests.integration.service import Service, service
from tests.integration.sip_user import SipUser, notice
from tests.integration.sipp_runs import SCENARIOS
from tests.processes import wait_until
from tests.tools import require

pytestmark = pytest.mark.integration

ROOM = "tea@127.0.0.1"


USERS = ("alice", "bob", "carol", "dave")


def make_users(running: Service, *options: str) -> None:
    """Add users with `imc user add`; the password comes from standard input."""
    for name in USERS:
        done = run(
            "user", "add", f"{name}@127.0.0.1", "--db-url", running.url, *options, text=f"{PASSWORD}\n"
        )
        assert (done.returncode, done.stdout) == (0, f"added {name}@127.0.0.1\n"), done.stderr


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two edges with `identity = digest`."""
    with service(tmp_path_factory.mktemp("digest"), "redis", {"identity": "digest"}, edges=2) as running:
        make_users(running)
        yield running


@pytest.fixture(scope="module")
def asking_old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """An edge for clients that only support MD5, as those of Debian 12."""
    settings = {"identity": "digest", "digest_algorithms": "MD5"}
    with service(tmp_path_factory.mktemp("md5"), "redis", settings) as running:
        make_users(running, "--digest-algorithms", "MD5")
        yield running


async def say(
    user: SipUser, asking: Service, text: str, algorithm: str = "SHA-256", **other: str
) -> sipmessage.Response:
    """Get a challenge from one edge and send the credentials to the other; returns the last response."""
    room = f"sip:{ROOM}"
    user.edge = ("127.0.0.1", asking.ports[0])
    challenged = await user.send(room, text)
    assert challenged.code == 401
    user.edge = ("127.0.0.1", asking.ports[1])
    return await user.send(room, text, headers=credentials(challenged, user.name, room, algorithm, **other))


async def test_users_with_passwords_talk_and_others_get_401(asking: Service) -> None:
    """Alice creates a room, Bob joins; a stranger and a wrong password get 401."""
    alice = await SipUser.open("alice", asking.edge)
    bob = await SipUser.open("bob", asking.edge)
    stranger = await SipUser.open("stranger", asking.edge)
    try:
        assert (await say(alice, asking, "#create", "SHA-512-256")).code == 202
        await alice.assert_gets(notice("You have created"))
        assert (await say(bob, asking, "#join")).code == 202
        await alice.assert_gets(notice("has joined"))
        assert (await say(bob, asking, "hi", password="guess")).code == 401
        assert (await say(bob, asking, "hello")).code == 202
        assert (await alice.assert_gets(".*hello")).name.startswith("bob")
        assert (await say(stranger, asking, "hi")).code == 401
        stranger.name = "bob"
        accepted = await say(stranger, asking, "hi")
        assert accepted.code == 202, "another port, but the user and password of bob"
        await alice.assert_gets_nothing()
    finally:
        for user in (alice, bob, stranger):
            user.close()


async def test_a_changed_password_and_a_removed_user_take_effect_at_once(asking: Service) -> None:
    """`imc user passwd` and `imc user remove` apply to the next request at every edge."""
    carol = await SipUser.open("carol", asking.edge)
    where = ("--db-url", asking.url)
    try:
        assert (await say(carol, asking, "#create")).code == 202
        done = await asyncio.to_thread(run, "user", "passwd", "carol@127.0.0.1", *where, text="another\n")
        assert done.returncode == 0, done.stderr
        assert (await say(carol, asking, "hi")).code == 401
        assert (await say(carol, asking, "hi", password="another")).code == 202
        done = await asyncio.to_thread(run, "user", "remove", "carol@127.0.0.1", *where)
        assert done.returncode == 0, done.stderr
        assert (await say(carol, asking, "hi", password="another")).code == 401
    finally:
        carol.close()


def test_users_that_differ_only_in_case_have_one_password(asking: Service) -> None:
    """With `case_sensitive_users` off; otherwise they are two users."""
    for option, status in (("false", 1), ("true", 0)):
        where = ("--db-url", asking.url, f"--case-sensitive-users={option}")
        done = run("user", "add", "ALICE@127.0.0.1", *where, text=f"{PASSWORD}\n")
        assert done.returncode == status, done.stderr
    run("user", "remove", "ALICE@127.0.0.1", "--db-url", asking.url)


async def test_nonces_stay_valid_when_their_key_is_rotated(asking: Service) -> None:
    """The old key signs for one more minute and verifies for longer."""
    dave = await SipUser.open("dave", asking.edge)
    try:
        done = await asyncio.to_thread(run, "user", "rotate", "--db-url", asking.url)
        assert done.returncode == 0, done.stderr
        assert asking.redis.hlen(keys.DIGEST_KEYS) == 1
        assert (await say(dave, asking, "#list")).code == 202
    finally:
        dave.close()


async def test_deliveries_do_not_contain_the_asserted_identity(tmp_path: Path) -> None:
    """RFC 3325 §5: P-Asserted-Identity stays between elements that trust each other."""
    with service(tmp_path, "redis", {"identity": "asserted"}) as running:
        alice, bob = [await SipUser.open(name, running.edge) for name in ("alice", "bob")]
        asserted = {user: f"P-Asserted-Identity: <sip:{user.address}>\r\n" for user in (alice, bob)}
        for user in (alice, bob):
            await user.say(f"sip:{ROOM}", "#join", headers=asserted[user], sender="somebody@example.org")
            await alice.assert_gets(notice(""))
        await bob.say(f"sip:{ROOM}", "hello", headers=asserted[bob] + "P-Preferred-Identity: <sip:x@y>\r\n")
        received = await alice.assert_gets(f"<{bob.address}>: hello")
        assert "\r\nP-" not in str(received.request)
        alice.close()
        bob.close()


def test_redis_holds_ha1_but_no_password(asking: Service) -> None:
    """It also holds used nonce counts, with a time-to-live."""
    users = [key for tag in range(16) for key in asking.redis.hgetall(keys.users(f"u{tag}")).items()]
    assert {name.decode() for name, _ in users} >= {"alice@127.0.0.1", "bob@127.0.0.1"}
    assert all(PASSWORD.encode() not in value for _, value in users)
    assert all(asking.redis.pttl(key) > 0 for key in asking.redis.scan_iter("imc:*:nonce:*"))
    done = run("user", "list", "--db-url", asking.url)
    assert "alice@127.0.0.1  SHA-256, SHA-512-256\n" in done.stdout


def test_imc_chat_logs_in_with_a_password(asking: Service, tmp_path: Path) -> None:
    """`imc chat --login` reads the password from the first line of standard input, or asks at a terminal."""
    where = ["--room", f"sip:{ROOM}", "--via", f"127.0.0.1:{asking.ports[0]}"]
    lines = tmp_path / "lines"
    lines.write_text("#join\nhello\nhello again\n")
    command = ["chat", "sip:dave@127.0.0.1:0", *where, "--script", str(lines)]
    assert run(*command, "--login", text=f"{PASSWORD}\n").returncode == 0
    done = run(*command)
    assert (done.returncode, done.stdout.count("not sent: 401 Unauthorized")) == (1, 3), done.stdout
    assert run(*command, "--login", text="\n").returncode == 2
    terminal = Terminal("chat", "sip:dave@127.0.0.1:0", *where, "--login")
    try:
        terminal.wait_for("Password: ")
        terminal.type(f"{PASSWORD}\r")
        terminal.wait_for("dave>")
        terminal.type("#join\r")
        terminal.wait_for("You have joined.*dave>")
        terminal.type("\x04")
        assert terminal.end() == 0
        assert PASSWORD not in terminal.raw
    finally:
        terminal.process.kill()
        terminal.process.wait()


def test_sipp_logs_in_with_a_password(asking_old: Service, tmp_path: Path) -> None:
    """SIPp's own implementation of RFC 2617; a wrong password gets another 401."""
    for password, status in ((PASSWORD, 0), ("guess", 1)):
        csv = tmp_path / "lines.csv"
        csv.write_text(
            f"SEQUENTIAL\nalice@127.0.0.1;{ROOM};#list;[authentication username=alice password={password}]\n"
        )
        command = [
            require("sipp"), f"127.0.0.1:{asking_old.ports[0]}", "-sf", str(SCENARIOS / "login.xml"),
            "-inf", str(csv), "-auth_uri", ROOM, "-i", "127.0.0.1", "-m", "1", "-nostdin",
            "-timeout", "90", "-timeout_error",
        ]  # fmt: skip
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
        )
        assert min(done.returncode, 1) == status, done.stdout[-3000:] + done.stderr


def test_sipsak_logs_in_with_a_password(asking_old: Service, tmp_path: Path) -> None:
    """`sipsak -a` with a request from a file, since its message mode (`-M`) crashes on any 401."""
    room = f"sip:sak@127.0.0.1:{asking_old.ports[0]}"
    for number, (password, status) in enumerate(((PASSWORD, b"202 Accepted"), ("guess", b"authorization"))):
        token = f"sipsak{number}"
        (tmp_path / token).write_bytes(
            (
                f"MESSAGE {room} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK{token};rport\r\n"
                f"Max-Forwards: 70\r\nFrom: <sip:bob@127.0.0.1>;tag={token}\r\nTo: <{room}>\r\n"
                f"Call-ID: {token}\r\nCSeq: 1 MESSAGE\r\n"
                "Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
            ).encode()
        )
        command = [require("sipsak"), "-f", str(tmp_path / token), "-i", "-s", room, "-vvv"]
        done = subprocess.run(
            [*command, "-u", "bob", "-a", password], capture_output=True, timeout=120, check=False
        )
        assert status in done.stdout + done.stderr, done.stdout + done.stderr
        assert (done.returncode == 0) == (password == PASSWORD)


async def test_baresip_logs_in_with_a_password(asking_old: Service, tmp_path: Path) -> None:
    """A real softphone responds to the challenge."""
    room = f"phone@127.0.0.1:{asking_old.ports[0]}"
    phone = Baresip(tmp_path, "carol", room, PASSWORD)
    phone.start()
    try:
        phone.message("#create")
        shard = keys.shard_of(room, 4)
        made = keys.Keys().members(shard, room)
        wait_until(lambda: asking_old.redis.hlen(made) > 0, "the phone's room")
        assert asking_old.redis.hget(made, phone.address) == b"owner"
    finally:
        phone.stop()
