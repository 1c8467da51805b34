"""The events in flight, and which of their outcomes are to be recorded in Redis (`settlement.py` does that).

An event whose deliveries have all ended is to be settled at once. One that stays open is looked at by a
sweep: at its third turn, 150 ms after the start or after the last delivery that ended, what is known is
recorded. If this process dies after that, the next owner sends only to recipients that are not recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

import structlog

from imc_common.rooms.request import RequestData
from imc_edge.delivering.outgoing import Outgoing

log = structlog.get_logger()

SWEEPS_BEFORE_RECORDING: Final = 3
"""Turns of the sweep (50 ms each) after which the outcomes of an event still open are recorded."""


class EventsInFlight:
    """All events in flight, by shard."""

    def __init__(self) -> None:
        self.by_shard: dict[int, dict[str, Outgoing]] = {}
        """Shard to entry id to event, until Redis has confirmed its end."""
        self.ended: list[Outgoing] = []
        """Events to be settled: all their deliveries have ended."""
        self.half_delivered: list[Outgoing] = []
        """Events whose outcomes so far are to be recorded."""
        self.something_to_record = asyncio.Event()
        self._unrecorded: dict[Outgoing, set[str]] = {}
        """Recipients whose delivery failed, as far as Redis has not confirmed it."""
        self._watched: dict[Outgoing, None] = {}
        """Those that the sweep looks at, oldest first; what is settled before is taken out."""

    def add(self, outgoing: Outgoing) -> None:
        """An event is about to be sent."""
        event = outgoing.event
        self.by_shard.setdefault(event.shard, {})[event.entry_id] = outgoing
        self._watched[outgoing] = None
        if not outgoing.pending:
            self._end(outgoing)

    def delivered(self, outgoing: Outgoing, address: str) -> None:
        """One recipient responded 2xx."""
        outgoing.delivered.append(address)
        outgoing.pending -= 1
        if not outgoing.pending:
            self._end(outgoing)
        elif outgoing.parked:
            self._watch_again(outgoing)

    def delivered_in_part(self, outgoing: Outgoing, address: str) -> None:
        """A device of the recipient responded 2xx, and others have not responded. It is recorded at once."""
        outgoing.delivered.append(address)
        self.half_delivered.append(outgoing)
        self.something_to_record.set()

    def complete(self, outgoing: Outgoing) -> None:
        """The delivery has ended; which devices responded 2xx was said before."""
        outgoing.recorded = True
        outgoing.pending -= 1
        if not outgoing.pending:
            self._end(outgoing)

    def failed(self, outgoing: Outgoing, address: str, outcome: str) -> None:
        """The delivery to one recipient has failed."""
        outgoing.failed.append((address, outcome))
        self._unrecorded.setdefault(outgoing, set()).add(address)
        outgoing.pending -= 1
        if not outgoing.pending:
            self._end(outgoing)
        elif outgoing.parked:
            self._watch_again(outgoing)

    def recorded(self, outgoing: Outgoing, addresses: Iterable[str]) -> None:
        """Redis knows that these deliveries have failed."""
        unrecorded = self._unrecorded.get(outgoing)
        if unrecorded is not None:
            unrecorded.difference_update(addresses)
            if not unrecorded:
                del self._unrecorded[outgoing]

    def is_unrecorded(self, room: str, address: str) -> bool:
        """Whether something in this room has failed for this recipient of which Redis may not know."""
        return any(
            address in addresses and outgoing.event.room == room
            for outgoing, addresses in self._unrecorded.items()
        )

    def sweep(self) -> None:
        """To be called every 50 ms: have the outcomes recorded of events that stay open."""
        watched: dict[Outgoing, None] = {}
        for outgoing in self._watched:
            if not outgoing.pending or outgoing.abandoned:
                continue
            outgoing.sweeps += 1
            if outgoing.sweeps < SWEEPS_BEFORE_RECORDING:
                watched[outgoing] = None
                continue
            outgoing.parked = True
            # it may wait for long now, and the templates hold all that is still to be sent
            event = outgoing.event
            outgoing.event = replace(event, to=(), data=RequestData(call_id=event.call_id, at=event.at))
            if outgoing.delivered or outgoing.failed:
                self.half_delivered.append(outgoing)
                self.something_to_record.set()
        self._watched = watched

    def abandon(self, owned: frozenset[int]) -> bool:
        """Abandon all events of shards that are not owned any more: their new owners send them.

        Returns whether there were any.
        """
        are_abandoned = False
        for shard in [shard for shard in self.by_shard if shard not in owned]:
            events = self.by_shard.pop(shard)
            for outgoing in events.values():
                outgoing.abandoned = True
                self._unrecorded.pop(outgoing, None)
            if events:
                are_abandoned = True
                log.warning("shard lost with deliveries pending", shard=shard, events=len(events))
        return are_abandoned

    def count(self, shard: int | None = None) -> int:
        """Events in flight, of one shard or of all."""
        if shard is not None:
            return len(self.by_shard.get(shard, ()))
        return sum(map(len, self.by_shard.values()))

    def record_all(self) -> None:
        """Have everything recorded that is known of open events: the process is about to end."""
        for events in self.by_shard.values():
            self.half_delivered += [each for each in events.values() if each.pending]
        self.something_to_record.set()

    def forget(self, outgoing: Outgoing) -> bool:
        """Redis has settled it; False if that was known, or its shard was lost."""
        self._watched.pop(outgoing, None)
        self._unrecorded.pop(outgoing, None)
        event = outgoing.event
        return not outgoing.abandoned and self.by_shard[event.shard].pop(event.entry_id, None) is not None

    def has(self, shard: int, entry_id: str) -> bool:
        """Whether this entry is in flight."""
        return entry_id in self.by_shard.get(shard, ())

    def _end(self, outgoing: Outgoing) -> None:
        if not self.ended:  # else it is set already
            self.something_to_record.set()
        self.ended.append(outgoing)

    def _watch_again(self, outgoing: Outgoing) -> None:
        outgoing.parked = False
        outgoing.sweeps = 0
        self._watched[outgoing] = None
