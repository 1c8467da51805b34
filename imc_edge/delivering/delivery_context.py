"""What all recipients of an edge share: the limits, the load, and where a delivery's outcome goes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from imc_common.rooms.delivery_reports import is_stored
from imc_common.rooms.event import Event
from imc_common.settings import Settings
from imc_edge.delivering.courier import Courier
from imc_edge.delivering.failure_log import FailureLog
from imc_edge.delivering.in_flight import EventsInFlight
from imc_edge.delivering.outgoing import Outgoing
from imc_edge.delivering.places import Places
from imc_edge.delivering.timer_wheel import TimerWheel
from imc_edge.delivering.transaction import ClientTransactions

Condition = Literal["responsive", "on trial", "unresponsive"]


class ShardOwner(Protocol):
    """The part of an `imc_common.shards.ownership.Ownership` that deliveries need."""

    def owned(self) -> frozenset[int]:
        """The shards whose lease holds now."""
        ...

    async def hold_durably(self, shards: Iterable[int]) -> frozenset[int]:
        """Those of these shards in which everything written before is as safe as `durability` requires."""
        ...


@dataclass(slots=True)
class Load:
    """Deliveries read and not ended that go to responsive recipients; `places.py` counts the others."""

    responsive: int = 0


class DeliveryContext:
    """The parts and limits that deliveries need, whatever their recipient."""

    def __init__(
        self,
        settings: Settings,
        *,
        ownership: ShardOwner,
        transactions: ClientTransactions,
        courier: Courier,
        events: EventsInFlight,
        wheel: TimerWheel,
        clock: Callable[[], float],
    ) -> None:
        """``clock`` is monotonic, in seconds."""
        self.load = Load()
        self.places = Places(settings.max_in_flight)
        self.ownership = ownership
        self.transactions = transactions
        self.courier = courier
        self.events = events
        self.wheel = wheel
        self.clock = clock
        self.failure_log = FailureLog(clock)
        self.lost_dialog: Callable[[Outgoing, str], bool] | None = None
        """Called for a BYE that found no dialog at its device. True: this goes on, and settles the event."""
        self.reload(settings)

    def reload(self, settings: Settings) -> None:
        """Go on with these settings."""
        self.queue_limit = settings.recipient_queue
        """Deliveries that may wait for one unresponsive recipient."""
        self.unreachable_ttl = settings.unreachable_ttl
        self.keeps_history = settings.history_max_messages > 0
        """Whether rooms keep messages, so that recipients who are away get them later."""
        self._max_responsive = settings.max_in_flight
        self.places.resize(settings.max_in_flight)
        self._max_transactions = 6 * settings.max_in_flight

    def may_send(self, outgoing: Outgoing) -> bool:
        """Whether the event is still ours: an edge whose lease ran out sends nothing more of that shard."""
        return not outgoing.abandoned and outgoing.event.shard in self.ownership.owned()

    def is_stored(self, event: Event) -> bool:
        """Whether the event is in its room's history, and is handed out from there if it fails."""
        return self.keeps_history and is_stored(event)

    def condition_of_new(self, outgoing: Outgoing) -> Condition:
        """How recipients count that are not known yet: they count as responsive until T1 in most cases.

        But silent ones among them could stop the reading of events. So if a quarter of what may be in flight
        is, they are on trial. If the sender of this event has many silent ones, they count as such.
        """
        if self.places.are_used_up(outgoing):
            return "unresponsive"
        if self.load.responsive > self._max_responsive // 4 and self.places.allow_trials(outgoing):
            return "on trial"
        return "responsive"

    def is_full(self) -> bool:
        """Whether no more events should be read now: enough deliveries to responsive recipients are pending,
        or the transactions with all the others use enough memory.
        """
        return (
            self.load.responsive >= self._max_responsive or len(self.transactions) >= self._max_transactions
        )
