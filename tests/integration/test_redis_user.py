"""The Redis user of `deploy/redis/users.acl` may do what imc needs and nothing else; passwords stay hidden.

All tests of this folder that run on Redis use this user, and fail if Redis denied it anything.
"""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from tests.chaos.servers import redis_cli
from tests.integration.command import run, running
from tests.integration.proc import children, command_of
from tests.integration.service import ACL, PASSWORD, Service, default_user, python, redis_server
from tests.integration.sip_user import SipUser
from tests.ports import free_port
from tests.processes import ROOT, wait_until

pytestmark = pytest.mark.integration

FORBIDDEN = [
    ("CONFIG", "GET", "*"),
    ("CONFIG", "SET", "dir", "x"),
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("KEYS", "*"),
    ("SCAN", "0"),
    ("DEBUG", "SLEEP", "0"),
    ("SHUTDOWN", "NOSAVE"),
    ("ACL", "LIST"),
    ("MONITOR",),
    ("SCRIPT", "FLUSH"),
    ("FUNCTION", "LIST"),
    ("MODULE", "LIST"),
    ("CLIENT", "LIST"),
    ("SAVE",),
    ("REPLICAOF", "127.0.0.1", "1"),
    ("SLOWLOG", "GET"),
    ("PUBLISH", "imc:x", "y"),
    ("GET", "somebody:else"),
    ("SET", "imcx", "1"),
    ("EVAL", "return redis.call('GET', 'somebody:else')", "1", "imc:x"),
    ("EVAL", "return redis.call('KEYS', '*')", "1", "imc:x"),
    ("EVAL", "return redis.call('CONFIG', 'GET', '*')", "1", "imc:x"),
]
ADDED_BY_OPERATORS = {"WAITAOF"}
"""Only used with `durability = fsync`; Debian's Redis does not have it."""
OPTIONAL = {"CONFIG"}
ALWAYS_ALLOWED = {"AUTH", "HELLO"}
NOT_COMMANDS = {"ROLE", "READONLY"}
"""Names of errors and of fields in MI replies."""
AT_ONCE = "import imc_cli.resharding; imc_cli.resharding.RETRANSMISSION_SECONDS = 0"
"""Do not wait until no request can be retransmitted."""
PACKAGES = ("imc_cli", "imc_common", "imc_edge", "imc_worker")


def forget_denials(server: str) -> None:
    """Clear the denials that the test caused on purpose, so that the fixture does not fail."""
    with redis.Redis.from_url(default_user(server)) as admin:
        admin.execute_command("ACL", "LOG", "RESET")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The URL of a Redis for imc's user; a denial fails the test."""
    (tmp_path / "server").mkdir()
    with redis_server(tmp_path / "server") as url:
        yield url


def test_the_redis_user_may_not_use_other_keys_or_commands(server: str) -> None:
    """Not even from a script."""
    with redis.Redis.from_url(server) as imc:
        for words in FORBIDDEN:
            with pytest.raises(redis.exceptions.ResponseError, match=r"(?i)permission|can't|not allowed"):
                imc.execute_command(*words)
    forget_denials(server)


def test_the_redis_user_may_use_exactly_the_commands_in_the_code(server: str) -> None:
    """The commands in the Lua scripts and the Python modules, and no others."""
    known = set(
        redis_cli(int(server.rpartition(":")[2].partition("/")[0]), "COMMAND", "LIST").upper().split()
    )
    granted = {
        word.upper().partition("|")[0]
        for word in re.findall(r"\+([a-z|]+)", ACL.read_text().partition("user imc")[2])
    }
    sources = [*ROOT.glob("lua/**/*.lua"), *(p for name in PACKAGES for p in (ROOT / name).rglob("*.py"))]
    text = "\n".join(path.read_text() for path in sources if path.name != "slots.py")
    said = set(re.findall(r'"([A-Z]{2,})"', text)) & known
    assert said - ADDED_BY_OPERATORS - OPTIONAL - ALWAYS_ALLOWED - NOT_COMMANDS == granted


