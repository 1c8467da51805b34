"""What is sent to unresponsive recipients at the same time, and what may wait for them: shared by senders.

A recipient that does not respond costs a transaction for 32 s (Timer F), and a reference for each delivery
that waits for it. Both are limited for each sender, and what waits for each room too. So a sender with many
silent recipients waits for its own ones, while the messages of others go out.

A delivery to an unresponsive recipient needs a *place* to be sent. If its sender has none left, the recipient
joins the sender's line until one is free. Nothing is made for it: a recipient has its delivery anyway.
Responsive recipients need no place and are not counted here.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from imc_common.address import counted_as
from imc_edge.delivering.outgoing import Outgoing

if TYPE_CHECKING:  # a recipient knows its places
    from imc_edge.delivering.recipient import Recipient

SHARES: Final = 8
"""A sender may have this part of all places, and of all that may wait; a room this part of what may wait."""
MIN_PENDING_EACH: Final = 5000
"""What may wait for a sender or a room at least: ten messages to a large room of silent members."""
RESERVED: Final = 32
"""A sender with fewer places in use gets one even if others use up all. So a user who writes to very many
silent recipients, under any number of names, cannot keep others from reaching new ones."""


class _Share:
    """What one sender has in flight to unresponsive recipients, or waiting for them."""

    __slots__ = ("in_flight", "line", "on_trial", "pending")

    def __init__(self) -> None:
        self.in_flight = 0
        """Deliveries that have a place."""
        self.on_trial = 0
        """Those of them whose recipients are new, and may respond yet."""
        self.pending = 0
        """All deliveries to unresponsive recipients, also those that wait."""
        self.line: deque[Recipient] = deque()
        """Recipients whose current delivery waits for a place."""


class Places:
    """Counts the deliveries to unresponsive recipients, and gives places to them."""

    def __init__(self, max_in_flight: int) -> None:
        self.pending = 0
        """Deliveries to unresponsive recipients, with a place or without."""
        self.in_flight = 0
        """Those with a place."""
        self._senders: dict[str, _Share] = {}
        self._rooms: dict[str, int] = {}
        self._with_line: dict[_Share, None] = {}
        """Senders with a line; the one whose turn is next comes first."""
        self._is_starting = False
        self.resize(max_in_flight)

    def resize(self, max_in_flight: int) -> None:
        """Derive the limits from that of responsive recipients."""
        self._max_in_flight = 4 * max_in_flight
        self._max_in_flight_each = max(1, self._max_in_flight // SHARES)
        self._max_trials_each = 2 * self._max_in_flight_each
        self._max_pending_each = max(MIN_PENDING_EACH, 20 * max_in_flight // SHARES)
        self._max_pending = SHARES * self._max_pending_each

    # --- what waits

    def allows(self, outgoing: Outgoing) -> bool:
        """Whether one more delivery of this event may wait for an unresponsive recipient."""
        if not self.pending:
            return True
        sender, room = _names(outgoing)
        share = self._senders.get(sender)
        return (
            self.pending < self._max_pending
            and (share is None or share.pending < self._max_pending_each)
            and self._rooms.get(room, 0) < self._max_pending_each
        )

    def add(self, outgoing: Outgoing) -> None:
        """A delivery of this event is to go to an unresponsive recipient, or its recipient became so."""
        sender, room = _names(outgoing)
        share = self._senders.get(sender)
        if share is None:
            share = self._senders[sender] = _Share()
        share.pending += 1
        self.pending += 1
        self._rooms[room] = self._rooms.get(room, 0) + 1

    def remove(self, outgoing: Outgoing) -> None:
        """A delivery that was added has ended or left, or its recipient became responsive."""
        sender, room = _names(outgoing)
        share = self._senders[sender]
        share.pending -= 1
        self.pending -= 1
        if not share.pending:
            del self._senders[sender]
        left = self._rooms[room] - 1
        if left:
            self._rooms[room] = left
        else:
            del self._rooms[room]

    # --- what is sent

    def are_used_up(self, outgoing: Outgoing) -> bool:
        """Whether the sender of this event has no place left, and silent recipients are the reason.

        Recipients that are new may respond at once, so those on trial are no reason to let others wait.
        """
        if not self.pending:
            return False
        share = self._senders.get(_names(outgoing)[0])
        return (
            share is not None
            and not self._is_free(share)
            and 2 * (share.in_flight - share.on_trial) >= self._max_in_flight_each
        )

    def allow_trials(self, outgoing: Outgoing) -> bool:
        """Whether new recipients of this event may be sent to on trial (`Recipient.distrust`)."""
        share = self._senders.get(_names(outgoing)[0])
        return self.in_flight < self._max_in_flight and (
            share is None or share.in_flight < self._max_trials_each
        )

    def begin_trial(self, outgoing: Outgoing) -> None:
        """A delivery that was added is sent to a new recipient, which has a place without waiting."""
        share = self._senders[_names(outgoing)[0]]
        share.on_trial += 1
        self._occupy(share)

    def end_trial(self, outgoing: Outgoing) -> None:
        """The new recipient has responded, or T1 has passed; its place is released apart from this."""
        self._senders[_names(outgoing)[0]].on_trial -= 1

    def take(self, outgoing: Outgoing) -> bool:
        """Take a place for a delivery that was added; False if there is none, or others are first."""
        share = self._senders[_names(outgoing)[0]]
        if share.line or not self._is_free(share):
            return False
        self._occupy(share)
        return True

    def occupy(self, outgoing: Outgoing) -> None:
        """Note that a delivery that was added is in flight already."""
        self._occupy(self._senders[_names(outgoing)[0]])

    def line_up(self, recipient: Recipient, outgoing: Outgoing) -> None:
        """Have `Recipient.start` called when there is a place for its delivery."""
        share = self._senders[_names(outgoing)[0]]
        share.line.append(recipient)
        self._with_line.setdefault(share, None)

    def release(self, outgoing: Outgoing) -> None:
        """Give back the place of a delivery, before it is removed; those first in line get their turn."""
        share = self._senders[_names(outgoing)[0]]
        share.in_flight -= 1
        self.in_flight -= 1
        if self._with_line and not self._is_starting:
            self._start()

    def _start(self) -> None:
        """Start recipients while there are places, one of each sender in turn."""
        self._is_starting = True  # what starts now may end at once and release its place
        try:
            while (share := self._next_share()) is not None:
                del self._with_line[share]
                recipient = share.line.popleft()
                if share.line:
                    self._with_line[share] = None  # behind the other senders
                self._occupy(share)
                recipient.start()
        finally:
            self._is_starting = False

    def _next_share(self) -> _Share | None:
        """The first sender with a line and a free place. Few have a line: one whose places are in use."""
        for share in self._with_line:
            if self._is_free(share):
                return share
        return None

    def _is_free(self, share: _Share) -> bool:
        return share.in_flight < self._max_in_flight_each and (
            self.in_flight < self._max_in_flight or share.in_flight < RESERVED
        )

    def _occupy(self, share: _Share) -> None:
        share.in_flight += 1
        self.in_flight += 1


def _names(outgoing: Outgoing) -> tuple[str, str]:
    """Whom and what the limits count: the sender, at whatever port, and the room."""
    names = outgoing.counted_as
    if names is None:
        event = outgoing.event
        names = outgoing.counted_as = (counted_as(event.actor), event.room)
    return names
