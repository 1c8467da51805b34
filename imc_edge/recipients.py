"""The recipients that are known, bounded in number."""

from __future__ import annotations

from collections.abc import Callable

from imc_edge.recipient import Recipient


class Recipients:
    """All recipients seen lately, by address."""

    def __init__(self, make: Callable[[str], Recipient], limit: int) -> None:
        self._make = make
        self._limit = limit
        self._full = limit
        self._by_address: dict[str, Recipient] = {}

    def __len__(self) -> int:
        return len(self._by_address)

    def get(self, address: str) -> Recipient | None:
        """The recipient, if it is known already."""
        return self._by_address.get(address)

    def meet(self, address: str) -> Recipient:
        """The recipient, made anew if need be. Raises `UnsendableError`."""
        found = self._by_address.get(address)
        if found is None:
            if len(self._by_address) >= self._full:
                self._forget()
            found = self._by_address[address] = self._make(address)
        return found

    def _forget(self) -> None:
        """Drop the idle ones, they are made anew when needed; held ones, too, if that is not enough."""
        keep = {a: r for a, r in self._by_address.items() if not r.idle}
        if len(keep) > self._limit // 2:
            keep = {a: r for a, r in keep.items() if r.outgoing is not None}
        self._by_address = keep
        # those with a delivery in flight are bounded elsewhere; not to be gone through for each newcomer
        self._full = max(self._limit, 2 * len(keep))
