"""Numbers by name, of those that were stored last."""

from __future__ import annotations

from collections.abc import Hashable


class Recent:
    """Remembers at least the ``size`` names stored last, and less than twice as many.

    When one dictionary is full, it becomes the old one and replaces the last old one. They are small on
    purpose: one with all users of the last minutes would be in no cache of the processor, and cost more than
    the rest of the work for a message.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._new: dict[Hashable, int] = {}
        self._old: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self._new) + len(self._old)

    def get(self, name: Hashable) -> int | None:
        """The number stored last; None if there is none, or it is forgotten."""
        number = self._new.get(name)
        return self._old.get(name) if number is None else number

    def put(self, name: Hashable, number: int) -> None:
        """Store a number."""
        new = self._new
        new[name] = number
        if len(new) >= self._size:
            self._old, self._new = new, {}

    def clear(self) -> None:
        """Forget all."""
        self._new, self._old = {}, {}
