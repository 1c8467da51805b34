"""One recipient: its queue, with one MESSAGE in flight at a time (RFC 3428 §8).

Recipients are the same for all shards: two events of different rooms that go to one user wait for each
other here. The queue holds references only, so that a dead member costs little while Timer F runs.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, Protocol

from imc_common.sip.message import Response
from imc_edge.delivering.outcome import SURPLUS, TIMEOUT
from imc_edge.delivering.outgoing import Outgoing
from imc_edge.delivering.retry_state import Detour
from imc_edge.flow import Hop
from imc_edge.routing.targets import Targets

LAG: Final = 100
"""With so many deliveries waiting, a recipient has to answer soon to go on being counted as quick."""
SOON: Final = 2
"""Turns of the timer wheel: 50 to 100 ms."""


class Courier(Protocol):
    """Sends the delivery a recipient is at, and ends it by calling the recipient's `ended`."""

    def send(self, recipient: Recipient) -> None:
        """Send the current part for the first time."""

    def resume(self, recipient: Recipient) -> None:
        """The time the recipient was put on the wheel for has come."""

    def rejected(self, recipient: Recipient, response: Response) -> None:
        """A final response from 300 up."""

    def failed(self, recipient: Recipient, error: Exception) -> None:
        """Silence until Timer F, or a transport error."""


@dataclass(slots=True)
class Load:
    """Deliveries read and not ended; those to quick recipients hold back reading."""

    quick: int = 0
    slow: int = 0


class Desk(Protocol):
    """What all recipients share."""

    load: Load
    queue_limit: int
    slow_limit: int
    unreachable_ttl: float

    @property
    def courier(self) -> Courier:
        """Sends for all."""
        ...

    def turns(self) -> int:
        """Turns of the timer wheel so far."""

    def clock(self) -> float:
        """Monotonic seconds."""

    def may_send(self, outgoing: Outgoing) -> bool:
        """Whether the event is still ours to send."""

    def answered(self, outgoing: Outgoing, address: str) -> None:
        """One delivery ended well."""

    def lost(self, outgoing: Outgoing, address: str, outcome: str) -> None:
        """One delivery ended otherwise."""


