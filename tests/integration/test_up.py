"""`imc up`, `imc edge`, `imc worker` and `imc demo` start and stop the service."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from imc_cli.demo_conversation import CONVERSATION, PHONE_OFF
from tests.integration.command import Running, run, running
from tests.integration.proc import alive, children, command_of
from tests.integration.service import Service, options
from tests.integration.sip_user import SipUser, notice
from tests.patience import Stopwatch
from tests.ports import free_port
from tests.processes import wait_until

pytestmark = pytest.mark.integration

SERVING = r"To chat, run this in two more terminals"


def on_a_free_port() -> list[str]:
    """The option that makes the first edge listen on a free port."""
    return ["--listen", f"udp:127.0.0.1:{free_port()}"]


def port_of(imc: Running) -> int:
    """The port of the first edge; waits until everything serves."""
    imc.wait_for(SERVING)
    return int(imc.wait_for(r"Edge 1 listens on udp:127\.0\.0\.1:(\d+)")[1])


@pytest.fixture
async def alice() -> AsyncIterator[SipUser]:
    """A user without an edge; tests set it."""
    user = await SipUser.open("alice", ("", 0))
    yield user
    user.close()


def test_up_demo_once_plays_the_conversation_and_exits(tmp_path: Path) -> None:
    """It prints and checks each MESSAGE, and leaves no process running."""
    done = run("up", "--demo", "--once", *on_a_free_port(), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The conversation succeeded." in done.stdout
    assert "FAULT" not in done.stderr
    for step in CONVERSATION:
        assert re.search(rf"{step.who} -> demo-\w+ +{re.escape(step.text.split('{')[0])}", done.stdout)
    assert re.search(r"demo-\w+ -> bob +<alice-\w+@127\.0\.0\.1:\d+>: Hello Bob", done.stdout)
    assert list((tmp_path / "var").glob("appendonlydir/*.aof")), "the data stay in ./var"


def test_the_demo_shows_a_user_that_catches_up(tmp_path: Path) -> None:
    """Carol gets what the others said while her phone was off, in order, after it is on again."""
    history = ("--history-max-messages", "500")
    done = run("up", "--once", *history, *on_a_free_port(), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    before, _, after = done.stdout.partition("(carol's phone is on again.)")
    while_off = before.partition("(carol's phone is off.)")[2]
    assert [step.text for step in PHONE_OFF.missed if step.text not in while_off] == []
    assert "-> carol" not in while_off
    texts = re.findall(r"demo-\w+ -> carol +<\S+>: (.*)", after)
    assert texts == [step.text for step in PHONE_OFF.missed]


def test_the_demo_leaves_this_out_if_rooms_keep_nothing(tmp_path: Path) -> None:
    """And says so."""
    done = run("up", "--once", "--history-max-messages", "0", *on_a_free_port(), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "(This service keeps no messages: carol's phone stays on.)" in done.stdout


def test_up_once_fails_if_an_expected_message_does_not_come(tmp_path: Path) -> None:
    """With another start character the demo's commands are ordinary messages."""
    done = run("up", "--once", "--imc-cmd-start-char", "!", *on_a_free_port(), cwd=tmp_path)
    assert done.returncode == 1
    assert "FAULT" in done.stderr or "could not be created" in done.stderr


async def test_rooms_survive_a_restart_of_imc_up(tmp_path: Path, alice: SipUser) -> None:
    """Ctrl-C ends all processes cleanly, and the rooms are stored in ./var. The demo works beside them."""
    room = "sip:chat-000@example.org"
    with running("up", *on_a_free_port(), cwd=tmp_path) as imc:
        alice.edge = ("127.0.0.1", port_of(imc))
        await alice.say(room, "#create private")
        await alice.assert_gets(notice("You have created"))
        started = children(imc.process.pid)
        imc.interrupt()
        assert imc.end() == 0, imc.output
    assert len(started) == 3, "a server, an edge and a worker"
    assert [pid for pid in started if alive(pid)] == []
    with running("up", "--demo", *on_a_free_port(), cwd=tmp_path) as imc:
        imc.wait_for("The conversation succeeded.")
        alice.edge = ("127.0.0.1", port_of(imc))
        await alice.say(room, "#list")
        await alice.assert_gets(notice(f"{alice.address} (owner)"))
        imc.interrupt()
        assert imc.end() == 0, imc.output


