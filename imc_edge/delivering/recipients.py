"""The recipients that are known, bounded in number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Final

from imc_edge.delivering.recipient import Recipient

NEWCOMERS: Final = 1024
"""So many are few enough to stay in a processor's cache."""
STAYS: Final = 8
"""Of so many siftings, the newcomers of one stay."""
WORTH: Final = 16
"""Those that stayed go, too, unless one of them was asked for with every so many newcomers at least."""


class Recipients:
    """Recipients seen lately.

    Among millions of users nearly all are met once in a long while, and are made anew each time. To keep
    every one of them costs more than to make it: memory that nothing has touched for long. So of those made
    lately most go soon, whoever they are, and one in eight stays for long. Who comes often is made a few
    times more, until he is among those that stay; that holds, too, for a room of more members than there are
    newcomers, all of whom come in turn. Where nobody comes often, those that stayed go, too,
    but for those held off.
    """

    def __init__(self, make: Callable[[str], Recipient], limit: int) -> None:
        self._make = make
        self._limit = limit
        self._newcomers: dict[str, Recipient] = {}
        self._most_newcomers = min(limit, NEWCOMERS)
        self._sifted = 0
        self._made = 0
        """Newcomers since the last that stayed."""
        self._found = 0
        """How often those that stayed were asked for since then."""
        self._stayed: dict[str, Recipient] = {}
        self._most_stayed = limit

    def __len__(self) -> int:
        return len(self._newcomers) + len(self._stayed)

    def __iter__(self) -> Iterator[Recipient]:
        return chain(self._newcomers.values(), self._stayed.values())

    def get(self, address: str) -> Recipient | None:
        """The recipient of this address, if it is known."""
        known = self._newcomers.get(address)
        if known is None:
            known = self._stayed.get(address)
            if known is not None:
                self._found += 1
        return known

    def add(self, address: str) -> Recipient:
        """A recipient that is not known yet; it is from now on. Raises `UnsendableError`."""
        made = self._make(address)
        if len(self._newcomers) >= self._most_newcomers:
            self._sift()
        self._newcomers[address] = made
        self._made += 1
        return made

    def _sift(self) -> None:
        """Drop most of the newcomers that are idle; they are made anew when needed."""
        busy: dict[str, Recipient] = {}
        self._sifted += 1
        stays = self._sifted % STAYS == 0
        if stays:
            if self._found * WORTH < self._made:
                self._drop_idle()
            self._made = self._found = 0
        for address, each in self._newcomers.items():
            if each.outgoing is not None:
                busy[address] = each
            elif stays or each.held_until:
                self._stayed[address] = each
        self._newcomers = busy
        # those with a delivery in flight are bounded elsewhere; not to be gone through for each newcomer
        self._most_newcomers = max(min(self._limit, NEWCOMERS), 2 * len(busy))
        if len(self._stayed) >= self._most_stayed:
            self._make_room()

    def _make_room(self) -> None:
        """Drop the idle ones that stayed; those held off, too, if that is not enough."""
        self._drop_idle()
        if len(self._stayed) > self._limit // 2:
            self._stayed = {
                address: each for address, each in self._stayed.items() if each.outgoing is not None
            }
        self._most_stayed = max(self._limit, 2 * len(self._stayed))

    def _drop_idle(self) -> None:
        self._stayed = {address: each for address, each in self._stayed.items() if not each.idle}
