"""A registrar restarts: 10,000 devices with group chats register at once, 200 of them for the first time.

A real edge, worker and Redis, in their own processes. The devices respond on a UDP socket. The machine may be
slow: nothing here has to happen in a given time.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from imc_common import keys
from imc_common.devices import user_of
from imc_common.keys import Keys
from imc_edge.receiving.device_offers import DELAY_SECONDS, PAUSE_SECONDS
from tests.chaos.conference.wire import Message, message, response
from tests.integration.service import Service, service
from tests.integration.sip_user import SipUser, notice

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(1200)]

DEVICES, NEW, ROOMS = 10_000, 200, 10
IN_FLIGHT = 1000
"""REGISTERs that wait for their response."""
INTERVALS = (0.5, 1.0, 2.0, *(4.0,) * 7)
"""Timer E (RFC 3261 §17.1.2.2), up to Timer F."""
REGISTER_AGAIN = 150.0
"""A device that got no INVITE registers again in this time, as real ones do at the latest in an hour."""
LAST = 400.0
"""Seconds until the test ends, whatever has happened."""
OTHERS = "sip:chat-others@example.org"
SPECS = '+org.linphone.specs="groupchat/1.1"'


class Devices(asyncio.DatagramProtocol):
    """Devices behind one UDP socket, each with a user of its own or sharing one with another device."""

    def __init__(self, edge: tuple[str, int]) -> None:
        self.edge = edge
        self.invited: defaultdict[str, set[str]] = defaultdict(set)
        """The Call-IDs of the INVITEs that each device got."""
        self.entered: set[str] = set()
        """Those that have got the ACK."""
        self.problems: list[str] = []
        self.waiting: dict[str, asyncio.Future[Message]] = {}
        self._unacknowledged: dict[str, tuple[bytes, tuple[str, int]]] = {}
        """The 2xx of each device that waits for its ACK, and where it goes."""
        self._transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    @property
    def port(self) -> int:
        port: int = self._transport.get_extra_info("sockname")[1]
        return port

    def device(self, user: str, instance: str) -> str:
        """The address of a device, as a room has it."""
        return f"{user}@127.0.0.1:{self.port};gr=urn:uuid:{instance}"

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        got = Message.parse(data)
        if got.status:
            future = self.waiting.get(got.branch)
            if got.status >= 200 and future is not None and not future.done():
                future.set_result(got)
            return
        device = got.uri.removeprefix("sip:")
        match got.method:
            case "INVITE":
                if device in self.entered and got.get("call-id") not in self.invited[device]:
                    self.problems.append(f"{device} was invited to a room in which it is")
                self.invited[device].add(got.get("call-id"))
                contact = [("Contact", f"<{got.uri}>;text")]
                self._unacknowledged[device] = response(got, 200, "t", contact), addr
                self._transport.sendto(*self._unacknowledged[device])
            case "ACK":
                self.entered.add(device)
                self._unacknowledged.pop(device, None)
            case _:
                self.problems.append(f"{device} got {got.method}")
                self._transport.sendto(response(got, 200, "t"), addr)

    def answer_again(self) -> None:
        """Repeat each 2xx that has no ACK (RFC 3261 §13.3.1.4): a socket may have been too full for one."""
        for answer in self._unacknowledged.values():
            self._transport.sendto(*answer)

    async def register(self, device: str) -> None:
        """The proxy's copy of a REGISTER, and another one if the edge did not respond.

        After a 503 none follows, as from most proxies. The edge notes the device later.
        """
        answer = await self._register(device)
        while answer is None:
            answer = await self._register(device)
        assert answer.status in {200, 503}, answer

    async def _register(self, device: str) -> Message | None:
        user, _, instance = device.partition(";gr=")
        token = secrets.token_hex(8)
        branch = f"z9hG4bK{token}"
        headers = [
            ("Via", f"SIP/2.0/UDP 127.0.0.1:{self.port};branch={branch};rport"),
            ("Max-Forwards", "70"),
            ("From", f"<sip:{user}>;tag={token}"),
            ("To", f"<sip:{user}>"),
            ("Call-ID", token),
            ("CSeq", "1 REGISTER"),
            ("Contact", f'<sip:{user}>;+sip.instance="<{instance}>";{SPECS}'),
            ("Expires", "3600"),
        ]
        data = message("REGISTER sip:127.0.0.1 SIP/2.0", headers)
        future = self.waiting[branch] = asyncio.get_running_loop().create_future()
        try:
            for interval in INTERVALS:
                self._transport.sendto(data, self.edge)
                with suppress(TimeoutError):
                    async with asyncio.timeout(interval):
                        return await asyncio.shield(future)
            return None
        finally:
            del self.waiting[branch]


@pytest.fixture
def imc(tmp_path: Path) -> Iterator[Service]:
    with service(tmp_path, "redis", {"history_max_messages": "500"}) as running:
        yield running


@pytest.fixture
async def devices(imc: Service) -> AsyncIterator[Devices]:
    loop = asyncio.get_running_loop()
    transport, opened = await loop.create_datagram_endpoint(
        partial(Devices, imc.edge), local_addr=("127.0.0.1", 0)
    )
    yield opened
    transport.close()


class Room:
    """A public room, as Redis has it."""

    def __init__(self, imc: Service, name: str) -> None:
        self.name = name
        self.redis: Any = imc.redis
        shard, names = keys.shard_of(name, 4), Keys()
        self.about, self.members = names.room(shard, name), names.members(shard, name)
        self.devices = keys.devices(shard, name)
        self.redis.zadd(names.rooms(shard), {name: 0})
        self.redis.hset(self.about, "private", "0")

    def add(self, user: str) -> None:
        """Make the user a member."""
        self.redis.hset(self.members, user, "member")

    def has(self, device: str) -> bool:
        return bool(self.redis.hexists(self.devices, device))

    def copy(self, known: str, source: Room, copies: list[str]) -> None:
        """Let devices be in this room exactly as one is in another that has entered it."""
        user = user_of(known)
        pipeline = self.redis.pipeline(transaction=False)
        for kind in ("about", "members", "devices"):
            fields = self.redis.hgetall(getattr(source, kind)).items()
            mine = [(name.decode(), value.decode()) for name, value in fields if user.encode() in name]
            for copy in copies:
                new = {
                    _renamed(name, known, copy): _renamed(value, known, copy).replace(source.name, self.name)
                    for name, value in mine
                }
                if new:
                    pipeline.hset(getattr(self, kind), mapping=new)
        name = keys.client_devices(keys.user_shard(user), user)
        noted = {name.decode(): value.decode() for name, value in self.redis.hgetall(name).items()}
        for copy in copies:
            mapping = {_renamed(name, known, copy): value for name, value in noted.items()}
            pipeline.hset(keys.client_devices(keys.user_shard(user_of(copy)), user_of(copy)), mapping=mapping)
        pipeline.execute()


def _renamed(text: str, known: str, copy: str) -> str:
    return text.replace(known, copy).replace(user_of(known), user_of(copy))


async def until(true: Callable[[], bool], what: str, end: float) -> None:
    """Wait until it is true; the test fails at this monotonic time."""
    while not true():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.1)


def is_marked(imc: Service, device: str) -> bool:
    """Whether Redis knows that the device was offered all rooms of its user."""
    name = keys.client_devices(keys.user_shard(user_of(device)), user_of(device))
    return imc.redis.hget(name, device) not in {None, b"-1"}


async def filled(imc: Service, devices: Devices, end: float) -> tuple[list[str], list[str]]:
    """Rooms with known devices, and new devices, which have no room yet.

    One device enters for real, the others as copies of it. Half of the new ones are second devices of their
    users, the others the first ones of members without a device.
    """
    rooms = [Room(imc, f"chat-{number}@example.org") for number in range(ROOMS)]
    first = devices.device("u0", "0")
    rooms[0].add(user_of(first))
    await devices.register(first)
    await until(lambda: rooms[0].has(first), "the first device has not entered", end)
    await until(lambda: is_marked(imc, first), "the first device is not marked", end)
    copies = [devices.device(f"u{number}", f"{number}") for number in range(1, DEVICES - NEW)]
    for number, room in enumerate(rooms):
        room.copy(first, rooms[0], copies[number::ROOMS])
    second = [devices.device(f"u{number}", f"{number}-2") for number in range(1, NEW // 2 + 1)]
    only = [devices.device(f"n{number}", "1") for number in range(NEW - len(second))]
    for number, device in enumerate(only):
        rooms[number % ROOMS].add(user_of(device))
    return [first, *copies], [*second, *only]


async def all_register(devices: Devices, everyone: list[str]) -> None:
    """In any order, as many at a time as the proxy sends."""
    random.Random(1).shuffle(everyone)
    places = asyncio.Semaphore(IN_FLIGHT)

    async def come(device: str) -> None:
        async with places:
            await devices.register(device)

    async with asyncio.TaskGroup() as group:
        for device in everyone:
            group.create_task(come(device))


async def all_invited(devices: Devices, new: list[str], end: float) -> None:
    """Wait until each has its INVITE; who has none for long registers again."""
    again = time.monotonic() + REGISTER_AGAIN
    while left := set(new) - set(devices.invited):
        assert time.monotonic() < end, f"never invited: {sorted(left)}"
        if time.monotonic() > again:
            await all_register(devices, sorted(left))
            again = time.monotonic() + REGISTER_AGAIN
        await asyncio.sleep(0.1)


async def test_a_registrar_that_restarts_invites_new_devices_only(imc: Service, devices: Devices) -> None:
    """And messages of others are delivered meanwhile.

    New devices are searched for with a pause between two of them. A slow machine makes it only longer.
    """
    end = time.monotonic() + LAST
    known, new = await filled(imc, devices, end)
    before = {device: set(calls) for device, calls in devices.invited.items()}
    alice, bob = [await SipUser.open(name, imc.edge) for name in ("alice", "bob")]
    for user in (alice, bob):
        await user.say(OTHERS, "#join")
        await user.assert_gets(notice("You"))

    started = time.monotonic()
    storm = asyncio.create_task(all_register(devices, [*known, *new]))
    invited = asyncio.create_task(all_invited(devices, new, end))
    said = 0
    while not (storm.done() and invited.done()):
        said += 1
        await alice.say(OTHERS, f"message {said}")
        await asyncio.sleep(0.1)
    heard_meanwhile = len(bob.texts())
    await storm
    await invited

    assert time.monotonic() - started > DELAY_SECONDS + (NEW - 1) * PAUSE_SECONDS
    assert heard_meanwhile > 2
    await bob.until(lambda texts: texts[-1].endswith(f": message {said}"))
    heard = [text.partition(": ")[2] for text in bob.texts() if text.startswith("<")]
    assert heard == [f"message {number}" for number in range(1, said + 1)]
    while not set(new) <= devices.entered:
        assert time.monotonic() < end, "a device got no ACK"
        devices.answer_again()
        await asyncio.sleep(0.5)
    imc.wait_until_settled()
    assert {device: calls for device, calls in devices.invited.items() if device not in new} == before
    assert devices.problems == []
    alice.close()
    bob.close()
