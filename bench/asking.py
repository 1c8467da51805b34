"""Members of some rooms ask for the history of their room, as often as they may."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import count

from bench.beside import message
from bench.load import Group
from bench.systems import System
from imc_common.rooms.spans import MAX_SHOWN
from imc_common.settings import Settings
from imc_edge.receiving.budgets import DELIVERY_BURST_SECONDS

ASKED = f"#history {MAX_SHOWN}".encode()
PER_SECOND = Settings.model_fields["max_deliveries_per_second"].default / MAX_SHOWN
"""So often a user may ask for so much in the long run."""
AT_ONCE = int(PER_SECOND * DELIVERY_BURST_SECONDS)
"""So often at once."""
BEYOND = 5
"""Requests over the limit."""
ROUND_SECONDS = 0.005
"""Between two requests of a user who asks several times at once: the edge learns of the limit from Redis."""
LAST_RESPONSES_SECONDS = 10.0


class Asking:
    """The first member of each room of a group asks for as much as one `#history` shows.

    Either all ask at once, `AT_ONCE` times and `BEYOND` that, or each does it `PER_SECOND` for a time.
    """

    def __init__(self, system: System, group: Group, *, at_once: bool, seconds: float) -> None:
        host, port = system.target.rsplit(":", 1)
        self._target = (host, int(port))
        self._group = group
        self._times = self._all_at_once() if at_once else self._steadily(seconds)
        self.statuses: Counter[int] = Counter()
        """How many requests had which response."""

    def run(self) -> None:
        """Ask, then wait for the last responses. They may take `LAST_RESPONSES_SECONDS`."""
        run, sent, began = f"{time.time_ns():x}", 0, time.monotonic()
        with socket.socket(type=socket.SOCK_DGRAM) as users:
            users.bind(("127.0.0.1", 0))
            users.connect(self._target)
            users.setblocking(False)
            for at in self._times:
                self._read_until(began + at, users)
                said = (sent % self._group.rooms, 0, "text/plain", ASKED)
                users.send(message(self._group, f"{run}-{sent}", said, users.getsockname()))
                sent += 1
            end = time.monotonic() + LAST_RESPONSES_SECONDS
            while self.statuses.total() < sent and time.monotonic() < end:
                self._read_until(time.monotonic() + 0.001, users)

    def check(self, arrived: int) -> None:
        """Raises `RuntimeError` unless all that was asked for has arrived, and was something.

        More is no error: a response may have got lost on its way to the user.
        """
        asked_for = self.statuses[202] * MAX_SHOWN
        if not 0 < asked_for <= arrived:
            raise RuntimeError(f"{arrived} of {asked_for} messages of histories arrived: {self.statuses}")

    def _all_at_once(self) -> Iterator[float]:
        """Seconds from the beginning to each request."""
        for number in range((AT_ONCE + BEYOND) * self._group.rooms):
            yield number // self._group.rooms * ROUND_SECONDS

    def _steadily(self, seconds: float) -> Iterator[float]:
        """The same."""
        for number in count():
            at = number / (PER_SECOND * self._group.rooms)
            if at >= seconds:
                return
            yield at

    def _read_until(self, moment: float, users: socket.socket) -> None:
        """Read responses, at least once."""
        while True:
            with suppress(BlockingIOError):
                while True:
                    self.statuses[int(users.recv(65_535).split(b" ", 2)[1])] += 1
            left = moment - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, 0.001))