async def test_ctrl_c_waits_for_deliveries_in_flight(tmp_path: Path, alice: SipUser) -> None:
    """A delivery that is retransmitted when Ctrl-C comes still reaches a user who responds later."""
    alice.status_for = lambda _: None
    with running("up", *on_a_free_port(), cwd=tmp_path) as imc:
        alice.edge = ("127.0.0.1", port_of(imc))
        await alice.say("sip:a-room@example.org", "#create")
        await alice.assert_gets(notice("You have created"))
        imc.interrupt()
        await asyncio.sleep(1)
        assert imc.process.poll() is None
        alice.status_for = lambda _: 200
        before = len(alice.arrivals)
        assert await asyncio.to_thread(imc.end) == 0, imc.output
        assert len(alice.arrivals) > before


async def test_a_second_ctrl_c_ends_at_once_and_loses_nothing(tmp_path: Path, alice: SipUser) -> None:
    """Undelivered messages stay in ./var and are delivered after the next start."""
    alice.status_for = lambda _: None
    with running("up", *on_a_free_port(), cwd=tmp_path) as imc:
        alice.edge = ("127.0.0.1", port_of(imc))
        await alice.say("sip:a-room@example.org", "#create")
        await alice.assert_gets(notice("You have created"))
        imc.interrupt()
        await asyncio.to_thread(imc.wait_for, "Press Ctrl-C again")
        imc.interrupt()
        with Stopwatch() as watch:
            imc.end()
        assert watch.seconds < 20, "it did not wait 32 s for the drain"
    alice.status_for = lambda _: 200
    before = len(alice.arrivals)
    with running("up", *on_a_free_port(), cwd=tmp_path) as imc:
        await asyncio.to_thread(port_of, imc)
        await asyncio.to_thread(wait_until, lambda: len(alice.arrivals) > before, "the delivery", 60)
    assert len({call for call, _ in alice.arrivals}) == 1, "a repeated delivery has the same Call-ID"


async def test_imc_up_restarts_a_process_that_dies(tmp_path: Path, alice: SipUser) -> None:
    """First the worker is killed, then the edge; the service continues."""
    with running("up", *on_a_free_port(), "--lease-ttl", "1", cwd=tmp_path) as imc:
        port = port_of(imc)
        alice.edge = ("127.0.0.1", port)
        for module in ("imc_worker", "imc_edge"):
            (child,) = (pid for pid in children(imc.process.pid) if module in command_of(pid))
            os.kill(child, signal.SIGKILL)
            imc.wait_for(rf"{module.removeprefix('imc_')} 1 ended \(SIGKILL\), restarting")
        wait_until(lambda: options(port) == 200, "the edge is back")
        await alice.say("sip:a-room@example.org", "#create")
        await alice.assert_gets(notice("You have created"), within=60)


def test_imc_up_starts_several_edges_and_workers(tmp_path: Path, imc_url: str) -> None:
    """Each edge listens 10 ports above the previous one. With db_url, no server is started."""
    port = free_port()
    more = ["--edges", "2", "--workers", "2", "--listen", f"udp:127.0.0.1:{port}", "--db-url", imc_url]
    with running("up", *more, cwd=tmp_path) as imc:
        imc.wait_for(SERVING)
        for edge in (port, port + 10):
            wait_until(lambda edge=edge: options(edge) == 200, "a response")  # type: ignore[misc]
        assert len(children(imc.process.pid)) == 4
        imc.interrupt()
        assert imc.end() == 0, imc.output
    assert not (tmp_path / "var").exists()


def test_settings_from_a_file_reach_every_process(tmp_path: Path) -> None:
    """Edges and workers read the file given with `--config`."""
    (tmp_path / "imc.toml").write_text('listen = ["udp:127.0.0.1:0"]\nmanager = "helpdesk"\n')
    with running("up", "--config", "imc.toml", cwd=tmp_path) as imc:
        done = run(
            *("chat", "sip:alice@127.0.0.1:0", "--room", "sip:helpdesk@example.org"),
            *("--via", f"127.0.0.1:{port_of(imc)}", "--script", "/dev/stdin"),
        )
        assert done.returncode == 0


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (["--hash-size", "99"], 2, "hash_size"),
        (["--config", "no-such-file.toml"], 2, "no-such-file.toml"),
        (["--db-url", "http://127.0.0.1/"], 2, "db_url"),
    ],
)
def test_imc_up_rejects_invalid_settings(tmp_path: Path, args: list[str], status: int, words: str) -> None:
    """It names the setting and starts no process."""
    done = run("up", *on_a_free_port(), *args, cwd=tmp_path)
    assert done.returncode == status, done.stdout + done.stderr
    assert words in done.stderr


