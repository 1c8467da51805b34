"""What the service knows of one user in its rooms: shown, deleted, and when the user is back.

A request under data-protection law needs the first two. Rooms of all shards are read, a page at a time, with
pauses, because messages of a user may also be in rooms that the user has left.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from imc_common import keys
from imc_common.devices import user_of
from imc_common.keys import Keys, shard_of
from imc_common.presence import user_is_online
from imc_common.rooms.request import EntryError, RequestData
from imc_common.settings import Settings
from imc_common.store import Command, ReplyError
from imc_common.store.protocols import CommandRunner
from imc_worker.mi.operate import Operator
from imc_worker.mi.rooms import Rooms, RoomState

ENTRIES: Final = 500
"""Messages read per round trip."""
PAUSE: Final = 0.01
"""Seconds between two pages, so that other commands of Redis come between."""


class UserRecords:
    """Every method raises StoreUnreachable and ReplyError."""

    def __init__(self, store: CommandRunner, rooms: Rooms, operator: Operator, settings: Settings) -> None:
        self._store = store
        self._rooms = rooms
        self._operator = operator
        self._hash_size = settings.hash_size
        self._names = Keys(settings.rooms_table, settings.members_table, settings.history_table)

    async def online(self, user: str) -> int:
        """The user is back: what was missed is handed out. Returns the number of shards that do so."""
        return await user_is_online(self._store, user, 1 << self._hash_size)

    async def export(self, user: str) -> dict[str, Any]:
        """Where the user is a member, or banned, and what the user wrote that rooms still keep."""
        memberships, bans, messages = [], [], []
        async for page in self._rooms.pages():
            for room in page:
                about = await self._about(room, user)
                if user in room.members:
                    memberships.append(
                        {
                            "ROOM": f"sip:{room.address}",
                            "ROLE": room.members[user],
                            "AWAY": user in room.away,
                            "NICK": about.get("nick", ""),
                            "DEVICES": await self._devices(room, user),
                            "CREATOR": room.owner == user,
                        }
                    )
                if "ban" in about:
                    bans.append(f"sip:{room.address}")
                async for entry, data in self._written(room, user):
                    messages.append(_message(room.address, entry, data))
            await asyncio.sleep(PAUSE)
        return {"USER": f"sip:{user}", "ROOMS": memberships, "BANNED_FROM": bans, "MESSAGES": messages}

    async def forget(self, user: str) -> dict[str, Any]:
        """Remove the user from every room and delete what the user wrote that rooms keep.

        Rooms that only this user owns are kept, with the user: they have to get another owner first, or be
        destroyed. Bans stay: they protect others.
        """
        left, kept = await self._operator.kick(user)
        deleted = 0
        async for page in self._rooms.pages():
            for room in page:
                deleted += await self._delete_written(room, user)
                await self._forget_creator(room, user)
            await asyncio.sleep(PAUSE)
        shards = range(1 << self._hash_size)
        for shard in shards:
            await self._delete_failures(shard, user)
        indexes: list[Command] = [
            ("DEL", keys.away_rooms(shard, user), keys.farewells(shard, user)) for shard in shards
        ]
        await self._run([*indexes, ("DEL", keys.away_shards(user))])
        return {
            "USER": f"sip:{user}",
            "LEFT": [f"sip:{room}" for room in left],
            "KEPT": [f"sip:{room}" for room in kept],
            "MESSAGES_DELETED": deleted,
        }

    async def _devices(self, room: RoomState, user: str) -> list[str]:
        """The user's devices whose client shows the room as a conference."""
        shard = shard_of(room.address, self._hash_size)
        (found,) = await self._run([("HKEYS", keys.devices(shard, room.address))])
        return sorted(device for device in map(bytes.decode, found) if user_of(device) == user)

    async def _about(self, room: RoomState, user: str) -> dict[str, str]:
        """What the room's hash says of the user, by kind."""
        shard, kinds = shard_of(room.address, self._hash_size), ("nick", "ban")
        fields = [f"{kind}:{user}" for kind in kinds]
        (values,) = await self._run([("HMGET", self._names.room(shard, room.address), *fields)])
        found = zip(kinds, values, strict=True)
        return {kind: value.decode(errors="replace") for kind, value in found if value is not None}

    async def _written(self, room: RoomState, user: str) -> AsyncIterator[tuple[bytes, bytes]]:
        """Id and data of the messages of this user that the room keeps."""
        history, start = self._names.history(shard_of(room.address, self._hash_size), room.address), "-"
        while True:
            (page,) = await self._run([("XRANGE", history, start, "+", "COUNT", ENTRIES)])
            for entry, fields in page:
                if fields[0] == user.encode():
                    yield entry, fields[1]
            if len(page) < ENTRIES:
                return
            start = f"({page[-1][0].decode()}"

    async def _delete_written(self, room: RoomState, user: str) -> int:
        history = self._names.history(shard_of(room.address, self._hash_size), room.address)
        entries = [entry async for entry, _ in self._written(room, user)]
        for first in range(0, len(entries), ENTRIES):
            await self._run([("XDEL", history, *entries[first : first + ENTRIES])])
        return len(entries)

    async def _forget_creator(self, room: RoomState, user: str) -> None:
        """A room that the user has created, and is no longer in, names one of its owners instead."""
        name = self._names.room(shard_of(room.address, self._hash_size), room.address)
        (creator,) = await self._run([("HGET", name, "owner")])
        if creator == user.encode() and user not in room.members:
            # what the creator's client said of the room has the creator's name in it
            await self._run([("HSET", name, "owner", room.owner), ("HDEL", name, "conference")])

    async def _delete_failures(self, shard: int, user: str) -> None:
        """Records of failed deliveries to the user, or of what the user sent."""
        stream, start = keys.undelivered(shard), "-"
        while True:
            (page,) = await self._run([("XRANGE", stream, start, "+", "COUNT", ENTRIES)])
            entries = [
                entry
                for entry, fields in page
                if user in (user_of(value.decode(errors="replace")) for value in fields[1::2])
            ]
            if entries:
                await self._run([("XDEL", stream, *entries)])
            if len(page) < ENTRIES:
                return
            start = f"({page[-1][0].decode()}"

    async def _run(self, commands: list[Command]) -> list[Any]:
        replies = await self._store.run(commands)
        for reply in replies:
            if isinstance(reply, ReplyError):
                raise reply
        return replies


def _message(room: str, entry: bytes, data: bytes) -> dict[str, Any]:
    """One message as JSON shows it."""
    about: dict[str, Any] = {"ROOM": f"sip:{room}", "AT": int(entry.partition(b"-")[0])}
    try:
        said = RequestData.unpack(data)
    except EntryError:
        return about | {"CONTENT_TYPE": "", "BODY": data.decode(errors="replace")}
    return about | {"CONTENT_TYPE": said.content_type, "BODY": said.body.decode(errors="replace")}
