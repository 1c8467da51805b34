"""What an edge knows of a recipient that was away lately: what it must not send, and what has arrived.

A stored message that cannot be delivered is not lost: it is handed out from the room's history when the user
is back. Until then nothing later may be sent, or the order would change. Three rules follow.

- After an away outcome the recipient counts as away in all rooms (`is_away`): stored messages end unsent. Any
  sign of the user ends this; and so does time, because signs may get lost.
- In a room in which a message failed, later ones end unsent until the history is handed out from there.
- What arrived from the history is not sent once more, though a probe and a part, or two parts, may have the
  same message.

All of this is about stored messages only. Positions are ids of Redis's streams (`Event.position`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from imc_common.rooms.event import MORE, PROBE, Event

KNOWN_SECONDS: Final = 64.0
"""How long any of this is remembered. A worker marks the member as away within this time, and then emits no
further live messages for it. If it takes the worker longer, `prolong` is called (`late_reports.py`)."""
MAX_ROOMS: Final = 256
"""Rooms remembered for one recipient; the oldest is forgotten first."""

Position = tuple[int, int]


class RoomAbsence:
    """One room: the first message that failed, and the part of the history that arrived."""

    __slots__ = ("arrived", "failed", "leads_on", "until")

    def __init__(self) -> None:
        self.failed: Position | None = None
        self.arrived: tuple[Position, Position] | None = None
        """From where on and up to where all messages of the history have arrived."""
        self.leads_on = False
        """Whether the next part begins right behind what has arrived."""
        self.until = 0.0

    def extend(self, event: Event) -> None:
        """A message from the history has arrived. One that has ``since`` may leave a gap to those before."""
        start, position = missed_from(event), parse(event.position)
        if self.arrived is not None:
            first, last = self.arrived
            if start <= behind(last) or self.leads_on or not event.since:
                start, position = min(first, start), max(last, position)
        self.arrived = start, position
        self.leads_on = event.catch_up == MORE
        if self.failed is not None and start <= self.failed <= position:
            self.failed = None


class Absence:
    """Belongs to a recipient while there is something to remember."""

    __slots__ = ("away_until", "failed_at", "known_until", "rooms")

    def __init__(self) -> None:
        self.away_until = 0.0
        """Monotonic time until which the recipient counts as away in all rooms."""
        self.failed_at = 0.0
        """When a message was last sent in vain."""
        self.known_until = 0.0
        """When all of this can be forgotten."""
        self.rooms: dict[str, RoomAbsence] = {}

    # --- what happens

    def left(self, now: float) -> None:
        """The user has gone, as far as we were told."""
        self.away_until = self.known_until = now + KNOWN_SECONDS

    def is_back(self) -> None:
        """The user gave a sign. What failed in a room is still handed out before anything later."""
        self.away_until = 0.0

    def failed(self, event: Event, now: float, *, sent: bool) -> None:
        """A stored message ended with an away outcome; ``sent``: because nobody was there to take it.

        One that was not sent prolongs nothing. Otherwise the room would stay closed for a member whom no
        worker marks as away.
        """
        room = self._room(event.room)
        if now >= room.until:
            room.failed = None  # too long ago: it may have been handed out since
        if sent:
            self.away_until = now + KNOWN_SECONDS
            self.failed_at = now
        elif room.failed is not None:
            room.failed = min(room.failed, parse(event.position))
            return
        self.failed_before(event.room, parse(event.position), now)

    def failed_before(self, room_name: str, position: Position, now: float) -> None:
        """A stored message failed, perhaps at the former owner of the shard: later ones have to wait."""
        room = self._room(room_name)
        self.known_until = room.until = now + KNOWN_SECONDS
        if room.failed is None or position < room.failed:
            room.failed = position

    def prolong(self, now: float, is_meant: Callable[[str], bool]) -> None:
        """What has failed in these rooms, and is not forgotten yet, is remembered anew from now on."""
        for name, room in self.rooms.items():
            if room.failed is not None and now < room.until and is_meant(name):
                self.known_until = room.until = now + KNOWN_SECONDS

    def forget(self, room_names: list[str]) -> None:
        """Another edge has delivered in these rooms meanwhile."""
        for name in room_names:
            del self.rooms[name]

    def arrived(self, event: Event, now: float) -> None:
        """The recipient has taken, or refused, a message: it is there."""
        self.is_back()
        if not event.catch_up:
            return
        self.known_until = now + KNOWN_SECONDS
        room = self._room(event.room)
        room.until = self.known_until
        room.extend(event)

    def forget_arrivals(self, room_name: str) -> None:
        """The recipient does not know this room. A device that is then invited again gets all anew."""
        room = self.rooms.get(room_name)
        if room is not None:
            room.arrived, room.leads_on = None, False

    # --- what follows

    def has_arrived(self, event: Event) -> bool:
        """Whether the recipient has this message of the history already."""
        room = self.rooms.get(event.room)
        if room is None or room.arrived is None:
            return False
        first, last = room.arrived
        return first <= parse(event.position) <= last

    def withholds(self, event: Event, now: float) -> bool:
        """Whether a stored message must end unsent."""
        if event.joined:
            self._begin_anew(event)
        if event.catch_up == PROBE:
            # one probe per user and edge: not so soon after another delivery failed
            return now - self.failed_at < event.wait / 2000 or self._is_overtaken_by(event, now)
        if now < self.away_until:
            return True
        room = self.rooms.get(event.room)
        if room is None or room.failed is None or now >= room.until:
            return False
        # A part that starts behind the failed message was handed out before that failed, unless it says that
        # what lies before it is not sent any more.
        start = missed_from(event)
        if event.catch_up and start <= room.failed:
            if event.since or start == room.failed:
                room.failed = None  # from here on the history follows, in order
            return False
        return True

    def _begin_anew(self, event: Event) -> None:
        """What failed before is not sent any more: the recipient has joined the room since, or nothing of it
        is left, as when it has expired."""
        room = self.rooms.get(event.room)
        if room is not None and room.failed is not None and room.failed < parse(event.joined):
            room.failed = None

    def _is_overtaken_by(self, probe: Event, now: float) -> bool:
        """Whether an earlier message has failed of which the worker did not know when it sent this probe."""
        room = self.rooms.get(probe.room)
        if room is None or room.failed is None or now >= room.until:
            return False
        return room.failed < missed_from(probe)

    def _room(self, name: str) -> RoomAbsence:
        room = self.rooms.pop(name, None) or RoomAbsence()
        if len(self.rooms) >= MAX_ROOMS:
            del self.rooms[next(iter(self.rooms))]
        self.rooms[name] = room  # last: the one that was changed last is forgotten last
        return room


def missed_from(event: Event) -> Position:
    """From where on the member had missed messages, as far as the worker knew, when this one was sent."""
    return parse(event.since or event.position)


def behind(position: Position) -> Position:
    """The position of whatever follows this one."""
    return position[0], position[1] + 1


def parse(position: str) -> Position:
    """The two numbers of a stream's id, which compare as the ids do."""
    milliseconds, _, number = position.partition("-")
    return int(milliseconds), int(number or "0")
