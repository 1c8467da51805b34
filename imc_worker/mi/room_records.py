"""What one room keeps of one user, who may have left it: shown and deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final, Literal

from imc_common import keys
from imc_common.address import without_port
from imc_common.devices import user_of
from imc_common.keys import Keys, shard_of
from imc_common.settings import Settings
from imc_common.store import Command
from imc_common.store.protocols import CommandRunner
from imc_worker.mi.rooms import RoomState
from imc_worker.mi.run_all import run_all
from imc_worker.mi.shard_records import ENTRIES, message

_PARTS: Final[tuple[Literal["recent", "older"], ...]] = ("recent", "older")


class RoomRecords:
    """Every method raises StoreUnreachable and ReplyError."""

    def __init__(self, store: CommandRunner, settings: Settings) -> None:
        self._store = store
        self._hash_size = settings.hash_size
        self._names = Keys(settings.rooms_table, settings.members_table, settings.history_table)

    async def of(self, room: RoomState, user: str) -> dict[str, list[Any]]:
        """All that the room keeps of the user, by the names that `imc user export` uses."""
        uri = f"sip:{room.address}"
        fields = ("owner", f"ban:{without_port(user)}", f"nick:{user}")
        ((creator, ban, nick),) = await run_all(self._store, [("HMGET", self._hash_of(room), *fields)])
        found: dict[str, list[Any]] = {}
        if user in room.members:
            found["ROOMS"] = [
                {
                    "ROOM": uri,
                    "ROLE": room.members[user],
                    "AWAY": user in room.away,
                    "NICK": (nick or b"").decode(errors="replace"),
                    "DEVICES": await self._devices(room, user),
                }
            ]
        elif await self._changes(room, user):
            found["LEFT"] = [uri]
        if ban is not None:
            found["BANNED_FROM"] = [uri]
        if creator == user.encode():
            found["CREATOR_OF"] = [uri]
        for kind, name in (("ban", "BANNED"), ("inviter", "INVITED")):
            others = await self._caused(room, kind, user)
            found[name] = [{"ROOM": uri, "USER": f"sip:{each.partition(':')[2]}"} for each in sorted(others)]
        asked, sent = await self._receipts(room, user)
        found["ASKED_FOR_RECEIPTS"] = [{"ROOM": uri, "MESSAGE": each} for _, each in asked]
        found["SENT_RECEIPTS"] = [{"ROOM": uri, "MESSAGE": each.rpartition(" ")[0]} for _, each in sent]
        found["MESSAGES"] = [message(room.address, *each) async for each in self._written(room, user)]
        return found

    async def forget(self, room: RoomState, user: str) -> int:
        """Delete it, but for the membership and a ban of the user; returns the number of messages."""
        deleted = await self._delete_written(room, user)
        await self._forget_creator(room, user)
        await self._forget_caused(room, user)
        for name, field in [each for some in await self._receipts(room, user) for each in some]:
            await run_all(self._store, [("HDEL", name, field)])
        if user not in room.members:
            await self._forget_changes(room, user)
        return deleted

    def _hash_of(self, room: RoomState) -> str:
        return self._names.room(shard_of(room.address, self._hash_size), room.address)

    async def _devices(self, room: RoomState, user: str) -> list[str]:
        """The user's devices whose client shows the room as a conference."""
        shard = shard_of(room.address, self._hash_size)
        (found,) = await run_all(self._store, [("HKEYS", keys.devices(shard, room.address))])
        return sorted(device for device in map(bytes.decode, found) if user_of(device) == user)

    async def _written(self, room: RoomState, user: str) -> AsyncIterator[tuple[bytes, bytes]]:
        """Id and data of the messages of this user that the room keeps."""
        history, start = self._names.history(shard_of(room.address, self._hash_size), room.address), "-"
        while True:
            (page,) = await run_all(self._store, [("XRANGE", history, start, "+", "COUNT", ENTRIES)])
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
            await run_all(self._store, [("XDEL", history, *entries[first : first + ENTRIES])])
        return len(entries)

    async def _forget_creator(self, room: RoomState, user: str) -> None:
        """A room that the user has created, and is no longer in, names one of its owners instead."""
        name = self._hash_of(room)
        (creator,) = await run_all(self._store, [("HGET", name, "owner")])
        if creator == user.encode() and user not in room.members:
            # what the creator's client said of the room has the creator's name in it
            await run_all(self._store, [("HSET", name, "owner", room.owner), ("HDEL", name, "conference")])

    async def _caused(self, room: RoomState, kind: str, user: str) -> list[str]:
        """The fields of this kind in the room's hash that name the user as who has caused them."""
        name, cursor, found = self._hash_of(room), b"0", set[str]()
        while True:
            ((cursor, flat),) = await run_all(
                self._store, [("HSCAN", name, cursor, "MATCH", f"{kind}:*", "COUNT", ENTRIES)]
            )
            found |= {flat[at].decode() for at in range(0, len(flat), 2) if flat[at + 1] == user.encode()}
            if cursor == b"0":
                return list(found)

    async def _forget_caused(self, room: RoomState, user: str) -> None:
        """Whom the user has invited who could not be reached: the room itself invites them from now on. Whom
        the user has banned: they stay banned, by the room."""
        name = self._hash_of(room)
        commands: list[Command] = [("HDEL", name, each) for each in await self._caused(room, "inviter", user)]
        commands += [("HSET", name, each, room.address) for each in await self._caused(room, "ban", user)]
        await run_all(self._store, commands)

    async def _receipts(
        self, room: RoomState, user: str
    ) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """Key and field of each message of the user that asked for receipts, and of each receipt of the
        user."""
        shard, address = shard_of(room.address, self._hash_size), room.address
        found: tuple[list[tuple[str, str]], list[tuple[str, str]]] = ([], [])
        for part in _PARTS:
            names = keys.authors(shard, address, part), keys.receipts(shard, address, part)
            of_authors, of_readers = await run_all(self._store, [("HGETALL", name) for name in names])
            for field, author in zip(of_authors[::2], of_authors[1::2], strict=True):
                if author == user.encode():
                    found[0].append((names[0], field.decode(errors="surrogateescape")))
            for field in of_readers[::2]:
                if field.endswith(b" " + user.encode()):
                    found[1].append((names[1], field.decode(errors="surrogateescape")))
        return found

    async def _changes(self, room: RoomState, user: str) -> dict[bytes, int]:
        """The changes of the roster that name the user, with their numbers."""
        name = keys.roster(shard_of(room.address, self._hash_size), room.address)
        (flat,) = await run_all(self._store, [("ZRANGE", name, 0, -1, "WITHSCORES")])
        return {
            flat[at]: int(float(flat[at + 1]))
            for at in range(0, len(flat), 2)
            if user_of(flat[at].decode(errors="replace").rpartition(" ")[2]) == user
        }

    async def _forget_changes(self, room: RoomState, user: str) -> None:
        """That the user has left. A device that was not told of it yet gets the whole roster, as it does of
        changes that are too old to be kept."""
        own, about = await self._changes(room, user), self._hash_of(room)
        if own:
            (known,) = await run_all(self._store, [("HGET", about, "forgotten")])
            await run_all(
                self._store, [("HSET", about, "forgotten", max(int(float(known or 0)), *own.values()))]
            )
            roster = keys.roster(shard_of(room.address, self._hash_size), room.address)
            await run_all(self._store, [("ZREM", roster, *own)])
