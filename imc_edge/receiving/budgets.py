"""How often one user may do something. It is counted here, and in Redis for all edges together.

A message costs a look into a dictionary. An edge reports what a user sends in chunks, an eighth of what the
user may send at once (`lua/charge_budget.lua`). The chunks of all edges are charged to one budget, in the
user's own shard. If it is overdrawn, each edge learns so from the reply to its next chunk; until the debt is
paid off, it refuses the user's requests without asking. So a user can exceed a limit by one chunk per edge,
once, but not in the long run. Invitations are charged before they are accepted (`lua/charge_invitation.lua`):
there are few of them, and each may annoy somebody.

Deliveries are counted in the same way. Redis tells how many a message causes when it has accepted the message
(`lua/accept_many.lua`). Until then the message counts as many as this user's last one to the room, if those
were many. A `#history` counts as many as it asks for, whether the room has them or not: counting is left to
the edge, so the limit tells nobody how much is said in a room.

A user has one budget for all ports and cases: a proxy authenticates user and domain, but the sender chooses
how they are written.
Likewise, the ports of one invited user count as one target.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, final

from imc_common import keys
from imc_common.address import counted_as
from imc_common.rooms.request import RoomRequest
from imc_common.rooms.spans import shown_at_most
from imc_common.settings import Settings
from imc_common.store import Command
from imc_common.store.protocols import ScriptRunner
from imc_edge.receiving.recent import Recent

CHUNKS: Final = 8
"""Chunks of a burst."""
MAX_KNOWN = 8192  # not Final, which mypyc would inline: tests lower it
"""At least so many recent users are remembered, per kind; twice as many at most. A user who is forgotten
starts anew: Redis is not told of less than a chunk of a user while so many others send, which takes half a
second or more."""
MAX_HELD_BACK = 100_000  # not Final, which mypyc would inline: tests lower it
"""Users who have to wait. If there are more, all are forgotten, so some requests over the limit pass."""
DELIVERY_BURST_SECONDS: Final = 10
"""A user may cause the deliveries of so many seconds at once."""
MAX_OWED_SECONDS: Final = 300
"""A user has to wait for the deliveries of so many seconds at most."""
MIN_EXPECTED: Final = 20
"""From so many deliveries on a message counts before Redis has replied, or from a chunk on if that is less.
Fewer make little difference, and every user who speaks in a small room would have to be remembered."""
WHOLE_SERVICE: Final = "*"
"""Stands for all users together; no address is equal to it."""
INVITATIONS: Final = frozenset({"invite", "add"})


SIGNALS: Final = frozenset({"typing", "disposition"})
"""Requests that programs send by themselves. They are no messages, so they are counted apart."""
SIGNALS_PER_MESSAGE: Final = 20
"""A user may send so many for each message: in a busy room a member sends two receipts for each message."""


class Excess(NamedTuple):
    """Why a request is refused: the limit, the seconds to wait, and which of the two of an invitation."""

    limit: Literal["messages", "commands", "invitations", "deliveries", "total"]
    seconds: int
    part: Literal["", "target"] = ""

    @property
    def status(self) -> int:
        """403 for one user's limit: at a 503 a balancer would take the edge out of service."""
        return 503 if self.limit == "total" else 403

    @property
    def reason(self) -> str:
        """The reason code of the notice (`imc_common/rooms/texts.py`)."""
        return f"too_many_{self.limit}"


@final
@dataclass(init=False, slots=True)
class Charge:
    """The deliveries a message was counted for until Redis knows better; see `Budgets.settle`.

    `is_final`: once it is accepted, Redis knows nothing better.
    """

    user: Final[str]
    room: Final[str]
    expected: Final[int]
    is_final: Final[bool]

    def __init__(
        self,
        user: str,
        room: str,
        expected: int,
        *,
        is_final: bool = False,
    ) -> None:
        self.user = user
        self.room = room
        self.expected = expected
        self.is_final = is_final


