"""``imc demo``: plays the demo conversation through any edge and checks what each user receives."""

from __future__ import annotations

import asyncio
import re
import secrets
import signal
from collections.abc import Callable, Coroutine, Iterable
from typing import Annotated, NamedTuple

import typer

from imc_cli.demo_conversation import BEGINNING, END, KEEPS, PHONE_OFF, USERS, Exchange, filled, matches
from imc_cli.host_port import host_port
from imc_cli.own_address import resolved, towards
from imc_cli.password import read_password
from imc_cli.terminal import terminal_safe
from imc_cli.user_agent import Incoming, UserAgent
from imc_common.errors import ImcError

PATIENCE = 10.0  # seconds to wait for each expected message
SILENCE = 0.3  # seconds after the last step in which no further message may arrive


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    via: Annotated[str, typer.Option(help="HOST:PORT (UDP) of an edge or a balancer.")] = "127.0.0.1:5060",
    domain: Annotated[str, typer.Option(help="Domain of the room.")] = "example.org",
    user_domain: Annotated[
        str,
        typer.Option(
            help="Domain of the users alice, bob, carol and dave, who register. Default: they have addresses"
            " of this machine.",
            show_default=False,
        ),
    ] = "",
    login: Annotated[
        bool,
        typer.Option(
            "--login",
            help="Authenticate all users with one password, prompted for or read from standard input.",
        ),
    ] = False,
) -> None:
    """Play and check a conversation of four users in a new private room, which is deleted in the end.

    Exit status 1 if anything is wrong.
    """
    try:
        cast = Cast(host_port(via), domain, user_domain, read_password() if login else None)
        faults = asyncio.run(_until_sigterm(play(cast, typer.echo)))
    except ImcError as error:
        faults = [str(error)]
    for fault in faults:
        typer.echo(terminal_safe(f"FAULT  {fault}"), err=True)
    raise typer.Exit(1 if faults else 0)


class Cast(NamedTuple):
    """Where the conversation is, and who its users are."""

    via: tuple[str, int]
    domain: str = "example.org"
    user_domain: str = ""
    password: str | None = None


async def _until_sigterm(playing: Coroutine[None, None, list[str]]) -> list[str]:
    """What it returns. SIGTERM cancels it, as Ctrl-C does, so that it cleans up."""
    task = asyncio.ensure_future(playing)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        if not task.cancelled():
            raise
        return ["stopped by a signal"]


