"""Runs with phones that show rooms as group chats, as those of chaos runs: their rosters are checked, too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any, Final

from imc_common import keys
from imc_common.keys import Keys
from imc_common.scripts import Scripts
from imc_edge.flow import SocketAddress
from tests.chaos.conference.group_chats import GroupChats, Room
from tests.chaos.conference.requests import Requests
from tests.chaos.history import History, Verdict
from tests.chaos.proxy import Proxy
from tests.simulation.check import Findings
from tests.simulation.deployment import Deployment
from tests.simulation.faults import Faults
from tests.simulation.processes import HASH_SIZE, running_in

SHARDS: Final = range(1 << HASH_SIZE)
PORTS: Final = [1, 2, 3]
"""Of the balancer: each leads to one of the edges that there are."""
PROXY: Final = ("127.0.0.1", 5060)
ROOMS: Final = 2
QUIET_SECONDS: Final = 400
"""Until everything has been handled and handed out."""
LOSSES: Final = (0.0, 0.0, 0.02, 0.1)
"""Part of the datagrams that get lost in a run."""


class _Transport(asyncio.DatagramTransport):
    """Stands for a socket."""

    def __init__(self, send: Callable[[bytes, Any], None]) -> None:
        super().__init__({"sockname": PROXY})
        self._send = send

    def sendto(self, data: Any, addr: Any = None) -> None:
        self._send(data, addr)

    def close(self) -> None:
        """There is nothing to close."""


class _Flow:
    """Leads back to the phones."""

    transport = "udp"
    peer = PROXY

    def __init__(self, respond: Callable[[bytes], None]) -> None:
        self._respond = respond

    def send(self, data: bytes, to: SocketAddress | None = None) -> None:
        self._respond(data)


class _Chats(GroupChats):
    """Rooms of phones that look into the simulated Redis."""

    async def look(self, room: str) -> Room:
        return self._room_in_redis(room)


class GroupChatRun(Deployment):
    """Phones behind a proxy and a balancer, and what goes wrong."""

    has_replica = True
    has_clocks = True
    receives = True

    def __init__(self, seed: int, path: str, scripts: Scripts) -> None:
        """``path``: the socket of a Redis, which is emptied."""
        unlimited = {"max_invitations_per_hour": 0, "max_invitations_per_target": 0}
        super().__init__(seed, path, scripts, durability="replicas", **unlimited)
        self._loss = self.random.choice(LOSSES)
        self._responders: dict[str, Callable[[bytes], None]] = {}
        self._problems: list[str] = []
        self._history = History()
        self._loop = self.simulation.new_loop()
        with running_in(self._loop):
            self._stop = asyncio.Event()
            self._proxy = Proxy(self._history, self._problems)
            self._proxy.connection_made(_Transport(self._to_edge))
            self._proxy.registrar.random = Random(seed)
            requests = Requests(PORTS, Random(seed))
            requests.connection_made(_Transport(self._to_balancer))
            self._requests = requests
            self._chats = _Chats(
                requests,
                self._proxy,
                self._room_in_redis,
                self._problems,
                random=self.random,
                stop=self._stop,
                pause=self.random.choice((0.05, 0.1)),
                longest=self.random.choice((1.0, 5.0, 15.0)),
            )
            for number in range(ROOMS):
                self._chats.add(number)
        self.start(self)

    # --- the network

    def send(self, data: bytes, edge: str, respond: Callable[[bytes], None]) -> None:
        """A request leaves an edge for the proxy."""
        self._responders[edge] = respond
        self._carry(lambda: self._loop.call_soon(self._proxy.datagram_received, data, (edge, 5060)))

    def _to_edge(self, data: bytes, addr: SocketAddress) -> None:
        """A response of the proxy, or of a phone."""
        self._carry(lambda: self._responders[addr[0]](data))

    def _to_balancer(self, data: bytes, addr: SocketAddress) -> None:
        """A request of a phone."""
        edges = [edge for edge in self.edges if edge.alive]
        if not edges:
            return
        edge = edges[addr[1] % len(edges)]

        def respond(answer: bytes) -> None:
            self._carry(lambda: self._loop.call_soon(self._requests.datagram_received, answer, addr))

        self._carry(lambda: edge.receive(data, _Flow(respond)))

    def _carry(self, arrive: Callable[[], Any]) -> None:
        """A datagram is on its way."""
        random = self.random
        if self.is_over or random.random() >= self._loss:
            delay = random.uniform(0.0005, 0.01) if random.random() < 0.9 else random.uniform(0.01, 0.3)
            self.simulation.after(delay, arrive)

    def _room_in_redis(self, room: str) -> Room:
        shard, names = keys.shard_of(room, HASH_SIZE), Keys()
        run = self.server.run
        members = _texts(run(("HGETALL", names.members(shard, room))))
        devices = _texts(run(("HKEYS", keys.devices(shard, room))))
        topic = run(("HGET", names.room(shard, room), "topic")) or b""
        return dict(zip(members[::2], members[1::2], strict=True)), devices, topic.decode()

    # --- the run

    def play(self, seconds: float) -> Findings:
        """Talk and fail for so long, in simulated time. Then wait until all is handed out, and check."""
        simulation = self.simulation
        simulation.run_until(simulation.now + 2)
        for chat in self._chats.chats:
            self._loop.start(chat.run())
        Faults(self).start()
        simulation.run_until(simulation.now + seconds)
        self.is_over = True
        self._stop.set()
        simulation.run_until(simulation.now + 20)
        settled = self._loop.start(self._chats.settle())
        self._wait_until_quiet(settled)
        self._check()
        return self.findings

    def _wait_until_quiet(self, settled: asyncio.Task[None]) -> None:
        until = self.simulation.now + QUIET_SECONDS
        while self.simulation.now < until:
            self.simulation.run_until(self.simulation.now + 2)
            if settled.done() and not self._left():
                self.simulation.run_until(self.simulation.now + 3)
                if not self._left():
                    return
        self._problems.append(f"not handled, or still away: {self._left()}")

    def _left(self) -> list[str]:
        """The streams with entries, edges that are to offer rooms to devices, and users who are away.

        A device that is offered a room enters it, and catches up.
        """
        run = self.server.run
        names = [name(shard) for shard in SHARDS for name in (keys.requests, keys.events)]
        left = [name for name in names if run(("XLEN", name))]
        left += [edge.name for edge in self.edges if edge.is_offering]
        for shard in SHARDS:
            for key in _texts(run(("KEYS", keys.away_rooms(shard, "*")))):
                user = key.rpartition(":")[2]
                for entry in _texts(run(("SMEMBERS", key))):
                    room, _, device = entry.partition(" ")
                    if run(("HEXISTS", Keys().room(shard, room), f"away:{device or user}")):
                        left.append(f"{device or user} in {room}")
        return left

    def _check(self) -> None:
        verdict = Verdict()
        self._chats.check(self._history, verdict)
        wrong = verdict.lost + verdict.doubled + verdict.misdirected + verdict.reordered + verdict.rosters
        self.findings.problems += wrong + self._problems
        for shard in SHARDS:
            if dead := self.server.run(("XLEN", keys.dead(shard))):
                self.findings.problems.append(f"{dead} dead letters in shard {shard}")
        self.findings.deliveries += verdict.deliveries + verdict.versions
        self.findings.duplicates += verdict.duplicates
        notes = [(at, f"{at:.3f} {what}") for at, what in self._history.notes]
        logs = {phone.name: phone.log for chat in self._chats.chats for phone in chat.phones}
        for user, lines in (*self._history.received.items(), *logs.items()):
            notes += [(each.at, f"{each.at:.3f} {user} gets {each.kind.value} {each.what}") for each in lines]
        events = [(float(each.partition(" ")[0]), each) for each in self.findings.events]
        self.findings.events = [each for _, each in sorted(notes + events, key=lambda pair: pair[0])]


def _texts(reply: Any) -> list[str]:
    return [each.decode() for each in reply]
