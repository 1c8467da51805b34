"""Devices that show rooms as group chats, and telephones that do not, behind a proxy that is in the test.

They are on UDP sockets. Edges, workers and Redis are real processes, and send everything to this proxy.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.conference import actions
from tests.chaos.conference.phone import Phone, Place, Respond, Session
from tests.chaos.conference.registrar import Registrar
from tests.chaos.conference.requests import Requests
from tests.chaos.conference.roster import Entry
from tests.chaos.conference.wire import Message, response
from tests.patience import PATIENCE

CALM = (200, 202)


@dataclass
class Device(Phone):
    """A device that keeps what it gets."""

    got: list[Message] = field(default_factory=list)

    def receive(self, request: Message, respond: Respond) -> None:
        self.got.append(request)
        super().receive(request, respond)

    def accept(self, request: Message, respond: Respond) -> None:
        self.got.append(request)
        super().accept(request, respond)

    def requests_of(self, method: str) -> list[Message]:
        """What it got by this method, without retransmissions."""
        return [each for each in self.got if each.method == method]

    def shows(self, request: Message) -> bool:
        """It accepts every INVITE without its user."""
        return True

    def users_in(self, room: str) -> dict[str, Entry]:
        """Who is in a room, by what it shows; empty if it does not show the room."""
        place = self.places.get(room)
        users = place.roster.users if place is not None and place.is_in else {}
        return {user.removeprefix("sip:").partition("@")[0]: entry for user, entry in users.items()}


class Proxy(asyncio.DatagramProtocol):
    """Leads each request to a device, or to the telephone of a user who has none."""

    def __init__(self) -> None:
        self.registrar = Registrar()
        self.texts: defaultdict[str, list[Message]] = defaultdict(list)
        """What the telephones got."""
        self._seen: set[tuple[str, Any]] = set()
        self._transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment] # a datagram endpoint's

    def close(self) -> None:
        self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self.registrar.takes(data):
            self.registrar.receive(data, addr, self._transport.sendto)
            return
        request = Message.parse(data)
        if request.method != "MESSAGE":
            return
        if (request.branch, addr) not in self._seen:
            self._seen.add((request.branch, addr))
            self.texts[request.address("to").partition(":")[2].partition("@")[0]].append(request)
        self._transport.sendto(response(request, 200), addr)


class Devices:
    """All users of one test. ``edges`` are ports on 127.0.0.1, and ``port`` is that of the proxy."""

    def __init__(self, edges: list[int], proxy: Proxy) -> None:
        self._edges = edges
        self.proxy = proxy
        self.problems: list[str] = []
        """What no device may get."""
        self._requests: dict[tuple[int, ...], Requests] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(cls, edges: list[int], port: int) -> Devices:
        """Open the proxy."""
        loop = asyncio.get_running_loop()
        _, proxy = await loop.create_datagram_endpoint(Proxy, local_addr=("127.0.0.1", port))
        return cls(edges, proxy)

    async def close(self) -> None:
        """No device may have found a fault."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        self.proxy.close()
        for each in self._requests.values():
            each.close()
        devices = [each for every in self.proxy.registrar.phones.values() for each in every]
        rosters = [place.roster for device in devices for place in device.places.values()]
        assert self.problems + [finding for roster in rosters for finding in roster.findings] == []

    async def requests(self, *edges: int) -> Requests:
        """What sends requests to these edges in turn, given as numbers; to all of them without any."""
        if edges not in self._requests:
            ports = [self._edges[number] for number in edges] or self._edges
            self._requests[edges] = await Requests.open(ports, random.Random(0))
        return self._requests[edges]

    async def device(self, user: str, name: int = 0, *edges: int) -> Device:
        """A device of a user, which the registrar knows, and of which an edge has the copy of a REGISTER."""
        gruu = f"{actions.aor(user)};gr=urn:uuid:{name}"
        made = Device(
            user,
            gruu,
            await self.requests(*edges),
            random.Random(0),
            self.problems,
            self._subscribe,
            self._hang_up,
        )
        self.proxy.registrar.phones.setdefault(user, []).append(made)
        self.proxy.registrar.redirects.add(user)
        assert await actions.register(made, 3600) == 200
        return made

    async def telephone(self, user: str) -> str:
        """A user who takes part by text; gives its name."""
        self.proxy.registrar.text_users.add(user)
        return user

    def _subscribe(self, phone: Phone, place: Place) -> None:
        self.spawn(self._subscribe_soon(phone, place))

    def _hang_up(self, phone: Phone, session: Session, room: str) -> None:
        self.spawn(actions.hang_up(phone, session, room))

    async def _subscribe_soon(self, phone: Phone, place: Place) -> None:
        await actions.subscribe(phone, place)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something beside; `close` waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def say(self, user: str, room: str, text: str, *edges: int) -> None:
        """A text of a user without a device: a command, or a message. It must be accepted."""
        status = await self.message(user, room, "text/plain", text.encode(), *edges)
        assert status in CALM, f"{text!r} of {user} got {status}"

    async def message(
        self, user: str, room: str, content_type: str, body: bytes, *edges: int, encoding: str = ""
    ) -> int:
        """A MESSAGE of a user, or of a device by its GRUU; gives the status."""
        sender = await self.requests(*edges)
        uri = user if user.startswith("sip:") else actions.aor(user)
        headers = [
            ("From", f"<{uri}>;tag={sender.new_id('f')}"),
            ("To", f"<sip:{room}>"),
            ("Call-ID", sender.new_id("c")),
            ("CSeq", "1 MESSAGE"),
            ("Content-Type", content_type),
            *([("Content-Encoding", encoding)] if encoding else []),
        ]
        answer = await sender.send("MESSAGE", f"sip:{room}", headers, body)
        return answer.status if answer else 0


async def until(true: Callable[[], bool], shows: Callable[[], object]) -> None:
    """Wait until this is true. It may take long, as long as what it ``shows`` goes on to change."""
    before, deadline = None, 0.0
    while not true():
        now = time.monotonic()
        if (current := shows()) != before:
            before, deadline = current, now + PATIENCE
        assert now < deadline, current
        await asyncio.sleep(0.05)


async def shown(room: str, users: set[str], *devices: Device) -> None:
    """Wait until each device shows exactly these users in a room."""

    def others() -> list[Device]:
        return [device for device in devices if device.users_in(room).keys() != users]

    def shows() -> object:
        others_show = [sorted(device.users_in(room)) for device in others()[:1]]
        return f"{len(others())} of {len(devices)} do not show {sorted(users)}; the first: {others_show}"

    await until(lambda: not others(), lambda: (shows(), sum(len(device.got) for device in devices)))
