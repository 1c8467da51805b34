"""All workers are gone for longer than an edge remembers a failure: nothing overtakes what has failed."""

from __future__ import annotations

import pytest

from imc_common.scripts import Scripts
from imc_edge.delivering.absence import KNOWN_SECONDS
from tests.servers import Server
from tests.simulation.check import Findings, check
from tests.simulation.phones import Away
from tests.simulation.run import OBSERVER, Run
from tests.simulation.test_simulation import scripts, server

__all__ = ["scripts", "server"]
pytestmark = [pytest.mark.integration, pytest.mark.slow]


class _Run(Run):
    """One user is away; the others talk. The workers die before its first failure is known."""

    def play_without_workers(self, seconds: float, status: int) -> Findings:
        simulation, room, (user, *_) = self.simulation, self.rooms[0], self.users
        self._ask(OBSERVER, room, "create")
        for each in self.users:
            self._ask(each, room, "join")
        simulation.run_until(simulation.now + 2)
        self.phones.away[user] = Away(status, 3.0)
        self._say(room, 1)
        simulation.run_until(simulation.now + 1)
        for worker in self.workers:
            worker.kill()
        self.workers.clear()
        self._say(room, 3)
        simulation.run_until(simulation.now + seconds)
        del self.phones.away[user]
        self.add_worker()
        self._wait_until_quiet()
        check(self.findings, self.server, self._said, self.phones, [*self.users, OBSERVER])
        return self.findings

    def _say(self, room: str, count: int) -> None:
        for _ in range(count):
            mark = f"m{len(self._said[room])}"
            self._said[room].append(mark)
            self._ask(OBSERVER, room, "message", f"mark={mark} ".encode())


@pytest.mark.parametrize("status", [408, 480])
@pytest.mark.parametrize(("seconds", "runs"), [(10.0, 3), (KNOWN_SECONDS + 10, 3), (5 * KNOWN_SECONDS, 1)])
def test_what_was_accepted_meanwhile_comes_after_what_has_failed(
    seconds: float, runs: int, status: int, server: Server, scripts: Scripts
) -> None:
    """The workers handle requests in order: they come to the messages before the report of the failure."""
    for seed in range(runs):
        run = _Run(seed, server.socket, scripts)
        try:
            findings = run.play_without_workers(seconds, status)
            assert not findings.problems, findings
        finally:
            run.close()
