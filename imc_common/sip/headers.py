"""The header fields of one message, in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from imc_common.sip.header_names import LONG_NAMES, SPELLINGS, key, long_name


class Headers:
    """Names and values as received, but with folded lines joined and long names for compact ones.

    Look-ups accept a name in any case, long or compact. ``first`` has the first value of each name, by
    ``header_names.key``; ``repeated`` has the keys of the further ones.
    """

    __slots__ = ("_items", "first", "repeated")

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self._items: tuple[tuple[str, str], ...] = tuple([(long_name(name), value) for name, value in items])
        self.first: dict[str, str] = {}
        self.repeated: list[str] = []
        for name, value in self._items:
            folded = key(name)
            if folded in self.first:
                self.repeated.append(folded)
            else:
                self.first[folded] = value

    @classmethod
    def from_parser(cls, items: list[tuple[str, str]], first: dict[str, str], repeated: list[str]) -> Headers:
        """Headers with long names, and the look-up tables that the parser built."""
        headers = cls.__new__(cls)
        headers._items = tuple(items)  # noqa: SLF001 # a constructor of this class
        headers.first = first
        headers.repeated = repeated
        return headers

    @property
    def items(self) -> tuple[tuple[str, str], ...]:
        """All fields in order."""
        return self._items

    def get(self, name: str) -> str | None:
        """The first value of this name; None if there is none."""
        value = self.first.get(name)
        return value if value is not None or name in LONG_NAMES else self.first.get(key(name))

    def get_all(self, name: str) -> list[str]:
        """All values of this name, in order. A list in one line counts as one value."""
        folded = key(name)
        if folded in self.repeated:
            if folded in SPELLINGS:  # then all fields with this name have the long one
                return [value for other, value in self.items if other == folded]
            return [value for other, value in self.items if key(other) == folded]
        value = self.first.get(folded)
        return [] if value is None else [value]

    def __contains__(self, name: str) -> bool:
        return name in self.first or (name not in LONG_NAMES and key(name) in self.first)

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
