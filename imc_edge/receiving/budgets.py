"""What one user may do how often: counted here, and for all edges together in Redis.

A user's messages cost a look into a dictionary each. An edge tells Redis of them in chunks of an eighth of
what the user may send at once (`lua/charge_budget.lua`); there, in the user's own shard, the chunks of all
edges come off one budget. If it is overdrawn, each edge hears so with its next chunk, and until the debt is
paid off refuses what comes without asking. So a user may exceed the limit by a chunk for each edge, once, but
not in the long run. Invitations are few and a nuisance each: they are asked for before they are taken
(`lua/charge_invitation.lua`).

Deliveries are counted in the same way. How many a message causes Redis says with the word that it has it
(`lua/include/accept.lua`); until then it counts as many as the last one of this user to this room, if those
were many.

A user is the same at any port: a proxy that checks From checks user and domain, so the port is the sender's
to choose.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

from imc_common import keys
from imc_common.address import without_port
from imc_common.keys import Keys
from imc_common.rooms.request import RoomRequest
from imc_common.settings import Settings
from imc_common.store import Command, Store
from imc_edge.receiving.recent import Recent

CHUNKS: Final = 8
"""Parts of a burst in which an edge tells Redis."""
MOST_KNOWN = 8192
"""So many of the users that came last are remembered per kind, at least. Who is forgotten starts anew: Redis
does not hear of one who makes less than a chunk while so many others speak, which takes an edge half a second
or more."""
MOST_HELD = 100_000
"""Users held back; past it all start anew, which lets some more through."""
DELIVERIES_SECONDS: Final = 10
"""Deliveries of so many seconds may be caused at once."""
MOST_OWED_SECONDS: Final = 300
"""Deliveries of so many seconds, at most, have to be waited for."""
LARGE: Final = 20
"""Deliveries of a message from which on, if a chunk is not less still, they are counted before Redis has said
how many. Fewer make little difference, and all who speak in some small room would have to be remembered."""
WHOLE_SERVICE: Final = "*"
"""Stands for everybody: no address is like it."""
INVITATIONS: Final = frozenset({"invite", "add"})


class Excess(NamedTuple):
    """Why a request is refused: which limit, how long to wait, in seconds, and of what part the limit is."""

    limit: Literal["messages", "commands", "invitations", "deliveries", "total"]
    seconds: int
    part: Literal["", "target"] = ""

    @property
    def status(self) -> int:
        """403 for one user's limits: a 503 would have a balancer take the edge for failing."""
        return 503 if self.limit == "total" else 403

    @property
    def reason(self) -> str:
        """What the notice says (`imc_common/rooms/texts.py`)."""
        return f"too_many_{self.limit}"


class Charge(NamedTuple):
    """What a message that is on its way to Redis was counted for; to be handed to `Budgets.caused`."""

    who: str
    room: str
    expected: int


