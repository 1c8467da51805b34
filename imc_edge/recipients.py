"""The recipients that are known, bounded in number."""

from __future__ import annotations

from collections.abc import Callable

from imc_edge.recipient import Recipient


class Recipients:
    """All recipients seen lately."""

    def __init__(self, make: Callable[[str], Recipient], limit: int) -> None:
        self.known: dict[str, Recipient] = {}
        """By address; always the same dictionary."""
        self._make = make
        self._limit = limit
        self._full = limit

    def add(self, address: str) -> Recipient:
        """A recipient that is not known yet; it is from now on. Raises `UnsendableError`."""
        made = self._make(address)
        if len(self.known) >= self._full:
            self._forget()
        self.known[address] = made
        return made

    def _forget(self) -> None:
        """Drop the idle ones, they are made anew when needed; held ones, too, if that is not enough."""
        keep = [each for each in self.known.values() if not each.idle]
        if len(keep) > self._limit // 2:
            keep = [each for each in keep if each.outgoing is not None]
        self.known.clear()
        for each in keep:
            self.known[each.address] = each
        # those with a delivery in flight are bounded elsewhere; not to be gone through for each newcomer
        self._full = max(self._limit, 2 * len(keep))
