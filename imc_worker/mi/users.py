"""What the service knows of one user in its rooms: shown, deleted, and when the user is back.

A request under data-protection law needs the first two. Rooms of all shards are read, a page at a time, with
pauses, because messages of a user may also be in rooms that the user has left.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from imc_common.presence import user_is_online
from imc_common.settings import Settings
from imc_common.store.protocols import CommandRunner
from imc_worker.mi.operate import Operator
from imc_worker.mi.room_records import RoomRecords
from imc_worker.mi.rooms import Rooms
from imc_worker.mi.shard_records import ShardRecords

PAUSE: Final = 0.01
"""Seconds between two pages, so that other commands of Redis come between."""


class UserRecords:
    """Every method raises StoreUnreachable and ReplyError."""

    def __init__(self, store: CommandRunner, rooms: Rooms, operator: Operator, settings: Settings) -> None:
        self._store = store
        self._rooms = rooms
        self._operator = operator
        self._of_shards = ShardRecords(store, settings)
        self._of_rooms = RoomRecords(store, settings)
        self._hash_size = settings.hash_size

    async def online(self, user: str) -> int:
        """The user is back: what was missed is handed out. Returns the number of shards that do so."""
        return await user_is_online(self._store, user, 1 << self._hash_size)

    async def export(self, user: str) -> dict[str, Any]:
        """Where the user is a member, or banned, what the user wrote that rooms still keep, and all else that
        Redis holds for longer than an hour, but for hashes of passwords and of addresses."""
        found: dict[str, list[Any]] = {
            name: []
            for name in (
                *("ROOMS", "BANNED_FROM", "CREATOR_OF", "LEFT", "BANNED", "INVITED", "MESSAGES"),
                *("ASKED_FOR_RECEIPTS", "SENT_RECEIPTS"),
            )
        }
        async for page in self._rooms.pages():
            for room in page:
                for name, records in (await self._of_rooms.of(room, user)).items():
                    found[name] += records
            await asyncio.sleep(PAUSE)
        return {
            "USER": f"sip:{user}",
            **found,
            **await self._of_shards.about(user),
            "FAREWELLS": await self._of_shards.farewells(user),
            "FAILED_DELIVERIES": await self._of_shards.failures(user),
            "DEAD_LETTERS": await self._of_shards.dead_letters(user),
        }

    async def forget(self, user: str) -> dict[str, Any]:
        """Remove the user from every room and delete what the user wrote that rooms keep.

        Rooms that only this user owns are kept, with the user: they have to get another owner first, or be
        destroyed. Bans of the user stay: they protect others.
        """
        await self._of_shards.begin_to_forget(user)
        left, kept = await self._operator.kick(user)
        deleted = 0
        async for page in self._rooms.pages():
            for room in page:
                deleted += await self._of_rooms.forget(room, user)
            await asyncio.sleep(PAUSE)
        await self._of_shards.forget(user)
        return {
            "USER": f"sip:{user}",
            "LEFT": [f"sip:{room}" for room in left],
            "KEPT": [f"sip:{room}" for room in kept],
            "MESSAGES_DELETED": deleted,
        }