class Meter:
    """How often each of many users does one thing."""

    def __init__(
        self,
        burst: int,
        command: Callable[[str, int], Command],
        submit: Callable[[Command, Report], bool],
        clock: Callable[[], float],
        *,
        max_known: int = MAX_KNOWN,
        max_held_back: int = MAX_HELD_BACK,
    ) -> None:
        """``command(user, cost)`` charges a user; ``submit`` sends it to Redis, unless it returns False.

        The reply, how many ms the user has to wait, goes to the report. ``clock`` is monotonic, in seconds.
        """
        self._burst = burst
        self._command = command
        self._submit = submit
        self._clock = clock
        self.chunk = max(1, burst // CHUNKS)
        """Cost that is reported at once."""
        self._spent = Recent(max_known)
        """Cost since the last report; at least a chunk for a user who has to wait."""
        self._in_flight: dict[str, int] = {}
        self._held_until: dict[str, float] = {}
        self._max_held_back = max_held_back

    def wait(self, user: str, cost: int = 1) -> float:
        """Seconds that the user has to wait. 0: none, and the cost is counted."""
        known = self._spent.get(user)
        if known is None:
            known = self.chunk if user in self._held_until else 0
        spent = known + cost
        if spent < self.chunk:
            if cost:
                self._spent.put(user, spent)
            return 0.0
        return self._wait_at_chunk(user, spent, cost)

    def add(self, user: str, cost: int) -> None:
        """Count what is done already, over the limit or not. Below 0: what was counted and not done."""
        if user in self._held_until:
            self._report(user, cost)
            return
        spent = (self._spent.get(user) or 0) + cost
        if spent >= self.chunk and self._report(user, spent):
            spent = 0
        self._spent.put(user, spent)

    def on_reply(self, report: Report, reply: Any) -> None:
        """The reply to a report: ms to wait. After an error nobody waits."""
        user = report.user
        left = self._in_flight.get(user, 0) - report.cost
        if left > 0:
            self._in_flight[user] = left
        else:
            self._in_flight.pop(user, None)
        if isinstance(reply, int) and reply > 0:
            if len(self._held_until) >= self._max_held_back:
                self._held_until.clear()
                self._spent.clear()
            self._held_until[user] = self._clock() + reply / 1000
            self._spent.put(user, self.chunk)

    def _wait_at_chunk(self, user: str, spent: int, cost: int) -> float:
        # Redis has said that the user has to wait. While that lasts, nothing is counted or asked.
        until = self._held_until.get(user)
        if until is not None:
            left = until - self._clock()
            if left > 0:
                return left
            del self._held_until[user]
            spent = cost
        # Redis is slow: it has not replied yet to reports of a whole burst.
        if self._in_flight.get(user, 0) >= self._burst:
            return 1.0
        # A chunk is full, so it is reported. Until Redis replies, the user goes on.
        if spent >= self.chunk and self._report(user, spent):
            spent = 0
        self._spent.put(user, spent)
        return 0.0

    def _report(self, user: str, cost: int) -> bool:
        """Tell Redis; False if too many requests wait for it. Then the cost goes into the next report."""
        if not self._submit(self._command(user, cost), Report(self, user, cost)):
            return False
        self._in_flight[user] = self._in_flight.get(user, 0) + cost
        return True


class Report(NamedTuple):
    """A chunk that Redis is told of."""

    meter: Meter
    user: str
    cost: int

    def on_reply(self, reply: Any) -> None:
        """How many ms the user has to wait."""
        self.meter.on_reply(self, reply)


class Budgets:
    """The limits of users, and of all users together."""

    def __init__(
        self,
        settings: Settings,
        store: ScriptRunner,
        submit: Callable[[Command, Report], bool],
        clock: Callable[[], float],
        max_known: int = MAX_KNOWN,
    ) -> None:
        """``submit`` and ``clock``: see `Meter`."""
        self._store = store
        self._submit = submit
        self._clock = clock
        self._hash_size = settings.hash_size
        self._max_known = max_known
        self.reload(settings)

    def reload(self, settings: Settings) -> None:
        """Go on with these settings; what Redis knows of users stays."""
        commands = settings.max_commands_per_minute
        total = settings.max_total_messages_per_second
        deliveries = settings.max_deliveries_per_second
        self._messages = self._meter("message", settings.max_messages_per_second, settings.max_message_burst)
        self._signals = self._meter(
            "signal",
            settings.max_messages_per_second * SIGNALS_PER_MESSAGE,
            settings.max_message_burst * SIGNALS_PER_MESSAGE,
        )
        self._commands = self._meter("command", commands / 60, commands)
        self._total = self._meter("total", total, math.ceil(total))
        self._deliveries = self._meter(
            "delivery",
            deliveries,
            math.ceil(deliveries * DELIVERY_BURST_SECONDS),
            math.ceil(deliveries * MAX_OWED_SECONDS),
        )
        self._deliveries_of_last = Recent(self._max_known)
        """By user and room."""
        self._many = min(MIN_EXPECTED, self._deliveries.chunk) if self._deliveries else 0
        """Deliveries of one message from which on they are remembered."""
        self._per_hour = settings.max_invitations_per_hour
        self._per_target = settings.max_invitations_per_target

    def count(self, room_request: RoomRequest) -> Excess | Charge | None:
        """Count a request: why it has to be refused, or what to settle when Redis has accepted it."""
        user = counted_as(room_request.sender)
        is_message = room_request.type == "message"
        meter = self._messages if is_message else self._commands
        if room_request.type in SIGNALS:  # `allows_signal` has counted it
            meter = None
        if meter is not None and (seconds := meter.wait(user)):
            limit: Literal["messages", "commands"] = "messages" if is_message else "commands"
            return Excess(limit, math.ceil(seconds))
        if self._total is not None and (seconds := self._total.wait(WHOLE_SERVICE)):
            return Excess("total", math.ceil(seconds))
        is_history = room_request.type == "history"
        if not (is_message or is_history) or self._deliveries is None:
            return None
        if is_history:
            expected = shown_at_most(room_request.text)
        else:
            expected = self._deliveries_of_last.get((user, room_request.room)) or 0
        if seconds := self._deliveries.wait(user, expected):
            return Excess("deliveries", math.ceil(seconds))
        return Charge(user, room_request.room, expected, is_final=is_history)

    def allows_signal(self, sender: str) -> bool:
        """Count one more of `SIGNALS`; False if there are too many."""
        return self._signals is None or not self._signals.wait(counted_as(sender))

    def settle(self, charge: Charge, reply: Any) -> None:
        """Count what a message has cost, by the reply to it: a number of deliveries if it was accepted now.

        A duplicate, or a message that was not accepted, costs nothing.
        """
        expected = charge.expected
        if charge.is_final:
            if reply != b"accepted" and self._deliveries is not None:
                self._deliveries.add(charge.user, -expected)
            return
        deliveries = reply if isinstance(reply, int) else 0
        if deliveries == expected:
            return
        if isinstance(reply, int) and (expected or deliveries >= self._many):
            self._deliveries_of_last.put((charge.user, charge.room), deliveries)
        if self._deliveries is not None:
            self._deliveries.add(charge.user, deliveries - expected)

    def are_too_many(self, invited: Sequence[str]) -> bool:
        """Whether one user may never invite all these at once."""
        most = max(Counter(map(counted_as, invited)).values(), default=0)
        return 0 < self._per_hour < len(invited) or 0 < self._per_target < most

    def invitation(self, room_request: RoomRequest, digest: str) -> Command | None:
        """What charges an invitation, to be run before it is accepted. None if no limit applies.

        `invitation_excess` reads the reply.
        """
        if room_request.type not in INVITATIONS:
            return None
        return self.invitations(room_request, (room_request.user,), digest)

    def invitations(self, room_request: RoomRequest, invited: Sequence[str], digest: str) -> Command | None:
        """The same for a request that invites all these users, or none of them."""
        if not invited or not (self._per_hour or self._per_target):
            return None
        user = counted_as(room_request.sender)
        shard = keys.shard_of(user, self._hash_size)
        targets = Counter(map(counted_as, invited))
        budgets = [keys.budget(shard, "invitation", user)]
        budgets += [keys.budget(shard, "invitation", f"{user} {target}") for target in targets]
        # The digest leaves out the body, which may name a room in another shard, where it is no duplicate.
        once = f"{digest} {room_request.room} {room_request.user}"
        limits = (once, self._per_hour, self._per_target)
        return self._store.script("charge_invitation", budgets, (*limits, *targets.values()))

    def _meter(self, kind: str, per_second: float, burst: int, max_owed: int = 0) -> Meter | None:
        """``max_owed``: what a user can owe at most; 0: as much as the budget holds."""
        if not per_second:
            return None
        limits = (math.ceil(per_second * 3600), burst, max_owed or burst)

        def charge(user: str, cost: int) -> Command:
            key = keys.budget(keys.shard_of(user, self._hash_size), kind, user)
            return self._store.script("charge_budget", (key,), (cost, *limits))

        return Meter(burst, charge, self._submit, self._clock, max_known=self._max_known)


def invitation_excess(reply: Any) -> Excess | None:
    """Why an invitation has to be refused, by the reply to `Budgets.invitation`; None if it was charged.

    An error counts as charged: then the request itself will not be accepted either.
    """
    if not isinstance(reply, list) or reply[0] <= 0:
        return None
    return Excess("invitations", math.ceil(reply[0] / 1000), "" if reply[1] else "target")
