"""A store, a flow and an edge without sockets or Redis, for tests of the server side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from imc_common.metrics import Metrics
from imc_common.rooms.request import RequestData, RoomRequest
from imc_common.settings import Settings
from imc_common.sip import Response, parse_message
from imc_common.store import Command
from imc_common.tracer import Tracer
from imc_edge.flow import SocketAddress
from imc_edge.health import Health
from imc_edge.identity.nonces import NonceKeys
from imc_edge.receiving.acceptor import Acceptor
from tests.checked_scripts import CheckedScripts

SECRET = b"a secret of all edges"
"""What edges with a `FakeStore` share."""


class FakeStore:
    """Replies to commands as a test says, and keeps them."""

    def __init__(self) -> None:
        self.secret = SECRET
        self.scripts = CheckedScripts()
        self.batches: list[list[Command]] = []
        self.reply: Callable[[Command], Any] = self.remember
        self.gate = asyncio.Event()
        self.gate.set()
        self.roles: dict[str, bytes] = {}
        """Replies to `look_up_member`, by room; b"owner" for others."""
        self.forbidden: set[str] = set()
        """The users to whom `check_referral` allows nothing."""
        self._strings: dict[Any, Any] = {}
        self.conference: bytes | None = None
        """What each room keeps of the request that made it."""
        self._sequences: dict[str | bytes | int, int] = {}
        self._seen: set[Any] = set()
        self._check_referral = self.script("check_referral", (), ())[1]
        scripts = ("accept_many", "send_limit_notice", "find_duplicate", "look_up_member", "check_sequence")
        digests = [self.script(name, (), ())[1] for name in scripts]
        self.accept_many, self._send_notice, self._find_duplicate, self._look_up_member = digests[:4]
        self._check_sequence = digests[4]

    def script(self, name: str, keys: Sequence[str], args: Sequence[str | bytes | int]) -> Command:
        return self.scripts.command(name, keys, args)

    async def run(self, commands: Sequence[Command], *, durable: bool = False) -> list[Any]:
        assert durable or commands[0][0] == "XLEN"
        self.batches.append(list(commands))
        await self.gate.wait()
        return [self.reply(command) for command in commands]

    def remember(self, command: Command) -> Any:
        """The reply of a Redis in which all is well."""
        if command[0] == "XLEN":
            return 0
        if command[0] == "HGET":
            return self.conference
        if command[0] == "SET":
            self._strings[command[1]] = command[2]
            return b"OK"
        if command[0] == "GET":
            return self._strings.get(command[1])
        if command[1] == self._find_duplicate:
            return b"duplicate" if (command[3], command[5]) in self._seen else b"unknown"
        if command[1] == self._check_sequence:
            known = self._sequences.setdefault(command[3], 0)
            self._sequences[command[3]] = max(known, int(command[4]))
            return b"lower" if int(command[4]) < known else b"next"
        if command[1] == self._check_referral:
            return b"forbidden" if command[7] in self.forbidden else b"allowed"
        if command[1] == self._look_up_member:
            room = str(command[3]).partition("}:")[2]
            return self.roles.get(room, b"owner")
        if command[1] == self._send_notice:
            is_sent = command[3] in self._seen
            self._seen.add(command[3])
            return 30_000 if is_sent else command[5]
        if command[1] != self.accept_many:
            return b"accepted"
        return [self._accept((memory, digest)) for memory, digest, _ in accepts_of(command)]

    def _accept(self, request: tuple[Any, Any]) -> bytes:
        if request in self._seen:
            return b"duplicate"
        self._seen.add(request)
        return b"accepted"

    @property
    def accepts(self) -> list[Command]:
        """The scripts that accept requests."""
        return [command for batch in self.batches for command in batch if command[1] == self.accept_many]

    @property
    def entries(self) -> list[RoomRequest]:
        """The requests that were to go into streams, also duplicates and notices."""
        fields: list[Sequence[Any]] = []
        for command in [command for batch in self.batches for command in batch]:
            if command[1] == self.accept_many:
                fields += [each for _, _, each in accepts_of(command)]
            elif command[1] == self._send_notice:
                fields.append(command[7:])
        return [entry_of(each) for each in fields]


def accepts_of(command: Command) -> list[tuple[Any, Any, Sequence[Any]]]:
    """Key of the memory, digest and fields of each request that a script accepts."""
    first = 3 + int(command[2])
    recent, parts = list(command[3:first:4]), list(command[first + 2 :])
    found: list[tuple[Any, Any, Sequence[Any]]] = []
    del parts[0]  # members_prefix
    while parts:
        digest, size = parts[0], parts[1]
        if digest == "":  # the next shard, and its members_prefix
            del parts[:2], recent[0]
            continue
        if size == 0:
            sender, room, data = parts[2:5]
            found.append((recent[0], digest, ["type", "message", "from", sender, "room", room, "data", data]))
        else:
            found.append((recent[0], digest, parts[2 : 2 + int(size)]))
        del parts[: 2 + (int(size) or 3)]
    return found


def entry_of(fields: Sequence[Any]) -> RoomRequest:
    """The room request with these fields of a command."""
    return RoomRequest.from_fields(
        [field if isinstance(field, bytes) else str(field).encode() for field in fields]
    )


def data_of(request: RoomRequest) -> RequestData:
    return RequestData.unpack(request.data)


class FakeFlow:
    """Keeps what is sent back."""

    def __init__(self, transport: str = "udp", peer: SocketAddress = ("192.0.2.1", 5062)) -> None:
        self.transport = transport
        self.peer = peer
        self.sent: list[tuple[bytes, SocketAddress | None]] = []

    def send(self, data: bytes, to: SocketAddress | None = None) -> None:
        self.sent.append((data, to))

    @property
    def responses(self) -> list[Response]:
        """What was sent, parsed."""
        parsed = [parse_message(data, stream=True) for data, _ in self.sent]
        assert all(isinstance(message, Response) for message in parsed)
        return parsed  # type: ignore[return-value]


class ResponseInbox:
    """The client side: keeps the responses it gets."""

    def __init__(self) -> None:
        self.got: list[bytes] = []

    def response(self, data: bytes) -> None:
        self.got.append(data)


class Edge:
    """An acceptor on doubles."""

    def __init__(self, store: Any = None, **settings: Any) -> None:
        self.settings = Settings(**({"trusted_peers": "192.0.2.0/24", "history_max_messages": 0} | settings))
        self.store = store or FakeStore()
        self.health = Health(self.store, 1 << self.settings.hash_size, self.settings.max_backlog)  # type: ignore[arg-type]
        self.health._of_redis = ""
        self.client_side = ResponseInbox()
        self.now = 1_700_000_000.0
        self.monotonic = 1000.0
        self.metrics = Metrics()
        self.tracer = Tracer(self.store, "edge", verbose=False, wall=lambda: self.now)  # type: ignore[arg-type]
        self.acceptor = Acceptor(
            self.settings,
            self.store,  # type: ignore[arg-type]
            self.health,
            self.client_side,
            self.metrics,
            tracer=self.tracer,
            nonce_keys=NonceKeys(self.store, self.settings.digest_key_file, lambda: self.now),
            clock=lambda: self.monotonic,
            wall_clock=lambda: self.now,
        )

    async def ask(self, data: bytes, transport: str = "udp", peer: str = "192.0.2.1") -> list[Response]:
        """The responses to one message."""
        flow = FakeFlow(transport, (peer, 5062))
        self.acceptor.receive(data, flow)
        await self.settle()
        return flow.responses

    async def ask_one(self, data: bytes, transport: str = "udp", peer: str = "192.0.2.1") -> Response:
        """The one response to a message."""
        (response,) = await self.ask(data, transport, peer)
        return response

    async def settle(self) -> None:
        """Let the group commits run."""
        for _ in range(5):
            await asyncio.sleep(0)


@asynccontextmanager
async def edge(store: Any = None, **settings: Any) -> AsyncIterator[Edge]:
    """An edge whose parts run as far as requests need them; ``store`` replaces the double."""
    made = Edge(store, **settings)
    parts = (made.acceptor.commit, made.acceptor.authenticator.lookups, made.acceptor.unhurried)
    running = asyncio.gather(*(part.run() for part in parts))
    await asyncio.sleep(0)
    try:
        yield made
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


BASE = {
    "Via": "SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bK776;rport",
    "From": '"Alice" <sip:alice@example.org>;tag=1928',
    "To": "<sip:chat-000@example.org>",
    "Call-ID": "a84b4c76e66710",
    "CSeq": "1 MESSAGE",
    "Max-Forwards": "70",
    "Content-Type": "text/plain",
}


def message(
    body: bytes = b"hello",
    *,
    method: str = "MESSAGE",
    uri: str = "sip:chat-000@example.org",
    without: Sequence[str] = (),
    lines: Sequence[str] = (),
    length: bool = True,
    **headers: str,
) -> bytes:
    """A request; keyword ``Call_ID="x"`` replaces a header, ``lines`` are added as they are."""
    changed = {name.replace("_", "-"): value for name, value in headers.items()}
    if method != "MESSAGE" and "CSeq" not in changed:
        changed["CSeq"] = f"1 {method}"
    values = {name: value for name, value in {**BASE, **changed}.items() if name not in without}
    if not body:
        values.pop("Content-Type", None)
    if length and "Content-Length" not in values:
        values["Content-Length"] = str(len(body))
    head = [f"{method} {uri} SIP/2.0", *(f"{name}: {value}" for name, value in values.items()), *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body
