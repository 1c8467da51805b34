"""A large room behind one port, whose members respond at a known pace."""

from __future__ import annotations

import threading
import time

from imc_common.sip.message import Request
from tests.imc_edge.deliveries import User


class Room:
    """Many members behind one port, who respond in turn, at a known pace; a pace of 0 is silence."""

    def __init__(self, pace: float, size: int) -> None:
        self.user = User("member")
        host = self.user.address.partition("@")[2]
        self.members = [f"member-{number}@{host}" for number in range(size)]
        self.first: dict[str, tuple[float, Request]] = {}
        """What each member got from the first edge, and when."""
        self.responded: dict[str, float] = {}
        self.again: dict[str, Request] = {}
        """What came from another edge."""
        self.edge: tuple[str, int] | None = None
        self.last_request = 0.0
        """When the first edge sent anything last."""
        self.pace = pace
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        self.user.socket.settimeout(0.005)
        started, responses = time.monotonic(), 0
        waiting: list[tuple[str, tuple[Request, tuple[str, int]]]] = []
        while not self._ended.is_set():
            got = self.user.receive(0.005)
            now = time.monotonic()
            if got is not None:
                request, source = got
                member = request.target.address()
                self.edge = self.edge or source
                if source == self.edge:
                    self.last_request = now
                if source != self.edge:
                    self.again.setdefault(member, request)
                    self.user.respond(got)
                elif member not in self.first:
                    self.first[member] = (now, request)
                    waiting.append((member, got))
            while waiting and self.pace and responses < (now - started) * self.pace:
                member, got = waiting.pop(0)
                self.responded[member] = time.monotonic()
                self.user.respond(got)
                responses += 1
            responses = max(
                responses, int((now - started) * self.pace) - 5
            )  # what was missed is not caught up

    def end(self) -> None:
        """Respond no more."""
        self._ended.set()
        self._thread.join()
        self.user.close()
