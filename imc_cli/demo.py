"""``imc demo``: plays the demo conversation against any edge, and checks what each user gets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Annotated

import typer

from imc_cli.conversation import CONVERSATION, USERS, Step, filled, matches
from imc_cli.endpoint import endpoint
from imc_cli.terminal import shown
from imc_cli.user_agent import Incoming, UserAgent
from imc_common.errors import ImcError

PATIENCE = 10.0  # seconds within which what a step must bring has come
SILENCE = 0.3  # seconds after the last step in which nothing more may come
ROOMS = 100  # names to try: chat-000 … chat-099


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    via: Annotated[str, typer.Option(help="HOST:PORT of an edge or balancer, UDP.")] = "127.0.0.1:5060",
    domain: Annotated[str, typer.Option(help="Domain of the room.")] = "example.org",
) -> None:
    """Play a conversation of four users in a private room; exit status 1 if not all goes as it must."""
    try:
        faults = asyncio.run(play(endpoint(via), domain, typer.echo))
    except ImcError as error:
        faults = [str(error)]
    for fault in faults:
        typer.echo(shown(f"FAULT  {fault}"), err=True)
    raise typer.Exit(1 if faults else 0)


async def play(via: tuple[str, int], domain: str, say: Callable[[str], None]) -> list[str]:
    """Play the conversation through ``via``; gives what went wrong, a line each."""
    stage = await Stage.open(via, domain, say)
    try:
        await stage.find_room()
        for step in CONVERSATION[1:]:
            await stage.play(step)
        await asyncio.sleep(SILENCE)
        stage.expect_silence()
        if not stage.faults:
            say("The conversation went as it should.")
        return stage.faults
    finally:
        await stage.close()


class Stage:
    """The users of the conversation, at free ports, and what each has got and nobody has looked at yet."""

    def __init__(self, via: tuple[str, int], domain: str, say: Callable[[str], None]) -> None:
        self.faults: list[str] = []
        self._via = via
        self._domain = domain
        self._say = say
        self._room = ""
        self._agents: dict[str, UserAgent] = {}
        self._inboxes: dict[str, asyncio.Queue[str]] = {name: asyncio.Queue() for name in USERS}

    @classmethod
    async def open(cls, via: tuple[str, int], domain: str, say: Callable[[str], None]) -> Stage:
        """All users listening."""
        stage = cls(via, domain, say)
        host = _host_towards(via)
        for name in USERS:
            stage._agents[name] = await UserAgent.open(f"sip:{name}@{host}:0", via, stage._receiver(name))
        return stage

    async def close(self) -> None:
        """Give the ports back."""
        for agent in self._agents.values():
            await agent.close()

    def _receiver(self, name: str) -> Callable[[Incoming], None]:
        def receive(incoming: Incoming) -> None:
            self._inboxes[name].put_nowait(incoming.text)
            self._tell(incoming.sender.partition("@")[0], name, incoming.text)

        return receive

    def _tell(self, sender: str, to: str, text: str) -> None:
        head = f"{sender:>8} -> {to:<8}  "
        self._say(head + shown(text).replace("\n", "\n" + " " * len(head)))

    @property
    def _names(self) -> dict[str, str]:
        addresses = {name: agent.address for name, agent in self._agents.items()}
        return addresses | {"room": f"{self._room}@{self._domain}"}

    async def find_room(self) -> None:
        """The first step, in the first room that is free: earlier runs may have left theirs behind.

        Raises ImcError if there is no service, or it makes no room.
        """
        if (await self._agents["alice"].options(within=PATIENCE)).status == 408:
            raise ImcError(f"nobody answers at {self._via[0]}:{self._via[1]}")
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
        why = "; ".join(self.faults) or "no notice came, the log and `imc trace` say more"
        raise ImcError(f"{self._names['room']} could not be made: {why}")

    async def play(self, step: Step) -> None:
        """One step: send, and look at what each user gets."""
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
        self._tell(step.who, self._room, text)
        answer = await self._agents[step.who].send(f"sip:{self._room}@{self._domain}", text)
        if answer.status != 202:
            self.faults.append(f"{step.text!r} was answered {answer.status} {answer.reason}")

    async def _next(self, name: str) -> str | None:
        try:
            return await asyncio.wait_for(self._inboxes[name].get(), PATIENCE)
        except TimeoutError:
            return None

    def expect_silence(self) -> None:
        """Whatever a user got beyond what the steps bring is a fault."""
        for name, inbox in self._inboxes.items():
            while not inbox.empty():
                self.faults.append(f"nothing more was due, but {name} got {inbox.get_nowait()!r}")


def _host_towards(via: tuple[str, int]) -> str:
    """Our own address as the far end sees it. Raises ImcError if there is no way there."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(*via, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)
            host: str = probe.getsockname()[0]
    except OSError as error:
        raise ImcError(f"{via[0]}:{via[1]} cannot be reached: {error.strerror}") from error
    return f"[{host}]" if ":" in host else host
