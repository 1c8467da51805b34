"""The recipients that are known, bounded in number."""

from __future__ import annotations

from collections.abc import Callable

from imc_edge.recipient import Recipient


class Recipients(dict[str, Recipient]):
    """All recipients seen lately, by address: ``recipients[address]`` makes one that is not known.

    That may raise `UnsendableError`.
    """

    def __init__(self, make: Callable[[str], Recipient], limit: int) -> None:
        super().__init__()
        self._make = make
        self._limit = limit
        self._full = limit

    def __missing__(self, address: str) -> Recipient:
        made = self._make(address)
        if len(self) >= self._full:
            self._forget()
        self[address] = made
        return made

    def _forget(self) -> None:
        """Drop the idle ones, they are made anew when needed; held ones, too, if that is not enough."""
        keep = {address: each for address, each in self.items() if not each.idle}
        if len(keep) > self._limit // 2:
            keep = {address: each for address, each in keep.items() if each.outgoing is not None}
        self.clear()
        self.update(keep)
        # those with a delivery in flight are bounded elsewhere; not to be gone through for each newcomer
        self._full = max(self._limit, 2 * len(keep))
