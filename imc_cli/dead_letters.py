"""Entries that could not be handled: seen, tried again, or dropped by an operator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from imc_common import keys
from imc_common.errors import ImcError
from imc_common.store import ReplyError, Store

PAGE = 200


class LetterError(ImcError):
    """A dead letter's name makes no sense, or Redis refuses what is to be done with it."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter: ``fields`` are those of the entry as it was, ``at`` is in ms since the epoch."""

    shard: int
    id: str
    stream: str
    reason: str
    at: int
    fields: dict[str, bytes]

    @property
    def name(self) -> str:
        """How a person names it: ``SHARD/ID``."""
        return f"{self.shard}/{self.id}"

    def text(self, field: str) -> str:
        """A field of the entry as text; empty if it has none."""
        return self.fields.get(field, b"").decode(errors="backslashreplace")


def parse_name(name: str, shards: int) -> tuple[int, str]:
    """Shard and id of a letter's name. Raises `LetterError`."""
    shard, _, entry = name.partition("/")
    millis, _, sequence = entry.partition("-")
    numbers = (shard, millis, sequence)
    if not all(number.isascii() and number.isdigit() for number in numbers) or int(shard) >= shards:
        raise LetterError(f"{name!r} is no dead letter: they are named SHARD/ID, like 3/1700000000000-0")
    return int(shard), entry


async def letters(store: Store, shards: int) -> AsyncIterator[Letter]:
    """All dead letters, shard by shard, the oldest first. Raises `StoreUnreachable`, `LetterError`."""
    for shard in range(shards):
        start = "-"
        while page := await _range(store, shard, start, "+"):
            for letter in page:
                yield letter
            start = f"({page[-1].id}"


async def find(store: Store, shard: int, entry: str) -> Letter:
    """One letter. Raises `LetterError` if it is not there, `StoreUnreachable`."""
    found = await _range(store, shard, entry, entry)
    if not found:
        raise LetterError(f"there is no dead letter {shard}/{entry}")
    return found[0]


async def retry(store: Store, letter: Letter) -> bool:
    """Puts the entry back into its stream; False if the letter was gone. Raises `StoreUnreachable`."""
    command = store.script("retry_dead_letter", [keys.dead(letter.shard), letter.stream], [letter.id])
    [reply] = await store.run([command])
    return bool(_checked(reply) == b"done")


async def drop(store: Store, letter: Letter) -> bool:
    """Deletes the letter for good; False if it was gone. Raises `StoreUnreachable`."""
    [reply] = await store.run([("XDEL", keys.dead(letter.shard), letter.id)])
    return bool(_checked(reply))


async def _range(store: Store, shard: int, start: str, end: str) -> list[Letter]:
    [reply] = await store.run([("XRANGE", keys.dead(shard), start, end, "COUNT", PAGE)])
    found = []
    for entry, flat in _checked(reply):
        names = [name.decode(errors="backslashreplace") for name in flat[::2]]
        fields = dict(zip(names, flat[1::2], strict=True))
        about = {
            name: fields.pop(f"dead_{name}", b"").decode() for name in ("stream", "entry", "reason", "at")
        }
        letter = Letter(
            shard, entry.decode(), about["stream"], about["reason"], int(about["at"] or 0), fields
        )
        found.append(letter)
    return found


def _checked(reply: Any) -> Any:
    if isinstance(reply, ReplyError):
        raise LetterError(str(reply))
    return reply
