"""``imc chat``: one SIP user in the terminal, or following a script."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from imc_cli.endpoint import endpoint
from imc_cli.password import read_password
from imc_cli.terminal import shown
from imc_cli.user_agent import Incoming, UserAgent
from imc_common.errors import ImcError
from imc_common.sip.uri import Uri

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession

NOTICE = "*** "
LEAVE_SECONDS = 3.0  # for the last lines, when the user goes
Say = Callable[[str, str], None]
"""Show a text in a style: notice, message or failure."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(chat)


def chat(
    user: Annotated[str, typer.Argument(help="Who you are and where you listen: sip:USER@HOST:PORT.")],
    *,
    room: Annotated[str, typer.Option(help="The room's URI, or the manager's.")],
    via: Annotated[str, typer.Option(help="HOST:PORT of an edge or balancer, UDP.")] = "127.0.0.1:5060",
    script: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Send the lines of this file, then end.")
    ] = None,
    wait: Annotated[
        float, typer.Option(min=0, help="With a script: seconds of silence after which it ends.")
    ] = 2,
    login: Annotated[
        bool, typer.Option("--login", help="Ask for a password (or read a line), for edges that want one.")
    ] = False,
) -> None:
    """Be a user of a room: each line is sent as a MESSAGE, what comes is shown. #help lists the commands."""
    try:
        who = Who(user, _room(room), endpoint(via), read_password() if login else None)
        if script is None and sys.stdin.isatty():
            failures = asyncio.run(_talk(who))
        else:
            lines = (script.read_text("utf-8") if script else sys.stdin.read()).splitlines()
            failures = asyncio.run(_follow(lines, wait, who))
    except ImcError as error:
        typer.echo(shown(f"imc chat: {error}"), err=True)
        raise typer.Exit(2) from None
    raise typer.Exit(1 if failures else 0)


def _room(text: str) -> str:
    """The room's URI; the scheme may be left out. Raises ImcError."""
    uri = text if ":" in text.partition("@")[0] else f"sip:{text}"
    try:
        if Uri.parse(uri).user is not None:
            return uri
    except ValueError:
        pass
    raise ImcError(f"{text!r} is no room: give it as sip:ROOM@DOMAIN")


class Who(NamedTuple):
    """Who talks where, and the password, if it is to be used."""

    user: str
    room: str
    via: tuple[str, int]
    password: str | None

    async def open(self, receive: Callable[[Incoming], None]) -> UserAgent:
        """The user, ready to send and receive. Raises UserAgentError."""
        return await UserAgent.open(self.user, self.via, receive, self.password)


class Conversation:
    """What one user says and gets, told by ``say``."""

    def __init__(self, room: str, say: Say) -> None:
        self.failures = 0
        self.heard = asyncio.Event()
        self._room = room
        self._say = say

    def receive(self, incoming: Incoming) -> None:
        """Show a MESSAGE that came."""
        self.heard.set()
        sort = incoming.content_type.partition(";")[0].strip().lower()
        text = incoming.text
        if sort != "text/plain":  # which alone has the sender in front of its text
            text = text if sort.startswith("text/") else f"[{sort}, {len(text)} characters]"
            text = f"{incoming.name}: {text}"
        self._say("notice" if text.startswith(NOTICE) else "message", shown(text))

    async def send(self, agent: UserAgent, line: str) -> None:
        """Send a line; only a failure is worth a word."""
        answer = await agent.send(self._room, line)
        if not answer.ok:
            self.failures += 1
            self._say("failure", shown(f"not sent: {answer.status} {answer.reason}"))


async def _follow(lines: list[str], wait: float, who: Who) -> int:
    """Send the lines, each when the one before is answered; ends after ``wait`` seconds without news."""
    talk = Conversation(who.room, lambda _, text: typer.echo(text))
    agent = await who.open(talk.receive)
    try:
        await agent.register()
        for line in filter(str.strip, lines):
            typer.echo(f"> {shown(line)}")
            await talk.send(agent, line)
        while True:
            talk.heard.clear()
            try:
                await asyncio.wait_for(talk.heard.wait(), wait)
            except TimeoutError:
                return talk.failures
    finally:
        await agent.close()


async def _talk(who: Who) -> int:
    """Prompt for lines until end of input or Ctrl-C; sending goes on behind the prompt."""
    # half a second of imports that no other command needs
    from prompt_toolkit import PromptSession, print_formatted_text  # noqa: PLC0415
    from prompt_toolkit.formatted_text import FormattedText  # noqa: PLC0415
    from prompt_toolkit.patch_stdout import patch_stdout  # noqa: PLC0415
    from prompt_toolkit.styles import Style  # noqa: PLC0415

    def say(kind: str, text: str) -> None:
        print_formatted_text(FormattedText([(f"class:{kind}", text)]), style=style)

    style = Style.from_dict(
        {"prompt": "bold", "notice": "ansicyan", "message": "", "failure": "ansired bold"}
    )
    talk = Conversation(who.room, say)
    agent = await who.open(talk.receive)
    prompt = FormattedText([("class:prompt", f"{agent.address.partition('@')[0]}> ")])
    # the history is the session's own, in memory: what is said stays off the disk
    session: PromptSession[str] = PromptSession(prompt, style=style)
    queue: asyncio.Queue[str] = asyncio.Queue()
    sender = asyncio.create_task(_send_in_order(queue, talk, agent))
    try:
        await agent.register()
        with patch_stdout():
            async for line in _lines(session):
                queue.put_nowait(line)
            with suppress(TimeoutError):
                await asyncio.wait_for(queue.join(), LEAVE_SECONDS)
    finally:
        sender.cancel()
        await agent.close()
    return talk.failures


async def _lines(session: PromptSession[str]) -> AsyncIterator[str]:
    """What the user types, line by line, until end of input or Ctrl-C."""
    while True:
        try:
            line = await session.prompt_async()
        except (EOFError, KeyboardInterrupt):
            return
        if line.strip():
            yield line


async def _send_in_order(queue: asyncio.Queue[str], talk: Conversation, agent: UserAgent) -> None:
    """One line in flight, the next when it is answered (RFC 3428 §8)."""
    while True:
        await talk.send(agent, await queue.get())
        queue.task_done()
