"""A delivering side without sockets and Redis: what goes out is kept, the test makes the responses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from imc_common.metrics import Metrics
from imc_common.rooms.event import Event
from imc_common.rooms.request import RequestData
from imc_common.scripts import Command
from imc_common.settings import Settings
from imc_common.sip.message import Request
from imc_common.sip.parse import parse_message
from imc_common.store import NotDurable, StoreUnreachable
from imc_common.tracer import Tracer
from imc_edge.delivering.outgoing import Outgoing
from imc_edge.delivering.recipients import Recipients
from imc_edge.delivering.wiring import assemble
from imc_edge.flow import Hop, TransportUser
from imc_edge.identifiers import DeliveryIds
from imc_edge.routing.next_hop import next_hops_of
from imc_edge.routing.own_addresses import OwnAddresses
from imc_edge.routing.resolver import Resolver
from tests.checked_scripts import CheckedScripts
from tests.imc_edge.sockets import until

ROOM = "chat-000@example.org"
SECRET = b"not so secret"


LOOPBACK = ("127.0.0.0/8", "::1/128")
"""Where the users of these tests are; nothing is sent there without this setting."""


def on_loopback(**values: Any) -> Settings:
    """Users on loopback can be reached. Rooms keep no history, unless a test wants it."""
    return Settings(**{"destination_networks": LOOPBACK, "history_max_messages": 0, **values})


class Clock:
    """Monotonic time that the test sets; `wall` is the wall clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.wall_now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.wall_now


