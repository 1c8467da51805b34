"""A queue in which those who have put something in take turns."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """What each has put in keeps its order; who has put in much delays nobody else by more than one item."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[T]] = {}
        """By who has put it in; whose turn is next comes first. None is empty."""

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def __bool__(self) -> bool:
        return bool(self._lines)

    def __iter__(self) -> Iterator[T]:
        for line in self._lines.values():
            yield from line

    def add(self, who: str, item: T, *, first: bool = False) -> None:
        """Put an item behind the others of the same one, or before them."""
        line = self._lines.setdefault(who, deque())
        if first:
            line.appendleft(item)
        else:
            line.append(item)

    def next(self) -> T:
        """Take the next item of the one whose turn it is. Raises `StopIteration` if there is none."""
        who = next(iter(self._lines))
        line = self._lines.pop(who)
        item = line.popleft()
        if line:
            self._lines[who] = line
        return item

    def clear(self) -> None:
        """Take all out."""
        self._lines.clear()