@pytest.mark.parametrize("options", [[], ["--demo"], ["--once"]])
def test_imc_up_refuses_a_port_of_another_server(tmp_path: Path, options: list[str]) -> None:
    """It names the process that has it, and does not take that server's responses for its own edge's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        done = run("up", *options, "--listen", f"udp:127.0.0.1:{port}", cwd=tmp_path)
        taken.setblocking(False)
        with pytest.raises(BlockingIOError):
            taken.recv(1000)
    assert done.returncode == 1
    assert f"udp:127.0.0.1:{port}: address in use by " in done.stderr
    assert f"(pid {os.getpid()})" in done.stderr
    assert "Edge 1 listens on" not in done.stdout


def test_a_second_imc_up_on_the_same_data_folder_is_refused(tmp_path: Path) -> None:
    """Two servers would corrupt the append-only file. The error has the process id of the first."""
    with running("up", *on_a_free_port(), cwd=tmp_path) as imc:
        imc.wait_for(SERVING)
        (server,) = (pid for pid in children(imc.process.pid) if "valkey" in command_of(pid)[0])
        done = run("up", *on_a_free_port(), cwd=tmp_path)
        assert done.returncode == 1
        assert f"the Valkey server with process id {server} already uses {tmp_path / 'var'}" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent has died")
def test_processes_drain_if_imc_up_is_killed(tmp_path: Path) -> None:
    """The server, which keeps the data, stays. The next start says how to end it."""
    with running("up", *on_a_free_port(), cwd=tmp_path) as imc:
        imc.wait_for(SERVING)
        started = children(imc.process.pid)
        (server,) = (pid for pid in started if "valkey" in command_of(pid)[0])
        imc.process.kill()
        wait_until(lambda: [pid for pid in started if alive(pid)] == [server], "edge and worker end", 60)
    done = run("up", *on_a_free_port(), cwd=tmp_path)
    assert (done.returncode, f"kill {server}\n" in done.stderr) == (1, True), done.stderr
    os.kill(server, signal.SIGTERM)
    wait_until(lambda: not alive(server), "the server ends", 60)
    done = run("up", "--once", *on_a_free_port(), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_imc_up_needs_a_folder_that_it_can_write_to(tmp_path: Path) -> None:
    """The error names the folder and the option for another one."""
    (tmp_path / "var").write_text("this is a file")
    done = run("up", *on_a_free_port(), cwd=tmp_path)
    assert done.returncode == 1
    assert f"no data can be kept in {tmp_path / 'var'}: File exists. Choose another" in done.stderr
    assert "--data-dir" in done.stderr


@pytest.mark.parametrize("command", ["edge", "worker"])
def test_imc_edge_and_imc_worker_run_one_process(tmp_path: Path, imc_url: str, command: str) -> None:
    """The command replaces itself with the process (exec); SIGTERM ends it with status 0."""
    args = [command, "--db-url", imc_url, *(on_a_free_port() if command == "edge" else [])]
    with running(*args, cwd=tmp_path) as imc:
        wait_until(lambda: f"imc_{command}" in command_of(imc.process.pid), "exec")
        imc.wait_for("edge started|worker started")
        imc.process.send_signal(signal.SIGTERM)
        assert imc.end() == 0, imc.output


def test_demo_against_a_running_service(imc: Service) -> None:
    """The exit status is 0 if every user got the expected messages."""
    done = run("demo", "--via", f"127.0.0.1:{imc.ports[0]}", "--domain", "demo.example")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The conversation succeeded." in done.stdout


@pytest.mark.parametrize("via", ["127.0.0.1:9", "no-such-host.invalid", "nonsense:x"])
def test_demo_fails_if_the_service_is_unreachable(via: str) -> None:
    """The exit status is not 0, and the error names the host."""
    done = run("demo", "--via", via)
    assert done.returncode != 0
    assert via.partition(":")[0] in done.stderr
