"""``imc chat``: a SIP user at the terminal, or one that follows a script."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from imc_cli.host_port import host_port
from imc_cli.own_address import place_in, user_uri
from imc_cli.password import read_password
from imc_cli.terminal import terminal_safe
from imc_cli.user_agent import Incoming, UserAgent
from imc_common.errors import ImcError
from imc_common.presence import NO_REGISTRAR
from imc_common.sip.uri import Uri

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession

NOTICE = "*** "
RESPONSE_SECONDS = 10.0  # for the first response of the next hop
SLOW_SECONDS = 2.0  # after which a line says that there is none yet
LEAVE_SECONDS = 3.0  # for sending the last lines when the user leaves
Say = Callable[[str, str], None]
"""Show a text in a style: notice, message or failure."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(chat)


def chat(
    user: Annotated[str, typer.Argument(help="Your address: sip:USER@DOMAIN, or sip:USER@IP-ADDRESS:PORT.")],
    *,
    room: Annotated[
        str, typer.Option(help="URI of the room, or of the command address (setting `manager`).")
    ],
    via: Annotated[
        str, typer.Option(help="HOST:PORT (UDP) of an edge, a balancer, or your registrar.")
    ] = "127.0.0.1:5060",
    listen: Annotated[
        str | None,
        typer.Option(
            help="HOST:PORT to listen on, port 0: a free one. Default: the IP address in your address, or"
            " that of this machine towards --via.",
            show_default=False,
        ),
    ] = None,
    script: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Send the lines of this file, then exit.")
    ] = None,
    wait: Annotated[
        float,
        typer.Option(
            min=0, help="With --script or piped input: exit after so many seconds without a message."
        ),
    ] = 2,
    login: Annotated[
        bool,
        typer.Option(
            "--login", help="Authenticate with a password, which is prompted for or read from standard input."
        ),
    ] = False,
) -> None:
    """Chat in a room: each line is sent as a MESSAGE, and received messages are shown. Try #help."""
    try:
        at = None if listen is None else host_port(listen, any_port=True)
        who = ChatUser(user, _room(room), host_port(via), at, read_password() if login else None)
        if script is None and sys.stdin.isatty():
            failures = asyncio.run(_talk(who))
        else:
            lines = (script.read_text("utf-8") if script else sys.stdin.read()).splitlines()
            failures = asyncio.run(_follow(lines, wait, who))
    except ImcError as error:
        typer.echo(terminal_safe(f"imc chat: {error}"), err=True)
        raise typer.Exit(2) from None
    raise typer.Exit(1 if failures else 0)


def _room(text: str) -> str:
    """The URI of the room. The scheme is optional. Raises ImcError."""
    uri = text if ":" in text.partition("@")[0] else f"sip:{text}"
    try:
        if Uri.parse(uri).user is not None:
            return uri
    except ValueError:
        pass
    raise ImcError(f"{text!r} is not a room: use sip:ROOM@DOMAIN")


def no_response(via: tuple[str, int]) -> str:
    """What to say of a next hop that does not respond."""
    return f"no response from {via[0]}:{via[1]} (UDP). Set --via to an edge, a balancer or your registrar."


class ChatUser(NamedTuple):
    """The user, the room, the next hop, and the password if there is one."""

    user: str
    room: str
    via: tuple[str, int]
    listen: tuple[str, int] | None
    password: str | None

    async def open(self, receive: Callable[[Incoming], None]) -> UserAgent:
        """A user agent that can send and receive. Raises UserAgentError."""
        return await UserAgent.open(self.user, self.via, receive, self.password, self.listen)

    async def register(self, agent: UserAgent) -> None:
        """Register at the next hop, if it is a registrar.

        Raises ImcError if the next hop does not respond, or if it does not accept the user.
        """
        registering = asyncio.ensure_future(agent.register(RESPONSE_SECONDS))
        via = ":".join(map(str, self.via))
        if not (await asyncio.wait({registering}, timeout=SLOW_SECONDS))[0]:
            typer.echo(f"waiting for a response from {via} …", err=True)
        response = await registering
        if response.status == 408:
            raise ImcError(no_response(self.via))
        if response.status in {401, 407}:
            raise ImcError(
                f"{via} requires a password: use --login"
                if self.password is None
                else f"{via} did not accept this password of {agent.address}"
            )
        is_registrar = response.ok and response.warning != NO_REGISTRAR
        if not is_registrar and place_in(user_uri(f"sip:{agent.address}")) is None:
            why = terminal_safe(f"{response.status} {response.reason} {response.warning}".strip())
            typer.echo(
                f"{via} is not a registrar ({why}). You receive messages only if imc can deliver to"
                f" {agent.address} by other means.",
                err=True,
            )