async def play(cast: Cast, say: Callable[[str], None]) -> list[str]:
    """Play the conversation. Returns what went wrong, one line for each fault. Raises ImcError."""
    run = await DemoRun.open(cast, say)
    try:
        await run.create_room()
        for step in BEGINNING[1:]:
            await run.play(step)
        await run.play_phone_off()
        for step in END:
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

    def __init__(self, cast: Cast, say: Callable[[str], None]) -> None:
        self.faults: list[str] = []
        self._cast = cast
        self._say = say
        token = secrets.token_hex(4)
        self._room = f"demo-{token}"  # nobody else's
        # Other users in each run: one user may invite another only a few times per hour.
        self._suffix = "" if cast.user_domain else f"-{token[:4]}"
        self._room_exists = False
        self._keeps_messages = False
        self._agents: dict[str, UserAgent] = {}
        self._inboxes: dict[str, asyncio.Queue[str]] = {name: asyncio.Queue() for name in USERS}

    @classmethod
    async def open(cls, cast: Cast, say: Callable[[str], None]) -> DemoRun:
        """All users, listening. Raises UserAgentError."""
        run = cls(cast, say)
        try:
            via = await resolved(cast.via)
            host = towards(via)
            place = cast.user_domain or (f"[{host}]:0" if ":" in host else f"{host}:0")
            for name in USERS:
                run._agents[name] = await UserAgent.open(
                    f"sip:{name}{run._suffix}@{place}", via, run._receiver(name), cast.password
                )
        except BaseException:
            await run.close()
            raise
        return run

    async def close(self) -> None:
        """Delete the room if it still exists, and unregister all users. Nothing of the run is left."""
        try:
            if self._room_exists:
                async with asyncio.timeout(PATIENCE):
                    await self._delete_room()
        except TimeoutError:
            self._say(f"{self._room_uri} may still exist: imc mi imc_destroy_room {self._room_uri}")
        finally:  # also if Ctrl-C comes once more
            await asyncio.gather(*(agent.close() for agent in self._agents.values()))

    def _receiver(self, name: str) -> Callable[[Incoming], None]:
        def receive(incoming: Incoming) -> None:
            self._inboxes[name].put_nowait(incoming.text)
            self._keeps_messages |= KEEPS in incoming.text
            self._print(incoming.sender.partition("@")[0], name, incoming.text)

        return receive

    def _print(self, sender: str, to: str, text: str) -> None:
        head = f"{sender:>8} -> {to:<8}  "
        self._say(head + terminal_safe(text).replace("\n", "\n" + " " * len(head)))

    async def _delete_room(self) -> None:
        """Return when alice has got the notice, or an error, about it."""
        (owner, done) = END[-1].who, END[-1].then["alice"][0]
        await self._agents[owner].send(self._room_uri, END[-1].text)
        while not re.fullmatch(rf"{done}|\*\*\* .*does not exist.*", await self._inboxes[owner].get()):
            pass

    @property
    def _room_uri(self) -> str:
        return f"sip:{self._room}@{self._cast.domain}"

    @property
    def _names(self) -> dict[str, str]:
        addresses = {name: agent.address for name, agent in self._agents.items()}
        return addresses | {"room": self._room_uri.removeprefix("sip:")}

    async def create_room(self) -> None:
        """Register the users, and play the first step. Raises ImcError if there is no service or no room."""
        for agent in self._agents.values():
            await self._register(agent)
        step = BEGINNING[0]
        self._room_exists = True  # from now on it may
        await self._send(step)
        text = await self._next(step.who) if not self.faults else None
        if text is None or not matches(step.then[step.who][0], self._names, text):
            why = text or "; ".join(self.faults) or "there was no notice; see the logs or `imc trace`"
            raise ImcError(f"{self._room_uri} could not be created: {why}")

    async def _register(self, agent: UserAgent) -> None:
        response = await agent.register(PATIENCE)
        via = ":".join(map(str, self._cast.via))
        if response.status == 408:
            raise ImcError(f"no response from {via} (UDP). Set --via to an edge or a balancer.")
        if response.status in {401, 407}:
            wrong = f"{via} did not accept this password of {agent.address}"
            raise ImcError(wrong if self._cast.password else f"{via} requires a password: use --login")
        if self._cast.user_domain and not response.ok:
            raise ImcError(f"{agent.address} could not register: {response.status} {response.reason}")

    async def play(self, step: Exchange) -> None:
        """Play one step: send its message and check what each user receives."""
        await self._send(step)
        if step.text == "#destroy" and not self.faults:
            self._room_exists = False
        for name, patterns in step.then.items():
            await self._expect(name, patterns, f"after {step.text!r}")

    async def play_phone_off(self) -> None:
        """Switch a user's phone off while the others talk. When it is on again, it must get what they said.

        Nothing is played if the service keeps no messages.
        """
        who = PHONE_OFF.who
        if not self._keeps_messages:
            self._say(f"(This service keeps no messages: {who}'s phone stays on.)")
            return
        for step in PHONE_OFF.before:
            await self.play(step)
        self._say(f"({who}'s phone is off.)")
        await self._agents[who].switch_off()
        for step in PHONE_OFF.missed:
            await self.play(step)
        self._say(f"({who}'s phone is on again.)")
        await self._agents[who].switch_on(PATIENCE)
        await self._expect(who, PHONE_OFF.received, "when the phone was on again")
        for step in PHONE_OFF.after:
            await self.play(step)

    async def _expect(self, name: str, patterns: Iterable[str], when: str) -> None:
        """Texts that a user must receive now, in this order."""
        for pattern in patterns:
            text = await self._next(name)
            if text is None:
                self.faults.append(f"{when}: {name} got nothing")
            elif not matches(pattern, self._names, text):
                self.faults.append(f"{when}: {name} got {text!r}")

    async def _send(self, step: Exchange) -> None:
        text = filled(step.text, self._names)
        self._print(step.who, self._room, text)
        response = await self._agents[step.who].send(self._room_uri, text)
        if response.status != 202:
            hint = "; use --login" if response.status in {401, 407} and not self._cast.password else ""
            self.faults.append(f"{step.text!r} got {response.status} {response.reason}{hint}")

    async def _next(self, name: str) -> str | None:
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._inboxes[name].get()
        except TimeoutError:
            return None

    def expect_silence(self) -> None:
        """Any further message is a fault."""
        for name, inbox in self._inboxes.items():
            while not inbox.empty():
                self.faults.append(f"unexpected: {name} got {inbox.get_nowait()!r}")
