"""The header fields of one message, in their order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from imc_common.sip.header_names import key, long_name


class Headers:
    """Names and values as they came, except that folded lines are joined and compact names are long.

    Look-ups take a name in any case, long or compact.
    """

    __slots__ = ("_index", "items")

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self.items: tuple[tuple[str, str], ...] = tuple([(long_name(name), value) for name, value in items])
        index: dict[str, list[str]] = {}
        for name, value in self.items:
            index.setdefault(key(name), []).append(value)
        self._index = index

    @classmethod
    def from_parser(cls, items: list[tuple[str, str]], index: dict[str, list[str]]) -> Headers:
        """Headers whose names the parser has made long, with the index it built on the way."""
        headers = cls.__new__(cls)
        headers.items = tuple(items)
        headers._index = index  # noqa: SLF001  a second constructor
        return headers

    def get(self, name: str) -> str | None:
        """The first value of that name, None if there is none."""
        values = self._index.get(key(name))
        return None if values is None else values[0]

    def get_all(self, name: str) -> list[str]:
        """All values of that name, in order; a list in one line counts as one."""
        values = self._index.get(key(name))
        return [] if values is None else list(values)

    def __contains__(self, name: str) -> bool:
        return key(name) in self._index

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self.items == other.items

    def __hash__(self) -> int:
        return hash(self.items)

    def __repr__(self) -> str:
        return f"Headers({list(self.items)!r})"

    def __str__(self) -> str:
        return "".join([f"{name}: {value}\r\n" for name, value in self.items])