class Meter:
    """How often each of many may do one thing."""

    def __init__(
        self,
        burst: int,
        command: Callable[[str, int], Command],
        tell: Tell,
        clock: Callable[[], float],
    ) -> None:
        """``command(who, cost)`` makes what `tell` sends, unless that says it cannot."""
        self._burst = burst
        self._command = command
        self._tell = tell
        self._clock = clock
        self.chunk = max(1, burst // CHUNKS)
        """So much is told Redis at once."""
        self._spent = Recent(MOST_KNOWN)
        """Since the last report; of who is held back at least a chunk."""
        self._in_air: dict[str, int] = {}
        self._held_until: dict[str, float] = {}

    def wait(self, who: str, cost: int = 1) -> float:
        """Seconds to wait before ``who`` may do this again; 0: now, and it is counted."""
        known = self._spent.get(who)
        if known is None:
            known = self.chunk if who in self._held_until else 0
        spent = known + cost
        if spent < self.chunk:
            if cost:
                self._spent.put(who, spent)
            return 0.0
        return self._at_chunk(who, spent, cost)

    def add(self, who: str, cost: int) -> None:
        """Count what was done already, whether or not it may be; below 0: what was counted and not done."""
        if who in self._held_until:
            self._report(who, cost)
            return
        spent = (self._spent.get(who) or 0) + cost
        if spent >= self.chunk and self._report(who, spent):
            spent = 0
        self._spent.put(who, spent)

    def heard(self, report: Report, reply: Any) -> None:
        """What Redis says to a report; an error says nothing."""
        who = report.who
        left = self._in_air.get(who, 0) - report.cost
        if left > 0:
            self._in_air[who] = left
        else:
            self._in_air.pop(who, None)
        if isinstance(reply, int) and reply > 0:
            if len(self._held_until) >= MOST_HELD:
                self._held_until.clear()
                self._spent.clear()
            self._held_until[who] = self._clock() + reply / 1000
            self._spent.put(who, self.chunk)

    def _at_chunk(self, who: str, spent: int, cost: int) -> float:
        """Held back, or a chunk is full and Redis must hear of it."""
        until = self._held_until.get(who)
        if until is not None:
            left = until - self._clock()
            if left > 0:
                return left
            del self._held_until[who]
            spent = cost
        if self._in_air.get(who, 0) >= self._burst:
            return 1.0  # as much again as the budget holds, and Redis has not said anything yet
        if spent >= self.chunk and self._report(who, spent):
            spent = 0
        self._spent.put(who, spent)
        return 0.0

    def _report(self, who: str, cost: int) -> bool:
        """Tell Redis; False if that cannot be."""
        if not self._tell(self._command(who, cost), Report(self, who, cost)):
            return False
        self._in_air[who] = self._in_air.get(who, 0) + cost
        return True


class Report(NamedTuple):
    """A chunk on its way to Redis; to be handed to `Meter.heard` with the reply."""

    meter: Meter
    who: str
    cost: int


Tell = Callable[[Command, Report], bool]


class Budgets:
    """The limits of users, and of all users together."""

    def __init__(self, settings: Settings, store: Store, tell: Tell, clock: Callable[[], float]) -> None:
        """``tell`` sends a command to Redis and hands the reply with its report to the meter named there."""
        self._store = store
        self._tell = tell
        self._clock = clock
        self._hash_size = settings.hash_size
        self.reload(settings)

    def reload(self, settings: Settings) -> None:
        """Go on with these settings; what Redis knows of users stays."""
        commands = settings.max_commands_per_minute
        total = settings.max_total_messages_per_second
        deliveries = settings.max_deliveries_per_second
        self._messages = self._meter("message", settings.max_messages_per_second, settings.max_message_burst)
        self._commands = self._meter("command", commands / 60, commands)
        self._total = self._meter("total", total, math.ceil(total))
        self._deliveries = self._meter(
            "delivery",
            deliveries,
            math.ceil(deliveries * DELIVERIES_SECONDS),
            math.ceil(deliveries * MOST_OWED_SECONDS),
        )
        self._reach = Recent(MOST_KNOWN)
        self._many = min(LARGE, self._deliveries.chunk) if self._deliveries else 0
        """Deliveries of one message that are remembered."""
        self._per_hour = settings.max_invitations_per_hour
        self._per_target = settings.max_invitations_per_target
        names = Keys(settings.rooms_table, settings.members_table)
        shards = range(1 << settings.hash_size)
        self.members_prefixes = [names.members(shard, "") if deliveries else "" for shard in shards]
        """Of each shard what `accept.lua` needs to tell the deliveries of a message; empty: nobody asks."""

    def count(self, entry: RoomRequest) -> Excess | Charge | None:
        """Count what a sender wants: why it may not be, or what comes back with Redis's word on it."""
        who = without_port(entry.sender)
        is_message = entry.type == "message"
        meter = self._messages if is_message else self._commands
        if meter is not None and (seconds := meter.wait(who)):
            limit: Literal["messages", "commands"] = "messages" if is_message else "commands"
            return Excess(limit, math.ceil(seconds))
        if self._total is not None and (seconds := self._total.wait(WHOLE_SERVICE)):
            return Excess("total", math.ceil(seconds))
        if not is_message or self._deliveries is None:
            return None
        expected = self._reach.get((who, entry.room)) or 0
        if seconds := self._deliveries.wait(who, expected):
            return Excess("deliveries", math.ceil(seconds))
        return Charge(who, entry.room, expected)

    def caused(self, charge: Charge, reply: Any) -> None:
        """What Redis says to a message: a number of deliveries, or that it was not taken, not anew."""
        who, room, expected = charge
        deliveries = reply if isinstance(reply, int) else 0
        if deliveries == expected:
            return
        if isinstance(reply, int) and (expected or deliveries >= self._many):
            self._reach.put((who, room), deliveries)
        if self._deliveries is not None:
            self._deliveries.add(who, deliveries - expected)

    def invitation(self, entry: RoomRequest, digest: str) -> Command | None:
        """What to ask Redis before an invitation is taken, if there is something to ask."""
        if entry.type not in INVITATIONS or not (self._per_hour or self._per_target):
            return None
        who = without_port(entry.sender)
        shard = keys.shard_of(who, self._hash_size)
        budgets = (
            keys.budget(shard, "invitation", who),
            keys.budget(shard, "invitation", f"{who} {entry.user}"),
        )
        return self._store.script("charge_invitation", budgets, (digest, self._per_hour, self._per_target))

    def _meter(self, kind: str, per_second: float, burst: int, most_owed: int = 0) -> Meter | None:
        """``most_owed``: what a user may owe at most; 0: as much as the budget holds."""
        if not per_second:
            return None
        limits = (math.ceil(per_second * 3600), burst, most_owed or burst)

        def spend(who: str, cost: int) -> Command:
            key = keys.budget(keys.shard_of(who, self._hash_size), kind, who)
            return self._store.script("charge_budget", (key,), (cost, *limits))

        return Meter(burst, spend, self._tell, self._clock)


def invitation_excess(reply: Any) -> Excess | None:
    """What Redis says to `Budgets.invitation`: why it may not be, or None if it may.

    An error says nothing: then the request itself will not get into Redis either.
    """
    if not isinstance(reply, list) or reply[0] <= 0:
        return None
    return Excess("invitations", math.ceil(reply[0] / 1000), "" if reply[1] else "target")
