"""What goes wrong in a run: processes, their connections to Redis, and members who go away."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.simulation.phones import Away
from tests.simulation.processes import LEASE_SECONDS, Process
from tests.simulation.redis import Connection

if TYPE_CHECKING:  # which starts these
    from tests.simulation.deployment import Deployment
    from tests.simulation.run import Run

STATUSES = (404, 408, 480, 503)
"""What a proxy responds for a user who is not there. Not 500: after three of these the message counts
as refused."""
MAX_EDGES = 4


class Faults:
    """One after the other, until the run is over; several may last at the same time."""

    def __init__(self, run: Deployment) -> None:
        self._run = run
        self._simulation = run.simulation
        self._random = run.random
        self._longest_pause = run.random.choice((0.8, 3.0))
        self._kinds: dict[str, Callable[[], None]] = {
            "kill edge": self._kill_edge,
            "end edge": self._end_edge,
            "join edge": self._join_edge,
            "freeze edge": lambda: self._freeze(self._random.choice(run.edges)),
            "kill worker": self._kill_worker,
            "freeze worker": lambda: self._freeze(self._random.choice(run.workers)),
            "isolate": self._isolate,
            "lose replies": self._lose_replies,
            "cut connections": self._cut_connections,
        }
        if run.has_replica:
            self._kinds |= {"fail over": self._fail_over, "freeze replica": self._freeze_replica}
        if run.has_clocks:
            self._kinds["edge's clock"] = self._set_clock

    def start(self) -> None:
        self._simulation.after(self._random.uniform(0.5, 2), self._next)

    def _next(self) -> None:
        if self._run.is_over:
            return
        run = self._run
        run.edges = [edge for edge in run.edges if edge.alive]
        if run.edges:  # else they are about to be started again
            kind = self._random.choice(list(self._kinds))
            run.note(kind)
            self._kinds[kind]()
        self._simulation.after(self._random.uniform(0.2, self._longest_pause), self._next)

    # --- processes

    def _kill_edge(self) -> None:
        run = self._run
        self._random.choice(run.edges).kill()
        self._simulation.after(self._random.uniform(0, 1.5), run.add_edge)

    def _end_edge(self) -> None:
        edge = self._random.choice(self._run.edges)
        if len(self._run.edges) > 1 and not edge.loop.suspended and not edge.is_draining:
            edge.end()
            self._simulation.after(self._random.uniform(0, 1.5), self._run.add_edge)

    def _join_edge(self) -> None:
        if len(self._run.edges) < MAX_EDGES:
            self._run.add_edge()

    def _kill_worker(self) -> None:
        worker = self._random.choice(self._run.workers)
        worker.kill()
        self._run.workers.remove(worker)
        self._run.add_worker()

    def _freeze(self, process: Process) -> None:
        """Often just as long as a lease, so that it resumes while another process takes over."""
        random, lease = self._random, LEASE_SECONDS
        if not process.loop.suspended:
            longest = ((0.1, 1.0), (lease - 0.2, lease + 0.4), (lease, lease + 2.0))
            process.suspend(random.uniform(*random.choice(longest)))

    # --- connections

    def _connections(self) -> list[Connection]:
        """One of one process, or of each."""
        run, random = self._run, self._random
        everyone = [*run.edges, *run.workers]
        some = [random.choice(everyone)] if random.random() < 0.5 else everyone
        return [random.choice(process.backend.connections) for process in some]

    def _until(self) -> float:
        random = self._random
        return self._simulation.now + random.uniform(*random.choice(((0.05, 1.0), (1.0, 5.0))))

    def _isolate(self) -> None:
        until = self._until()
        for connection in self._connections():
            connection.isolated_until = until

    def _lose_replies(self) -> None:
        until = self._until()
        for connection in self._connections():
            connection.mute_until = until

    def _set_clock(self) -> None:
        """Ahead or back, as NTP would not do it."""
        self._random.choice(self._run.edges).clock_offset = self._random.choice((0.0, 5.0, -5.0, 3600.0))

    # --- the server

    def _fail_over(self) -> None:
        """The server is killed just after a write, or cut off for a while, until its replica is promoted."""
        server, random = self._run.server, self._random
        if server.is_replicated:
            server.isolate()
            seconds = random.uniform(*random.choice(((0.0, 0.05), (0.5, 5.0))))
            self._simulation.after(seconds, server.promote)

    def _freeze_replica(self) -> None:
        server = self._run.server
        if server.is_replicated:
            server.isolate()
            self._simulation.after(self._random.uniform(0.05, 2.0), server.rejoin)

    # --- connections to the server

    def _cut_connections(self) -> None:
        for connection in self._connections():
            connection.cut("closed by the server")


class Absences:
    """Users go away, one after another, and come back."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._simulation = run.simulation
        self._random = run.random

    def start(self) -> None:
        self._simulation.after(self._random.uniform(0.1, 1), self._leave)

    def _leave(self) -> None:
        run, random = self._run, self._random
        present = [user for user in run.users if user not in run.phones.away]
        if run.is_over or not present:
            return
        user = random.choice(present)
        way = random.choice(("refused", "silent", "late", "responses lost", "deregistered", "flicker"))
        away = self._away(way)
        if way == "deregistered":
            run.tell_presence(user, online=False)
        if random.random() < 0.7:  # the others go on talking
            run.quiet.add(user)
        run.phones.away[user] = away
        run.note(f"{user} away: {way} {away}")
        longest = 0.6 if way == "flicker" else 4.0
        self._simulation.after(random.uniform(0.02, longest), lambda: self._come_back(user))
        self._simulation.after(random.uniform(0.1, 1.5), self._leave)

    def _away(self, way: str) -> Away:
        random = self._random
        if way == "silent":
            return Away(0)
        if way == "late":
            return Away(408, random.uniform(0.2, 4))
        if way == "responses lost":
            return Away(random.choice((408, 0)), random.uniform(0.2, 3), receives=True)
        return Away(random.choice(STATUSES))

    def _come_back(self, user: str) -> None:
        run, by = self._run, self._random.choice(("sign", "message", "nothing"))
        del run.phones.away[user]
        run.quiet.discard(user)
        run.note(f"{user} back by {by}")
        if by == "message":
            run.say(user)
        if by != "nothing":
            run.tell_presence(user, online=True)
