"""One run: rooms whose members talk, go away and come back, while processes and networks fail."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from imc_common import keys
from imc_common.keys import shard_of
from imc_common.presence import user_is_offline, user_is_online
from imc_common.rooms.request import RequestData, RoomRequest
from imc_common.scripts import Scripts
from imc_common.store import ReplyError, StoreUnreachable
from tests.simulation.check import Findings, check
from tests.simulation.deployment import Deployment
from tests.simulation.faults import Absences, Faults
from tests.simulation.phones import Phones
from tests.simulation.processes import HASH_SIZE

SHARDS: Final = range(1 << HASH_SIZE)
OBSERVER: Final = "observer@example.org"
"""Owns all rooms, and is always there."""
QUIET_SECONDS: Final = 200
"""Until everything has been handled and handed out."""
GROUPS: Final = 2
"""Users who go away independently of one another."""


class Run(Deployment):
    """Users who send text, and what goes wrong. Their requests are put into the in-streams."""

    def __init__(self, seed: int, path: str, scripts: Scripts) -> None:
        """``path``: the socket of a Redis, which is emptied."""
        super().__init__(seed, path, scripts)
        self.rooms = [f"room{number}@example.org" for number in range(3)]
        self.users = [f"u{number}@example.org" for number in range(5)]
        self.quiet: set[str] = set()
        """Users who say nothing at the moment."""
        self._pause = self.random.choice((0.1, 0.3))
        self._said: dict[str, list[str]] = {room: [] for room in self.rooms}
        self.phones = Phones(self.simulation)
        self.start(self.phones)

    # --- what users do

    def say(self, user: str) -> None:
        """A message to any room, with a mark of its own."""
        room = self.random.choice(self.rooms)
        mark = f"{user.partition('@')[0]}.{len(self._said[room])}"
        self._said[room].append(mark)
        self._ask(user, room, "message", f"mark={mark} ".encode())
        if self.random.random() < 0.5:
            self.tell_presence(user, online=True)

    def tell_presence(self, user: str, *, online: bool) -> None:
        """An edge hears from the user, or that it has left. Its commands may get lost."""
        edges = [edge for edge in self.edges if edge.alive and not edge.loop.suspended]
        if not edges:
            return
        store = (edge := self.random.choice(edges)).store

        async def tell() -> None:
            with suppress(StoreUnreachable, ReplyError):
                if online:
                    await user_is_online(store, user, 1 << HASH_SIZE)
                else:
                    await user_is_offline(store, user)

        edge.loop.start(tell())

    def _ask(self, user: str, room: str, kind: str, body: bytes = b"") -> None:
        """Put a request into the in-stream, as an edge does."""
        at = int(self.simulation.wall() * 1000)
        data = RequestData(body=body, call_id=str(next(self.numbers)), at=at)
        request = RoomRequest(type=kind, sender=user, room=room, data=data.pack())
        self.server.run(("XADD", keys.requests(shard_of(room, HASH_SIZE)), "*", *request.to_fields()))

    # --- the run

    def play(self, seconds: float) -> Findings:
        """Talk and fail for so long, in simulated time. Then wait until all is handed out, and check."""
        simulation = self.simulation
        for room in self.rooms:
            self._ask(OBSERVER, room, "create")
            for user in self.users:
                self._ask(user, room, "join")
        simulation.run_until(simulation.now + 2)
        for user in self.users:
            self._talk(user)
        for _ in range(GROUPS):
            Absences(self).start()
        Faults(self).start()
        simulation.run_until(simulation.now + seconds)
        self.is_over = True
        self._wait_until_quiet()
        check(self.findings, self.server, self._said, self.phones, [*self.users, OBSERVER])
        return self.findings

    def _talk(self, user: str) -> None:
        def talk() -> None:
            if self.is_over:
                return
            if user not in self.quiet:
                self.say(user)
            self.simulation.after(self.random.expovariate(1 / self._pause), talk)

        self.simulation.after(self.random.uniform(0, 0.3), talk)

    def _wait_until_quiet(self) -> None:
        for turn in range(QUIET_SECONDS // 2):
            self.simulation.run_until(self.simulation.now + 2)
            if not self.phones.away and not self._left():
                self.simulation.run_until(self.simulation.now + 3)
                return
            if turn % 8 == 4:
                for user in self.users:  # or the last probes would take minutes
                    self.tell_presence(user, online=True)
        self.findings.problems.append(f"not handled, or still away: {self._left()}")

    def _left(self) -> list[str]:
        """The streams with entries, and users who are away."""
        names = [name(shard) for shard in SHARDS for name in (keys.requests, keys.events)]
        left = [name for name in names if self.server.run(("XLEN", name))]
        for shard in SHARDS:
            left += [key.decode() for key in self.server.run(("KEYS", keys.away_rooms(shard, "*")))]
        return left