class ChatSession:
    """Sends and receives for one user, and shows it with ``say``."""

    def __init__(self, room: str, say: Say) -> None:
        self.failures = 0
        self.received = asyncio.Event()
        self._room = room
        self._say = say

    def receive(self, incoming: Incoming) -> None:
        """Show a received MESSAGE."""
        self.received.set()
        sort = incoming.content_type.partition(";")[0].strip().lower()
        text = incoming.text
        if sort != "text/plain":  # only text/plain has the sender in its text
            text = text if sort.startswith("text/") else f"[{sort}, {len(text)} characters]"
            text = f"{incoming.name}: {text}"
        self._say("notice" if text.startswith(NOTICE) else "message", terminal_safe(text))

    async def send(self, agent: UserAgent, line: str) -> None:
        """Send a line. Only a failure is shown."""
        response = await agent.send(self._room, line)
        if not response.ok:
            self.failures += 1
            self._say("failure", terminal_safe(f"not sent: {response.status} {response.reason}"))


async def _follow(lines: list[str], wait: float, who: ChatUser) -> int:
    """Send the lines, each after the response to the one before. Ends ``wait`` seconds after the last
    message."""
    talk = ChatSession(who.room, lambda _, text: typer.echo(text))
    agent = await who.open(talk.receive)
    try:
        await who.register(agent)
        for line in filter(str.strip, lines):
            typer.echo(f"> {terminal_safe(line)}")
            await talk.send(agent, line)
        while True:
            talk.received.clear()
            try:
                async with asyncio.timeout(wait):
                    await talk.received.wait()
            except TimeoutError:
                return talk.failures
    finally:
        await agent.close()


async def _talk(who: ChatUser) -> int:
    """Prompt for lines until end of input or Ctrl-C. Lines are sent in the background."""
    # imports that take half a second and that no other command needs
    from prompt_toolkit import PromptSession, print_formatted_text  # noqa: PLC0415
    from prompt_toolkit.formatted_text import FormattedText  # noqa: PLC0415
    from prompt_toolkit.patch_stdout import patch_stdout  # noqa: PLC0415
    from prompt_toolkit.styles import Style  # noqa: PLC0415

    def say(kind: str, text: str) -> None:
        print_formatted_text(FormattedText([(f"class:{kind}", text)]), style=style)

    style = Style.from_dict(
        {"prompt": "bold", "notice": "ansicyan", "message": "", "failure": "ansired bold"}
    )
    talk = ChatSession(who.room, say)
    agent = await who.open(talk.receive)
    prompt = FormattedText([("class:prompt", f"{agent.address.partition('@')[0]}> ")])
    # the history is in memory only: messages are not written to disk
    session: PromptSession[str] = PromptSession(prompt, style=style)
    queue: asyncio.Queue[str] = asyncio.Queue()
    sender = asyncio.create_task(_send_in_order(queue, talk, agent))
    try:
        await who.register(agent)
        with patch_stdout():
            async for line in _lines(session):
                queue.put_nowait(line)
            with suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_SECONDS):
                    await queue.join()
    finally:
        sender.cancel()
        await agent.close()
    return talk.failures


async def _lines(session: PromptSession[str]) -> AsyncIterator[str]:
    """The lines that the user types, until end of input or Ctrl-C."""
    while True:
        try:
            line = await session.prompt_async()
        except (EOFError, KeyboardInterrupt):
            return
        if line.strip():
            yield line


async def _send_in_order(queue: asyncio.Queue[str], talk: ChatSession, agent: UserAgent) -> None:
    """One line in flight; the next after its response (RFC 3428 §8)."""
    while True:
        await talk.send(agent, await queue.get())
        queue.task_done()
