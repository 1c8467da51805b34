"""`imc chat` at a terminal, and with a script."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.command import Terminal, run
from tests.integration.conftest import OpenUser, on_redis
from tests.integration.service import Service
from tests.integration.sip_user import notice

pytestmark = pytest.mark.integration

UP = "\x1b[A"
SILENCE = "10"
"""Seconds without a message after which a script ends: longer than this machine may stand still."""


@pytest.fixture
def chat(imc: Service, room: str) -> Iterator[Terminal]:
    """bob's `imc chat` on a pseudo-terminal."""
    terminal = Terminal(
        *("chat", "sip:bob@127.0.0.1:0", "--room", room, "--via", f"127.0.0.1:{imc.ports[0]}")
    )
    yield terminal
    if terminal.process.poll() is None:
        terminal.process.kill()
        terminal.process.wait()


@on_redis
async def test_chat_at_a_terminal_sends_lines_and_shows_messages(
    open_user: OpenUser, room: str, chat: Terminal
) -> None:
    """Messages appear above the prompt, arrow up recalls the last line, Ctrl-D ends the program."""
    alice = await open_user("alice")
    await alice.say(room, "#create")
    await alice.assert_gets(notice("You have created"))
    chat.wait_for("bob>")
    chat.type("#join\r")
    chat.wait_for(r"\*\*\* You have joined")
    await alice.assert_gets(notice("has joined"))
    chat.type("Grüße von Bob\r")
    await alice.assert_gets(r"<bob@127\.0\.0\.1:\d+>: Grüße von Bob")
    chat.type(UP + "!\r")
    await alice.assert_gets(r"<bob@127\.0\.0\.1:\d+>: Grüße von Bob!")
    await alice.say(room, "\x1b[2Jhello \x1b]0;owned\x07 Bob")
    chat.wait_for(re.escape("\\x1b[2Jhello \\x1b]0;owned\\x07 Bob"))
    await alice.say(room, b"<b>hi</b>", content_type="text/html")
    chat.wait_for(r"alice.*: <b>hi</b>")
    await alice.say(room, b"--b\r\n--b--", content_type="multipart/mixed;boundary=b")
    chat.wait_for(r"alice.*: \[multipart/mixed, 10 characters\].*bob>")
    chat.type("\x04")
    assert chat.end() == 0


@on_redis
def test_a_rejected_line_is_reported_and_the_exit_status_is_1(imc: Service, room: str) -> None:
    """A status other than 2xx is shown; the lines after it are still sent. The script is standard input."""
    command = ["chat", "sip:bob@127.0.0.1:0", "--room", room, "--via", f"127.0.0.1:{imc.ports[0]}"]
    done = run(*command, "--wait", SILENCE, text="x" * 9000 + "\n#create\n")
    assert done.returncode == 1
    assert "not sent: 413 " in done.stdout
    assert "You have created" in done.stdout


@on_redis
async def test_notices_are_coloured(chat: Terminal) -> None:
    """A user can tell notices from messages of members."""
    chat.wait_for("bob>")
    chat.type("#dance\r")
    chat.wait_for("#dance is not a command")
    assert "\x1b[0;36m" in chat.raw or "36m*** " in chat.raw


@on_redis
async def test_a_script_sends_its_lines_in_order_and_prints_received_messages(
    open_user: OpenUser, imc: Service, room: str, tmp_path: Path
) -> None:
    """Each line is sent after the response to the previous one."""
    alice = await open_user("alice")
    script = tmp_path / "lines.txt"
    script.write_text(f"#create\n#add sip:{alice.address}\n\nHello from a script\n#list\n")
    done = run(
        *("chat", "sip:bob@127.0.0.1:0", "--room", room, "--via", f"127.0.0.1:{imc.ports[0]}"),
        *("--script", str(script), "--wait", SILENCE),
    )
    assert done.returncode == 0, done.stderr
    await alice.assert_gets(notice("added"))
    await alice.assert_gets(r"<bob@127\.0\.0\.1:\d+>: Hello from a script")
    assert "*** You have created this public room. " in done.stdout
    assert re.search(r"bob@127\.0\.0\.1:\d+ \(owner\)\n" + re.escape(alice.address), done.stdout)


@pytest.mark.parametrize("room", ["chat-000", "sip:example.org", "tel:123", "a b@example.org"])
def test_chat_rejects_an_invalid_room_address(room: str) -> None:
    """Before it sends anything, with exit status 2."""
    done = run("chat", "sip:bob@127.0.0.1:0", "--room", room)
    assert done.returncode == 2
    assert done.stderr.startswith(f"imc chat: {room!r} is not a room")


def test_chat_reports_an_address_that_it_cannot_bind() -> None:
    """In one line, with exit status 2."""
    done = run("chat", "sip:bob@192.0.2.1:5071", "--room", "sip:a@example.org")
    assert done.returncode == 2
    assert done.stderr == f"imc chat: cannot listen on 192.0.2.1:5071: {done.stderr.rpartition('5071: ')[2]}"
    assert sys.platform != "linux" or "Cannot assign requested address" in done.stderr


def test_chat_reports_a_next_hop_that_does_not_respond() -> None:
    """At the start, before any line is sent, with exit status 2."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        via = f"127.0.0.1:{silent.getsockname()[1]}"
        done = run("chat", "sip:bob@127.0.0.1:0", "--room", "sip:a@h", "--via", via, text="#join\n")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f"waiting for a response from {via} …",
        f"imc chat: no response from {via} (UDP). Set --via to an edge, a balancer or your registrar.",
    ]


@on_redis
def test_chat_warns_a_user_of_a_domain_without_a_registrar(imc: Service, room: str) -> None:
    """An edge is none: nothing may reach the user."""
    command = ["chat", "sip:bob@example.org", "--room", room, "--via", f"127.0.0.1:{imc.ports[0]}"]
    done = run(*command, "--wait", "0", text="\n")
    assert "is not a registrar (200 OK 399 imc" in done.stderr
    assert "bob@example.org" in done.stderr
