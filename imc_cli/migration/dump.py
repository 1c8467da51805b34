"""Reads rooms from Redis, a page at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator

from imc_cli.migration.rows import Room
from imc_common.keys import Keys
from imc_common.rooms.roles import role_of
from imc_common.settings import Settings
from imc_common.store import Store

PAGE = 500


async def dump(store: Store, settings: Settings) -> AsyncIterator[Room]:
    """All rooms, by shard, the public rooms of each shard first, ordered by address.

    Rooms that are created or destroyed meanwhile may be missing. Raises StoreUnreachable.
    """
    table = Keys(settings.rooms_table, settings.members_table)
    for shard in range(1 << settings.hash_size):
        start = 0
        while True:
            [page] = await store.run([("ZRANGE", table.rooms(shard), start, start + PAGE - 1)])
            if not page:
                break
            for room in await _rooms(store, table, shard, [name.decode() for name in page]):
                yield room
            start += len(page)


async def _rooms(store: Store, table: Keys, shard: int, names: list[str]) -> list[Room]:
    private = await store.run([("HGET", table.room(shard, name), "private") for name in names])
    members = await store.run([("HGETALL", table.members(shard, name)) for name in names])
    rooms = []
    for name, flag, flat in zip(names, private, members, strict=True):
        roles = {flat[at].decode(): role_of(flat[at + 1]) for at in range(0, len(flat), 2)}
        rooms.append(Room(name, flag == b"1", roles))
    return rooms
