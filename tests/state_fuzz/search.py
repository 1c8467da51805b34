"""Runs the state machine on a server of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import hypothesis
import redis
from hypothesis import HealthCheck, Phase
from hypothesis.stateful import run_state_machine_as_test

from imc_common.scripts import Scripts
from tests.servers import redis_alone
from tests.state_fuzz.deployment import no_pauses
from tests.state_fuzz.machine import RoomMachine

STEPS = 40
"""Steps of a conversation, each with several requests."""
CONVERSATIONS = 12
"""Conversations with one seed. Hypothesis varies the first ones again and again, and finds less by that."""


class Search:
    """Looks for conversations after which the rooms are not what the rules say."""

    def __init__(self, url: str, control: redis.Redis) -> None:
        """``control``: a client of the server at ``url``, which is emptied again and again."""
        self._url = url
        self._control = control

    def run(self, scripts: Scripts, *, seed: int, shrinks: bool = True) -> None:
        """Try the conversations of this seed, always the same ones. Raises what the first failure raised.

        `shrinks`: leave out as many steps as possible first, which takes up to five minutes.
        """
        about = {"url": self._url, "control": self._control, "scripts": scripts}
        machine = hypothesis.seed(seed)(type("Rooms", (RoomMachine,), about))
        phases = (Phase.generate, Phase.shrink) if shrinks else (Phase.generate,)
        run_state_machine_as_test(
            machine,
            settings=hypothesis.settings(
                max_examples=CONVERSATIONS,
                stateful_step_count=STEPS,
                phases=phases,
                deadline=None,
                database=None,
                derandomize=False,
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )


@contextmanager
def searching() -> Iterator[Search]:
    """A search on a new redis-server."""
    with redis_alone() as server, no_pauses():
        control = redis.Redis(unix_socket_path=server.socket)
        yield Search(server.url, control)
        control.close()