class Recipient:
    """The queue of one recipient, and the delivery it is at; the user of that delivery's transactions."""

    __slots__ = (
        "address",
        "desk",
        "detour",
        "head",
        "held_until",
        "hop",
        "outgoing",
        "part",
        "queue",
        "share",
        "slow",
        "started",
        "targets",
        "to",
    )

    def __init__(self, address: str, share: bytes, to: bytes, desk: Desk) -> None:
        self.address = address
        self.share = share
        self.to = to
        self.desk = desk
        self.head = b""
        """Start line and Via towards `hop`, made when that changes."""
        self.hop: Hop | None = None
        self.targets: Targets | None = None
        self.outgoing: Outgoing | None = None
        self.part = 0
        self.queue: deque[Outgoing] | None = None
        self.started = 0
        """Turn of the timer wheel at which the current delivery was begun."""
        self.slow = False
        """It has let T1 pass, or has many waiting and takes its time; its deliveries count apart."""
        self.held_until = 0.0
        """Monotonic time until which it is held off after a time-out; 0 if it is not."""
        self.detour: Detour | None = None
        """Set when the current delivery needs more than one request."""

    @property
    def idle(self) -> bool:
        """Nothing to send and nothing to remember."""
        return self.outgoing is None and not self.held_until

    def offer(self, outgoing: Outgoing) -> None:
        """Send it now, or when its turn comes; or fail it, if it cannot come."""
        if self.held_until and self._still_held():
            self.desk.lost(outgoing, self.address, TIMEOUT)
        elif self.outgoing is None:
            self.outgoing = outgoing
            load = self.desk.load
            if self.slow:
                load.slow += 1
            else:
                load.quick += 1
            self.desk.courier.send(self)
        else:
            self._wait(outgoing)

    def accepted(self) -> None:
        """The current part was answered 2xx."""
        outgoing = self.outgoing
        if outgoing is None:
            return
        if self.slow:
            self._quicker()
        if self.part + 1 < len(outgoing.parts):
            self.part += 1
            self.detour = None
            self.desk.courier.send(self)
            return
        self.desk.answered(outgoing, self.address)
        self._next()

    def rejected(self, response: Response) -> None:
        """The current part was answered with a final response from 300 up."""
        if self.slow:
            self._quicker()
        if self.still_wanted():
            self.desk.courier.rejected(self, response)

    def failed(self, error: Exception) -> None:
        """The current part was not answered, or could not be sent."""
        if self.still_wanted():
            self.desk.courier.failed(self, error)

    def wanted(self) -> bool:
        """Whether the current delivery is still ours."""
        return self.outgoing is not None and self.desk.may_send(self.outgoing)

    def unanswered_yet(self) -> None:
        """T1 has passed."""
        self.slower()

    def due(self) -> None:
        """The pause of the current delivery is over."""
        self.desk.courier.resume(self)

    def lose(self, outcome: str) -> None:
        """Give the current delivery up and go on with the next."""
        if self.outgoing is not None:
            self.desk.lost(self.outgoing, self.address, outcome)
            self._next()

    def give_up(self, outcome: str) -> None:
        """Silence: give up the current delivery and all that wait, and hold the recipient off for a while.

        Each of them would cost 32 s more (Timer F) and end the same way.
        """
        self.slower()
        queue, self.queue = self.queue, None
        self.held_until = self.desk.clock() + self.desk.unreachable_ttl
        self.lose(outcome)
        for outgoing in queue or ():
            self.desk.load.slow -= 1
            if self.desk.may_send(outgoing):
                self.desk.lost(outgoing, self.address, outcome)

    def still_wanted(self) -> bool:
        """Whether the current delivery is still ours to send; if not, the next that is takes its place."""
        if self.wanted():
            return True
        if self.outgoing is not None:
            self._next()
        return False

    def heard_from(self) -> None:
        """It sent something itself: no reason to hold it off any longer."""
        self.held_until = 0.0

    def slower(self) -> None:
        """Count its deliveries apart from now on."""
        if not self.slow:
            self.slow = True
            self._move(1)

    def _quicker(self) -> None:
        if self.queue is None or len(self.queue) < LAG // 2:
            self.slow = False
            self._move(-1)

    def _move(self, sign: int) -> None:
        count = sign * ((self.outgoing is not None) + len(self.queue or ()))
        self.desk.load.quick -= count
        self.desk.load.slow += count

    def _wait(self, outgoing: Outgoing) -> None:
        queue = self.queue
        if queue is None:
            queue = self.queue = deque()
        desk, load = self.desk, self.desk.load
        if not self.slow:
            # one that answers at once is never refused anything: reading is held back for it instead
            queue.append(outgoing)
            load.quick += 1
            if len(queue) >= LAG and desk.turns() - self.started >= SOON:
                self.slower()
        elif len(queue) < desk.queue_limit and load.slow < desk.slow_limit:
            queue.append(outgoing)
            load.slow += 1
        else:
            desk.lost(outgoing, self.address, SURPLUS)

    def _next(self) -> None:
        """The current delivery has ended: start the first that waits and is still ours."""
        desk = self.desk
        load = desk.load
        self.detour = None
        self.part = 0
        self.outgoing = None
        if self.slow:
            load.slow -= 1
        else:
            load.quick -= 1
        queue = self.queue
        while queue:
            outgoing = queue.popleft()
            if desk.may_send(outgoing):
                self.outgoing = outgoing
                desk.courier.send(self)
                return
            if self.slow:
                load.slow -= 1
            else:
                load.quick -= 1
        self.queue = None

    def _still_held(self) -> bool:
        """Held off still; the first delivery after it is on probation."""
        if self.desk.clock() < self.held_until:
            return True
        self.held_until = 0.0
        self.slow = True
        return False
