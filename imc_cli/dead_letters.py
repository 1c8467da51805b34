"""Dead letters: entries that could not be handled. An operator inspects, retries or drops them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from imc_common import keys
from imc_common.errors import ImcError
from imc_common.store import ReplyError, Store

PAGE = 200


class DeadLetterError(ImcError):
    """The name of a dead letter is wrong, or Redis refuses a command."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter. ``fields``: those of the original entry. ``at``: ms since the epoch."""

    shard: int
    id: str
    stream: str
    reason: str
    at: int
    fields: dict[str, bytes]

    @property
    def name(self) -> str:
        """Its name on the command line: ``SHARD/ID``."""
        return f"{self.shard}/{self.id}"

    def text(self, field: str) -> str:
        """A field as text; empty if it is missing."""
        return self.fields.get(field, b"").decode(errors="backslashreplace")


def parse_name(name: str, shards: int) -> tuple[int, str]:
    """Shard and id in the name of a dead letter. Raises DeadLetterError."""
    shard, _, entry = name.partition("/")
    millis, _, sequence = entry.partition("-")
    numbers = (shard, millis, sequence)
    if not all(number.isascii() and number.isdigit() for number in numbers) or int(shard) >= shards:
        raise DeadLetterError(f"{name!r} is not a dead letter: use SHARD/ID, such as 3/1700000000000-0")
    return int(shard), entry


async def letters(store: Store, shards: int) -> AsyncIterator[DeadLetter]:
    """All dead letters, by shard, the oldest first. Raises StoreUnreachable, DeadLetterError."""
    for shard in range(shards):
        start = "-"
        while page := await _range(store, shard, start, "+"):
            for letter in page:
                yield letter
            start = f"({page[-1].id}"


async def find(store: Store, shard: int, entry: str) -> DeadLetter:
    """One dead letter. Raises DeadLetterError if it does not exist, and StoreUnreachable."""
    found = await _range(store, shard, entry, entry)
    if not found:
        raise DeadLetterError(f"dead letter {shard}/{entry} does not exist")
    return found[0]


async def retry(store: Store, letter: DeadLetter) -> bool:
    """Append the entry to its stream again. False if the letter is gone. Raises StoreUnreachable."""
    command = store.script("retry_dead_letter", [keys.dead(letter.shard), letter.stream], [letter.id])
    [reply] = await store.run([command])
    return bool(_checked(reply) == b"done")


async def drop(store: Store, letter: DeadLetter) -> bool:
    """Delete the letter. False if it is gone already. Raises StoreUnreachable."""
    [reply] = await store.run([("XDEL", keys.dead(letter.shard), letter.id)])
    return bool(_checked(reply))


async def _range(store: Store, shard: int, start: str, end: str) -> list[DeadLetter]:
    [reply] = await store.run([("XRANGE", keys.dead(shard), start, end, "COUNT", PAGE)])
    found = []
    for entry, flat in _checked(reply):
        names = [name.decode(errors="backslashreplace") for name in flat[::2]]
        fields = dict(zip(names, flat[1::2], strict=True))
        about = {
            name: fields.pop(f"dead_{name}", b"").decode() for name in ("stream", "entry", "reason", "at")
        }
        letter = DeadLetter(
            shard, entry.decode(), about["stream"], about["reason"], int(about["at"] or 0), fields
        )
        found.append(letter)
    return found


def _checked(reply: Any) -> Any:
    if isinstance(reply, ReplyError):
        raise DeadLetterError(str(reply))
    return reply