async def test_the_operators_commands_work_as_this_redis_user(server: str, tmp_path: Path) -> None:
    """A conversation, then `imc dead` and `imc reshard`, then the conversation goes on in other shards."""
    room = "sip:chat@example.org"

    async def talk(settings: dict[str, str], first: bool) -> None:
        service = Service(tmp_path, server, settings)
        service.start()
        alice, bob = [await SipUser.open(name, service.edge) for name in ("alice", "bob")]
        try:
            for user in (alice, bob):
                await user.say(room, "#join", sender=f"{user.name}@127.0.0.1:{user.port}")
            await alice.say(room, "hello")
            await bob.assert_gets(r".*" if first else r".*has joined.*|.*You have.*")
            await asyncio.to_thread(service.wait_until_settled)  # `imc reshard` refuses to start before
        finally:
            alice.close()
            bob.close()
            service.stop()

    await talk({}, first=True)
    for words in (["dead", "list"], ["reshard", "--hash-size", "5"]):
        done = run(*words, "--db-url", server, before=AT_ONCE)
        assert done.returncode == 0, done.stderr
    await talk({"hash_size": "5"}, first=False)


def command_lines(*processes: int) -> str:
    """Of these processes and all that they started."""
    lines = []
    waiting = list(processes)
    while waiting:
        pid = waiting.pop()
        with suppress(FileNotFoundError):  # it has ended
            lines.append(" ".join(command_of(pid)))
            waiting += children(pid)
    return "\n".join(lines)


@pytest.mark.parametrize("module", ["imc_edge", "imc_worker"])
def test_passwords_do_not_appear_in_logs_and_process_lists(server: str, tmp_path: Path, module: str) -> None:
    """At log level debug, with a wrong password, and with an unreachable Redis."""
    env = {"IMC_LISTEN": "udp:127.0.0.1:0", "IMC_LOG_LEVEL": "debug"}
    wrong = python(tmp_path, "wrong", module, env | {"IMC_DB_URL": server.replace(PASSWORD, f"{PASSWORD}x")})
    assert wrong.start().child is not None
    assert wrong.child is not None
    assert wrong.child.wait(60) != 0
    assert "WRONGPASS" in wrong.log()
    right = python(tmp_path, "right", module, env | {"IMC_DB_URL": server}).start()
    away = python(
        tmp_path, "away", module, env | {"IMC_DB_URL": f"redis://imc:{PASSWORD}@127.0.0.1:9"}
    ).start()
    try:
        wait_until(
            lambda: "edge started" in right.log() or "worker started" in right.log(), "the process serves"
        )
        wait_until(lambda: "redis unreachable" in away.log(), "a warning")
        running_now = [process.child.pid for process in (right, away) if process.child]
        lines = command_lines(*running_now)
        assert lines.count(module) == len(running_now)
        assert PASSWORD not in lines
    finally:
        for process in (right, away):
            process.end(signal.SIGTERM)
    for process in (wrong, right, away):
        assert PASSWORD not in process.log()
    forget_denials(server)


def test_a_password_on_the_command_line_causes_a_warning(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`imc up` passes it to its processes in the environment, but cannot hide its own arguments."""
    assert "Set db_url in IMC_DB_URL" in run("check", "--db-url", server).stderr
    done = run("dead", "list", "--db-url", server.replace(PASSWORD, f"{PASSWORD}x"))
    assert done.returncode == 1
    assert PASSWORD not in done.stdout + done.stderr
    forget_denials(server)
    monkeypatch.setenv("IMC_DB_URL", server)
    with running("up", "--listen", f"udp:127.0.0.1:{free_port()}", cwd=tmp_path) as up:
        up.wait_for("Press Ctrl-C to stop everything")
        lines = command_lines(up.process.pid)
        assert ("imc_edge" in lines, "imc_worker" in lines) == (True, True)
        assert PASSWORD not in lines
        up.interrupt()
        assert up.end() == 0
        assert PASSWORD not in up.output
