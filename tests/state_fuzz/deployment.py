"""What the state fuzzer drives: the parts of edge and worker that change rooms, on a real server.

Requests are bytes of SIP. They are read, accepted and handled by the code of edges and workers; only sockets
and timers are left out. Pauses are zero: the fuzzer says when a process goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from imc_common import keys
from imc_common.address import canonical, without_case
from imc_common.keys import Keys, shard_of
from imc_common.metrics import Metrics
from imc_common.rooms.commands import CommandParser
from imc_common.rooms.delivery_reports import consequence
from imc_common.rooms.event import Event
from imc_common.rooms.request import RequestData, RoomRequest
from imc_common.scripts import Scripts
from imc_common.settings import Settings
from imc_common.shards.consumer import Consumer
from imc_common.shards.ownership import Ownership
from imc_common.sip import Request, parse_message
from imc_common.store import ReplyError, Store, StoreUnreachable
from imc_common.tracer import Tracer
from imc_edge.delivering.settlement import SETTLED_TTL_MS
from imc_edge.identifiers import DeliveryIds, Fingerprints
from imc_edge.identity.sender import sender_of
from imc_edge.receiving.accept_pipeline import Accept, AcceptPipeline
from imc_edge.receiving.room_request import room_request_of
from imc_worker.all_shards import AllShards
from imc_worker.automatic_answers import AutomaticAnswers
from imc_worker.committer import Committer
from imc_worker.dispatcher import Dispatcher
from imc_worker.retrial import Retrial
from tests.state_fuzz.faults import FaultyBackend

MAX_ROUNDS = 60
"""Rounds of reading and handling in which every entry must be handled, whatever fault there is."""

_MESSAGE = (
    "MESSAGE sip:{to} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK{number}\r\nMax-Forwards: 70\r\n"
    "From: <sip:{sender}>;tag={number}\r\nTo: <sip:{to}>\r\nCall-ID: {number}\r\nCSeq: 1 MESSAGE\r\n"
    "Content-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{body}"
)


@contextmanager
def no_pauses() -> Iterator[None]:
    """A process goes on at once where it would wait for Redis."""
    with (
        patch("imc_worker.committer.PAUSE_SECONDS", (0.0, 0.0)),
        patch("imc_worker.retrial.FIRST_PAUSE", 0.0),
        patch("imc_common.shards.consumer.UNREACHABLE_SECONDS", 0.0),
        patch("imc_common.shards.consumer.GROUP_SECONDS", 0.0),
    ):
        yield


class Worker:
    """One worker that reads and handles when it is told to. Its clock stands still: its leases never end."""

    def __init__(self, name: str, store: Store, settings: Settings) -> None:
        shards = 1 << settings.hash_size
        names = Keys(settings.rooms_table, settings.members_table)
        self.ownership = Ownership(store, "worker", name, shards, 3600.0, lambda: 1000.0)
        self._consumer = Consumer(store, self.ownership, keys.requests, 5, block_ms=1)
        self.committer = Committer(
            store,
            Dispatcher(store.scripts, AllShards(store, names, shards), settings),
            self._consumer,
            Retrial(store, settings.max_attempts, lambda: 1.7e9),
            self.ownership.owned,
            AutomaticAnswers(settings),
            Metrics(),
            Tracer(store, "worker", verbose=False, wall=lambda: 1.7e9),
        )

    async def read(self) -> None:
        """Read once; nothing is handled yet."""
        try:
            await self.ownership.step()
        except StoreUnreachable:
            return
        for batch in await self._consumer.read():
            self.committer.put(batch)

    async def handle(self) -> None:
        """Handle what was read, as `Committer.run` does; what fails is read again later."""
        committer = self.committer
        while committer._new or committer._retried:
            if committer._retried:
                await committer._retry()
            if committer._new:
                await committer._commit()


class Deployment:
    """An edge, and workers of which one owns all shards, under one set of settings; empty at the start."""

    def __init__(self, url: str, control: Any, scripts: Scripts, settings: Settings) -> None:
        control.flushall()
        for source in scripts.sources.values():  # the same start each time, so that a failure can be repeated
            control.script_load(source)
        self.control = control
        self.settings = settings
        self.names = Keys(settings.rooms_table, settings.members_table)
        self.shards = range(1 << settings.hash_size)
        self.backend = FaultyBackend(url, scripts, control)
        self.store = Store(self.backend, scripts, settings)
        self._pipeline = AcceptPipeline(self.store, settings)
        self._parser = CommandParser(settings)
        self._fingerprints = Fingerprints(b"secret")
        self._delivery_ids = DeliveryIds(b"secret")
        self.number = 0
        """The number of the last request, which is in its Call-ID."""
        self._workers = 0
        self._seen: dict[int, str] = {}
        self.worker = self._next_worker()

    async def start(self) -> None:
        """A new worker takes all shards: the leases of all others have ended."""
        self.backend.heal()
        self.control.delete(keys.WORKERS, *(keys.lease(shard, "worker") for shard in self.shards))
        self.worker = self._next_worker()
        await self.worker.ownership.step()

    def _next_worker(self) -> Worker:
        self._workers += 1
        return Worker(f"w{self._workers}", self.store, self.settings)

    def shard_of(self, room: str) -> int:
        """The shard of a room."""
        return shard_of(room, self.settings.hash_size)

    async def send(self, sender: str, to: str, body: str) -> RoomRequest:
        """Send a MESSAGE, again and again until an edge accepts it; gives what the edge read in it."""
        self.number += 1
        length = len(body.encode())
        data = _MESSAGE.format(sender=sender, to=to, body=body, number=f"n{self.number}", length=length)
        message = parse_message(data.encode())
        assert isinstance(message, Request)
        read = self._read(message)
        await self._accept(
            Accept(self.shard_of(read.room), self._fingerprints.of(message).digest, read.to_fields())
        )
        return read

    async def operate(self, kind: str, room: str, user: str, role: str) -> None:
        """A request of an operator, as MI writes it."""
        self.backend.heal()
        self.number += 1
        data = RequestData(call_id=f"mi-{self.number}").pack()
        request = RoomRequest(kind, OPERATOR, room, user=user, role=role, data=data)
        fields = [*request.to_fields(), "operator", "1"]
        self.control.xadd(
            keys.requests(self.shard_of(room)), dict(zip(fields[::2], fields[1::2], strict=True))
        )

    async def report(self, event: Event, recipient: str, outcome: str) -> None:
        """The edge reports that the delivery to one recipient failed, and that the others were delivered."""
        shard, of = event.shard, event.entry_id
        places = [keys.events(shard), keys.requests(shard), keys.settled(shard, of), keys.undelivered(shard)]
        report = int(consequence(event.name, outcome) is not None)
        args: list[str | bytes | int] = [
            of,
            1,
            SETTLED_TTL_MS,
            100,
            event.call_id,
            recipient,
            outcome,
            report,
        ]
        await self._insist(lambda: self.store.run([self.store.script("settle", places, args)]))

    async def work(self) -> None:
        """The worker reads and handles until every entry is handled."""
        for _ in range(MAX_ROUNDS):
            if not self.pending():
                self.backend.heal()
                return
            await self.worker.read()
            await self.worker.handle()
        raise AssertionError(f"entries are not handled in {MAX_ROUNDS} rounds")

    def pending(self) -> int:
        """Entries that are not handled."""
        pipeline = self.control.pipeline(transaction=False)
        for shard in self.shards:
            pipeline.xlen(keys.requests(shard))
        return sum(pipeline.execute())

    def new_events(self, shard: int) -> list[Event]:
        """The events that this shard's out-stream got since the last call, in order."""
        after = self._seen.get(shard)
        entries = self.control.xrange(keys.events(shard), f"({after}" if after else "-")
        if entries:
            self._seen[shard] = entries[-1][0].decode()
        return [Event.from_fields(entry_id, shard, fields) for entry_id, fields in entries]

    def _read(self, message: Request) -> RoomRequest:
        """As `imc_edge.receiving.admission` reads it."""
        room = message.target
        assert room.user is not None
        to, sender = canonical(room.user, room.host, room.port), sender_of(message)
        if not self.settings.case_sensitive_users:
            to, sender = without_case(to), replace(sender, address=without_case(sender.address))
        return room_request_of(
            message,
            sender,
            to,
            body=message.body,
            content=None,
            delivery_ids=self._delivery_ids,
            parser=self._parser,
            at=1,
        )

    async def _accept(self, accept: Accept) -> None:
        await self._insist(lambda: self._pipeline.run([accept]))

    async def _insist(self, attempt: Any) -> None:
        """Until Redis accepts it: a client retransmits, and an edge records an outcome again."""
        for _ in range(MAX_ROUNDS):
            try:
                (reply,) = await attempt()
            except StoreUnreachable:
                continue
            if not isinstance(reply, ReplyError):
                return
        raise AssertionError(f"not accepted after {MAX_ROUNDS} attempts")


OPERATOR = "chat-manager@example.org"
