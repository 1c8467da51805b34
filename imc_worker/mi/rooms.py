"""Reads rooms for operators, in pages, so that no long list blocks Redis for more than a moment."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

from imc_common.keys import Keys, shard_of
from imc_common.rooms.roles import INVITED, RANKS, is_away, role_of
from imc_common.settings import Settings
from imc_common.store import Command
from imc_common.store.protocols import CommandRunner
from imc_worker.mi.run_all import run_all

PAGE = 200
"""Rooms read per round trip."""
FIELDS = 4000
"""Members read per pipeline: about a millisecond of Redis's time."""


class RoomState(NamedTuple):
    """A room; `members` maps addresses to roles, invited users too; those in `away` could not be reached."""

    address: str
    private: bool
    owner: str
    created_at: int
    members: dict[str, str]
    away: frozenset[str] = frozenset()

    def present(self) -> list[str]:
        """The members without the invited, by role and address."""
        there = [(RANKS.get(role, len(RANKS)), one) for one, role in self.members.items() if role != INVITED]
        return [one for _, one in sorted(there)]


class Rooms:
    """The rooms of all shards. Every method raises StoreUnreachable, and ReplyError for keys of a wrong
    type."""

    def __init__(self, store: CommandRunner, settings: Settings) -> None:
        self._store = store
        self._hash_size = settings.hash_size
        self._names = Keys(settings.rooms_table, settings.members_table)

    async def count(self) -> int:
        """The number of rooms."""
        shards = range(1 << self._hash_size)
        replies = await run_all(self._store, [("ZCARD", self._names.rooms(shard)) for shard in shards])
        return int(sum(replies))

    async def get(self, address: str) -> RoomState | None:
        """One room, or None if it does not exist."""
        shard = shard_of(address, self._hash_size)
        found = await self._rooms(shard, [address])
        return found[0] if found else None

    async def pages(self) -> AsyncIterator[list[RoomState]]:
        """All rooms, one page at a time, each once. Rooms created or destroyed meanwhile may be missing."""
        for shard in range(1 << self._hash_size):
            cursor, seen = b"0", set[str]()
            while True:
                scan: Command = ("ZSCAN", self._names.rooms(shard), cursor, "COUNT", PAGE)
                ((cursor, found),) = await run_all(self._store, [scan])
                fresh = [room for room in map(bytes.decode, found[::2]) if room not in seen]
                seen.update(fresh)
                for first in range(0, len(fresh), PAGE):
                    yield await self._rooms(shard, fresh[first : first + PAGE])
                if cursor == b"0":
                    break

    async def _rooms(self, shard: int, addresses: list[str]) -> list[RoomState]:
        commands: list[Command] = []
        for address in addresses:
            fields = ("private", "owner", "created_at")
            commands.append(("HMGET", self._names.room(shard, address), *fields))
            commands.append(("HLEN", self._names.members(shard, address)))
        replies = await run_all(self._store, commands)
        heads, sizes = replies[::2], replies[1::2]
        members = await self._members([self._names.members(shard, one) for one in addresses], sizes)
        return [
            _room(address, head, of_room)
            for address, head, of_room in zip(addresses, heads, members, strict=True)
            if head[0] is not None
        ]

    async def _members(self, names: list[str], sizes: list[int]) -> list[dict[str, bytes]]:
        """The members of each of these keys, in short pipelines."""
        found: list[dict[str, bytes]] = []
        batch: list[Command] = []
        fields = 0
        for name, size in zip(names, sizes, strict=True):
            if batch and fields + size > FIELDS:
                found += map(_mapping, await run_all(self._store, batch))
                batch, fields = [], 0
            if size > FIELDS:
                found.append(await self._scanned(name))
            else:
                batch.append(("HGETALL", name))
                fields += size
        return found + list(map(_mapping, await run_all(self._store, batch)))

    async def _scanned(self, name: str) -> dict[str, bytes]:
        members: dict[str, bytes] = {}
        cursor = b"0"
        while True:
            ((cursor, flat),) = await run_all(self._store, [("HSCAN", name, cursor, "COUNT", FIELDS // 4)])
            members |= _mapping(flat)
            if cursor == b"0":
                return members


def _mapping(flat: list[bytes]) -> dict[str, bytes]:
    return {flat[i].decode(): flat[i + 1] for i in range(0, len(flat), 2)}


def _room(address: str, head: list[bytes | None], values: dict[str, bytes]) -> RoomState:
    """The owner shown is the creator, or if the creator is no owner any more, the first owner."""
    members = {one: role_of(value) for one, value in values.items()}
    away = frozenset(one for one, value in values.items() if is_away(value))
    maker = (head[1] or b"").decode()
    owners = sorted(one for one, role in members.items() if role == "owner")
    owner = maker if maker in owners or not owners else owners[0]
    made = head[2] or b"0"
    return RoomState(address, head[0] == b"1", owner, int(made) if made.isdigit() else 0, members, away)
