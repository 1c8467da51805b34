"""Numbers by name, of those that were used lately."""

from __future__ import annotations

from collections.abc import Hashable


class Recent:
    """Remembers twice so many at most, and so many of those put last at least.

    Two dictionaries take turns: what is not put again while one fills up goes with the other. They are small
    on purpose: one that holds all users of the last minutes is in no cache of the processor, and costs more
    than all else that is done for a message.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._new: dict[Hashable, int] = {}
        self._old: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self._new) + len(self._old)

    def get(self, name: Hashable) -> int | None:
        """What was put last; None: nothing, or it is forgotten."""
        number = self._new.get(name)
        return self._old.get(name) if number is None else number

    def put(self, name: Hashable, number: int) -> None:
        """Remember it."""
        new = self._new
        new[name] = number
        if len(new) >= self._most:
            self._old, self._new = new, {}

    def clear(self) -> None:
        """Forget all."""
        self._new, self._old = {}, {}