@dataclass
class Sent:
    """One request as it went out."""

    hop: Hop
    data: bytes
    user: TransportUser

    @property
    def request(self) -> Request:
        """Parsed."""
        message = parse_message(self.data)
        assert isinstance(message, Request)
        return message

    @property
    def recipient(self) -> str:
        """The address in To."""
        return self.request.to.uri.address()

    def response(self, status: int = 200, *headers: str, reason: str = "Whatever") -> bytes:
        """A response to it."""
        request = self.request
        lines = [
            f"SIP/2.0 {status} {reason}",
            f"Via: {request.headers.get('Via')};received=127.0.0.1",
            f"From: {request.headers.get('From')}",
            f"To: {request.headers.get('To')};tag=there",
            f"Call-ID: {request.headers.get('Call-ID')}",
            f"CSeq: {request.headers.get('CSeq')}",
            *headers,
            "Content-Length: 0",
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Wires:
    """Transports that keep what is sent; hops in `broken` fail with the error given there."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.broken: dict[tuple[str, str, int], Exception] = {}

    def send(self, hop: Hop, data: bytes, user: TransportUser) -> None:
        """Keep it, or fail."""
        self.sent.append(Sent(hop, data, user))
        error = self.broken.get((hop.transport, hop.host, hop.port))
        if error is not None:
            user.transport_error(error)

    def via(self, hop: Hop) -> str:
        """Always the same host."""
        return f"SIP/2.0/{hop.transport.upper()} 192.0.2.1:5060"


class Redis:
    """Keeps the commands it was given; `settled` is what SMEMBERS finds, `gone` are ids XRANGE does not.

    `requests` are the entries of each in-stream, `newest_event` the last id of each out-stream. `members` are
    values of users that are no members being invited, and `about` is what rooms keep of an invitation.
    """

    def __init__(self) -> None:
        self.secret = SECRET
        self.scripts = CheckedScripts()
        self.ran: list[tuple[str, tuple[Any, ...], tuple[Any, ...]]] = []
        self.settled: dict[str, set[bytes]] = {}
        self.gone: set[str] = set()
        self.unreachable = False
        self.has_replica = True
        self.replies: dict[str, list[Any]] = {}
        self.tried: dict[str, int] = {}
        self.away: dict[str, bytes | None] = {}
        self.members: dict[str, bytes | None] = {}
        self.about: dict[str, bytes | None] = {}
        self.requests: list[Any] = []
        self.newest_event: bytes = b""

    def script(self, name: str, keys: Sequence[str], args: Sequence[str | bytes | int]) -> Command:
        """A command that names the script itself."""
        self.scripts.command(name, keys, args)  # which checks them
        return ("SCRIPT", name, len(keys), *keys, *args)

    async def run(self, commands: Sequence[Command], *, durable: bool = False) -> list[Any]:
        """Note each command; give planned replies, or good ones."""
        await asyncio.sleep(0)
        if self.unreachable:
            raise StoreUnreachable("unreachable")
        if durable and not self.has_replica:
            raise NotDurable("written on the primary alone")
        return [self._reply(command) for command in commands]

    def _reply(self, command: Command) -> Any:
        if command[0] in {"SMEMBERS", "HGET"}:
            return self._of_user(*command)
        if command[0] == "XREVRANGE":
            return [[self.newest_event, []]] if self.newest_event else []
        if command[0] == "XRANGE" and str(command[1]).endswith(":in"):
            return self.requests
        if command[0] == "XRANGE":
            return [] if command[2] in self.gone else [[command[2], []]]
        if command[0] == "INCR":
            key = str(command[1])
            self.tried[key] = self.tried.get(key, 0) + 1
            return self.tried[key]
        if command[0] == "GET":
            count = self.tried.get(str(command[1]))
            return None if count is None else str(count).encode()
        if command[0] == "DEL":
            self.tried.pop(str(command[1]), None)
        if command[0] == "HMGET":
            kept = self.about if str(command[2]).startswith("invitation:") else self.away
            return [kept.get(str(name).removeprefix("away:")) for name in command[2:]]
        if command[0] in {"SADD", "HINCRBY"}:
            return self._written(str(command[0]), command)
        if command[0] != "SCRIPT":
            return 1
        name, count = str(command[1]), int(command[2])
        planned = self.replies.get(name)
        if planned:
            return planned.pop(0)
        self.ran.append((name, command[3 : 3 + count], command[3 + count :]))
        return b"done"

    def _written(self, name: str, command: Command) -> Any:
        planned = self.replies.get(name)
        if planned:
            return planned.pop(0)
        self.ran.append((name, (str(command[1]),), tuple(command[2:])))
        return 1

    def _of_user(self, name: Any, key: Any, user: Any = "") -> Any:
        if name == "HGET":
            return self.members.get(str(user), b"member inviting")
        return self.settled.get(str(key), set())

    def of(self, name: str) -> list[tuple[Any, ...]]:
        """The arguments of every run of one script."""
        return [args for script, _, args in self.ran if script == name]


@dataclass
class Batch:
    """Entries of one shard."""

    shard: int
    entries: list[tuple[bytes, list[bytes]]]
    again: bool = False


class Stream:
    """A consumer that is fed by the test."""

    def __init__(self) -> None:
        self.batches: asyncio.Queue[Batch] = asyncio.Queue()
        self.resynced: list[int] = []

    async def read(self) -> list[Batch]:
        """What was put in, after a moment without."""
        if self.batches.empty():
            await asyncio.sleep(0.002)
            return []
        return [self.batches.get_nowait() for _ in range(self.batches.qsize())]

    def resync(self, shard: int, delay: float = 0.0) -> None:
        """Note it."""
        self.resynced.append(shard)


@dataclass
class Streams:
    """What `OwnedStreams` has, with parts that the test feeds."""

    consumer: Stream
    ownership: Owner
    metrics: Metrics
    tracer: Tracer


class Owner:
    """Owns all shards, until the test changes that."""

    def __init__(self) -> None:
        self.shards = frozenset(range(16))

    def owned(self) -> frozenset[int]:
        """The shards."""
        return self.shards


def entry(name: str = "message", to: Sequence[str] = (), **fields: Any) -> list[bytes]:
    """Flat fields of an event."""
    data = fields.pop("data", None) or RequestData("text/plain", b"hello", max_forwards=69)
    call_id, at = fields.pop("call_id", "abc@192.0.2.9"), int(fields.pop("at", 1_700_000_000_000))
    values = {
        "event": name,
        "room": ROOM,
        "to": " ".join(to),
        "from": "alice@example.org",
        "data": replace(data, call_id=call_id, at=at).pack(),
        **fields,
    }
    return [
        part if isinstance(part, bytes) else str(part).encode() for pair in values.items() for part in pair
    ]


@dataclass
class Sending:
    """A running delivering side, and everything that it touches."""

    settings: Settings = field(default_factory=on_loopback)
    resolver: Resolver | None = None
    own: tuple[tuple[str, int], ...] = ()
    wires: Wires = field(default_factory=Wires)
    redis: Redis = field(default_factory=Redis)

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.stream = Stream()
        self.owner = Owner()
        self.metrics = Metrics()
        own = OwnAddresses(self.redis, self.own)
        tracer = Tracer(self.redis, "edge", verbose=False, wall=self.clock.wall)
        self.deliver = assemble(
            self.settings,
            self.redis,
            Streams(self.stream, self.owner, self.metrics, tracer),
            self.wires,
            next_hops_of(self.settings, self.resolver or Resolver(self.clock), own, self.clock),
            self.clock,
            self.clock.wall,
            self.clock.wall,
        )
        self._next_id = 0

    async def __aenter__(self) -> Sending:
        self._task = asyncio.create_task(self.deliver.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        recipients, context = list(self.recipients), self.deliver.context
        counts = {each.address: (each.outgoing is not None) + len(each.queue or ()) for each in recipients}
        assert context.places.pending == sum(counts[each.address] for each in recipients if each.unresponsive)
        assert context.load.responsive == sum(
            counts[each.address] for each in recipients if not each.unresponsive
        )
        assert context.places.in_flight == sum(
            each.unresponsive and each.outgoing is not None and not each.waits_for_place
            for each in recipients
        )
        for each in recipients:
            assert each.unresponsive or not (each.backed_off_until or each.waits_for_place or each.on_trial)
            is_ready = each.outgoing is None and not each.unresponsive and each.absence is None
            assert each.ready_hop is (each.direct_hop if is_ready else None)

    @property
    def recipients(self) -> Recipients:
        """Those that are remembered now."""
        return self.deliver.fan_out.recipients

    def remember(self, limit: int) -> Recipients:
        """Start with new recipients, of which at most so many are remembered for long."""
        made = Recipients(self.deliver.context, DeliveryIds(SECRET), limit)
        self.deliver.fan_out.recipients = made
        return made

    def outgoing(
        self, name: str, entry_id: str, to: tuple[str, ...], shard: int = 3, **about: Any
    ) -> Outgoing:
        """An event in flight that was never read."""
        event = Event(entry_id, shard, name, ROOM, to, **{"actor": ROOM, **about})
        return Outgoing(event, [], len(to), resent=False, deadline=None)

    async def event(
        self, name: str = "message", to: Sequence[str] = (), *, shard: int = 3, **fields: Any
    ) -> str:
        """An event comes out of the stream; its id."""
        self._next_id += 1
        entry_id = f"{self._next_id}-0"
        if name == "invite":
            self.redis.about |= {f"invitation:{user}": entry_id.encode() for user in to}
        await self.feed(entry_id, entry(name, to, **fields), shard=shard)
        return entry_id

    async def feed(self, entry_id: str, fields: list[bytes], *, shard: int = 3, again: bool = False) -> None:
        """An entry comes out of the stream, and what it causes has happened."""
        self.stream.batches.put_nowait(Batch(shard, [(entry_id.encode(), fields)], again))
        await self.settle_down()

    async def settle_down(self) -> None:
        """Let everything happen that needs no time to pass: until nothing has happened for a while."""
        seen, quiet = None, 0
        while quiet < 3:
            await asyncio.sleep(0.006)
            for _ in range(20):  # turns of the event loop, whatever time they take
                await asyncio.sleep(0)
            now = (
                len(self.wires.sent),
                len(self.redis.ran),
                len(self.redis.tried),
                self.stream.batches.qsize(),
            )
            quiet = quiet + 1 if now == seen else 0
            seen = now

    async def until(self, reached: Callable[[], bool]) -> None:
        """Let things happen until this is so; fail if it never is."""
        await until(reached)

    async def pass_time(self, seconds: float, step: float = 0.05) -> None:
        """Let the clock run and the timers fire."""
        for _ in range(round(seconds / step)):
            self.clock.now += step
            self.clock.wall_now += step
            self.turn()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await self.settle_down()

    def turn(self) -> None:
        """Do what the process does every 50 ms."""
        more = self.deliver.turn()
        while more:
            more = self.deliver.context.transactions.advance()

    async def reply(self, sent: Sent, status: int = 200, *headers: str) -> None:
        """The recipient responds."""
        self.deliver.response(sent.response(status, *headers))
        await self.settle_down()
