"""``imc demo``: plays the demo conversation through any edge and checks what each user receives."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Annotated

import typer

from imc_cli.demo_conversation import CONVERSATION, USERS, Step, filled, matches
from imc_cli.host_port import host_port
from imc_cli.terminal import terminal_safe
from imc_cli.user_agent import Incoming, UserAgent
from imc_common.errors import ImcError

PATIENCE = 10.0  # seconds to wait for each expected message
SILENCE = 0.3  # seconds after the last step in which no further message may arrive
ROOMS = 100  # room names to try: chat-000 … chat-099


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    via: Annotated[str, typer.Option(help="HOST:PORT (UDP) of an edge or a balancer.")] = "127.0.0.1:5060",
    domain: Annotated[str, typer.Option(help="Domain of the room.")] = "example.org",
) -> None:
    """Play and check a conversation of four users in a private room. Exit status 1 if anything is wrong."""
    try:
        faults = asyncio.run(play(host_port(via), domain, typer.echo))
    except ImcError as error:
        faults = [str(error)]
    for fault in faults:
        typer.echo(terminal_safe(f"FAULT  {fault}"), err=True)
    raise typer.Exit(1 if faults else 0)


async def play(via: tuple[str, int], domain: str, say: Callable[[str], None]) -> list[str]:
    """Play the conversation through ``via``. Returns what went wrong, one line for each fault."""
    run = await DemoRun.open(via, domain, say)
    try:
        await run.find_room()
        for step in CONVERSATION[1:]:
            await run.play(step)
        await asyncio.sleep(SILENCE)
        run.expect_silence()
        if not run.faults:
            say("The conversation succeeded.")
        return run.faults
    finally:
        await run.close()


class DemoRun:
    """The users of the conversation, at free ports, and the messages they received that are not checked
    yet."""

    def __init__(self, via: tuple[str, int], domain: str, say: Callable[[str], None]) -> None:
        self.faults: list[str] = []
        self._via = via
        self._domain = domain
        self._say = say
        self._room = ""
        self._agents: dict[str, UserAgent] = {}
        self._inboxes: dict[str, asyncio.Queue[str]] = {name: asyncio.Queue() for name in USERS}

    @classmethod
    async def open(cls, via: tuple[str, int], domain: str, say: Callable[[str], None]) -> DemoRun:
        """All users, listening."""
        run = cls(via, domain, say)
        host = _host_towards(via)
        for name in USERS:
            run._agents[name] = await UserAgent.open(f"sip:{name}@{host}:0", via, run._receiver(name))
        return run

    async def close(self) -> None:
        """Close the sockets of all users."""
        for agent in self._agents.values():
            await agent.close()

    def _receiver(self, name: str) -> Callable[[Incoming], None]:
        def receive(incoming: Incoming) -> None:
            self._inboxes[name].put_nowait(incoming.text)
            self._print(incoming.sender.partition("@")[0], name, incoming.text)

        return receive

    def _print(self, sender: str, to: str, text: str) -> None:
        head = f"{sender:>8} -> {to:<8}  "
        self._say(head + terminal_safe(text).replace("\n", "\n" + " " * len(head)))

    @property
    def _names(self) -> dict[str, str]:
        addresses = {name: agent.address for name, agent in self._agents.items()}
        return addresses | {"room": f"{self._room}@{self._domain}"}

    async def find_room(self) -> None:
        """Play the first step in the first room that is free. Earlier runs may have left theirs behind.

        Raises ImcError without a service, or if it creates no room.
        """
        if (await self._agents["alice"].options(within=PATIENCE)).status == 408:
            raise ImcError(f"no response from {self._via[0]}:{self._via[1]}")
        for agent in self._agents.values():
            await agent.register(within=PATIENCE)
        for number in range(ROOMS):
            self._room = f"chat-{number:03}"
            step = CONVERSATION[0]
            await self._send(step)
            text = await self._next(step.who)
            if text is not None and matches(step.then[step.who][0], self._names, text):
                return
            if text is None or self.faults:
                break
        why = "; ".join(self.faults) or "there was no notice; see the logs or `imc trace`"
        raise ImcError(f"{self._names['room']} could not be created: {why}")

    async def play(self, step: Step) -> None:
        """Play one step: send its message and check what each user receives."""
        await self._send(step)
        for name, patterns in step.then.items():
            for pattern in patterns:
                text = await self._next(name)
                if text is None:
                    self.faults.append(f"after {step.text!r}: {name} got nothing")
                elif not matches(pattern, self._names, text):
                    self.faults.append(f"after {step.text!r}: {name} got {text!r}")

    async def _send(self, step: Step) -> None:
        text = filled(step.text, self._names)
        self._print(step.who, self._room, text)
        response = await self._agents[step.who].send(f"sip:{self._room}@{self._domain}", text)
        if response.status != 202:
            self.faults.append(f"{step.text!r} got {response.status} {response.reason}")

    async def _next(self, name: str) -> str | None:
        try:
            return await asyncio.wait_for(self._inboxes[name].get(), PATIENCE)
        except TimeoutError:
            return None

    def expect_silence(self) -> None:
        """Any further message is a fault."""
        for name, inbox in self._inboxes.items():
            while not inbox.empty():
                self.faults.append(f"unexpected: {name} got {inbox.get_nowait()!r}")


def _host_towards(via: tuple[str, int]) -> str:
    """The address of this machine towards ``via``. Raises ImcError if there is no route."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(*via, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)
            host: str = probe.getsockname()[0]
    except OSError as error:
        raise ImcError(f"{via[0]}:{via[1]} is unreachable: {error.strerror}") from error
    return f"[{host}]" if ":" in host else host
