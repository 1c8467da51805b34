"""What the service knows of one user in its rooms: shown, deleted, and when the user is back.

A request under data-protection law needs the first two. Rooms of all shards are read, a page at a time, with
pauses, because messages of a user may also be in rooms that the user has left.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final, Literal

from imc_common import keys
from imc_common.devices import user_of
from imc_common.keys import Keys, shard_of
from imc_common.presence import user_is_online
from imc_common.settings import Settings
from imc_common.store import Command, ReplyError
from imc_common.store.protocols import CommandRunner
from imc_worker.mi.operate import Operator
from imc_worker.mi.rooms import Rooms, RoomState
from imc_worker.mi.shard_records import ENTRIES, ShardRecords, message

_PARTS: Final[tuple[Literal["recent", "older"], ...]] = ("recent", "older")
PAUSE: Final = 0.01
"""Seconds between two pages, so that other commands of Redis come between."""


class UserRecords:
    """Every method raises StoreUnreachable and ReplyError."""

    def __init__(self, store: CommandRunner, rooms: Rooms, operator: Operator, settings: Settings) -> None:
        self._store = store
        self._rooms = rooms
        self._operator = operator
        self._records = ShardRecords(store, settings)
        self._hash_size = settings.hash_size
        self._names = Keys(settings.rooms_table, settings.members_table, settings.history_table)

    async def online(self, user: str) -> int:
        """The user is back: what was missed is handed out. Returns the number of shards that do so."""
        return await user_is_online(self._store, user, 1 << self._hash_size)

    async def export(self, user: str) -> dict[str, Any]:
        """Where the user is a member, or banned, what the user wrote that rooms still keep, and all else that
        Redis holds for longer than a few minutes."""
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
                    messages.append(message(room.address, entry, data))
            await asyncio.sleep(PAUSE)
        return {
            "USER": f"sip:{user}",
            "ROOMS": memberships,
            "BANNED_FROM": bans,
            "MESSAGES": messages,
            **await self._records.about(user),
            "FAILED_DELIVERIES": await self._records.failures(user),
            "DEAD_LETTERS": await self._records.dead_letters(user),
        }

    async def forget(self, user: str) -> dict[str, Any]:
        """Remove the user from every room and delete what the user wrote that rooms keep.

        Rooms that only this user owns are kept, with the user: they have to get another owner first, or be
        destroyed. Bans stay: they protect others.
        """
        await self._records.begin_to_forget(user)
        left, kept = await self._operator.kick(user)
        deleted = 0
        async for page in self._rooms.pages():
            for room in page:
                deleted += await self._delete_written(room, user)
                await self._forget_creator(room, user)
                await self._forget_inviter(room, user)
                await self._forget_receipts(room, user)
                if user not in room.members:
                    await self._forget_change(room, user)
            await asyncio.sleep(PAUSE)
        await self._records.forget(user)
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

    async def _forget_inviter(self, room: RoomState, user: str) -> None:
        """Whom the user has invited who could not be reached: the room itself invites them from now on."""
        name, cursor = self._names.room(shard_of(room.address, self._hash_size), room.address), b"0"
        while True:
            ((cursor, flat),) = await self._run(
                [("HSCAN", name, cursor, "MATCH", "inviter:*", "COUNT", ENTRIES)]
            )
            invited = [flat[at] for at in range(0, len(flat), 2) if flat[at + 1] == user.encode()]
            await self._run([("HDEL", name, *invited)] if invited else [])
            if cursor == b"0":
                return

    async def _forget_receipts(self, room: RoomState, user: str) -> None:
        """Which messages the user wrote that asked for receipts, and which receipts the user sent."""
        shard, address = shard_of(room.address, self._hash_size), room.address
        names = [make(shard, address, part) for make in (keys.authors, keys.receipts) for part in _PARTS]
        found = await self._run([("HGETALL", name) for name in names])
        commands: list[Command] = []
        for name, flat in zip(names, found, strict=True):
            pairs = [(flat[at].decode(errors="replace"), flat[at + 1]) for at in range(0, len(flat), 2)]
            own = [field for field, value in pairs if value == user.encode() or field.endswith(f" {user}")]
            commands += [("HDEL", name, *own)] if own else []
        await self._run(commands)

    async def _forget_change(self, room: RoomState, user: str) -> None:
        """That the user has left. A device that was not told of it yet gets the whole roster, as it does of
        changes that are too old to be kept."""
        shard = shard_of(room.address, self._hash_size)
        name = keys.roster(shard, room.address)
        (flat,) = await self._run([("ZRANGE", name, 0, -1, "WITHSCORES")])
        own = {
            flat[at]: int(float(flat[at + 1]))
            for at in range(0, len(flat), 2)
            if user_of(flat[at].decode(errors="replace").rpartition(" ")[2]) == user
        }
        if own:
            about = self._names.room(shard, room.address)
            (known,) = await self._run([("HGET", about, "forgotten")])
            await self._run([("HSET", about, "forgotten", max(int(float(known or 0)), *own.values()))])
            await self._run([("ZREM", name, *own)])

    async def _run(self, commands: list[Command]) -> list[Any]:
        replies = await self._store.run(commands)
        for reply in replies:
            if isinstance(reply, ReplyError):
                raise reply
        return replies
