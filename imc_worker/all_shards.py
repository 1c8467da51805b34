"""Look-ups beyond one shard: the list of rooms, the rooms a user owns elsewhere, and a user's devices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from imc_common import client_devices, keys
from imc_common.keys import Keys
from imc_common.store import Command, ReplyError
from imc_common.store.protocols import CommandRunner

MAX_ROOMS = 200
"""Rooms in one list, the first by address: about ten MESSAGEs of 1,300 bytes. The others are only counted."""


class AllShards:
    """Reads the indexes of every shard. A result may be out of date by a moment: no script spans shards."""

    def __init__(self, store: CommandRunner, names: Keys, shards: int) -> None:
        self._store = store
        self._names = names
        self._shards = range(shards)

    async def owned_elsewhere(self, users: Sequence[tuple[int, str]]) -> list[int | ReplyError]:
        """For each shard and user the number of rooms the user owns in all other shards, or the error."""
        others = len(self._shards) - 1
        if not others:
            return [0] * len(users)
        commands: list[Command] = [
            ("SCARD", keys.owned_rooms(other, user))
            for shard, user in users
            for other in self._shards
            if other != shard
        ]
        counts = await self._store.run(commands)
        return [_sum(counts[at : at + others]) for at in range(0, len(counts), others)]

    async def rooms_for(self, user: str) -> tuple[str, int]:
        """The rooms `user` may see, ``public:ROOM private:ROOM …`` by address, and how many were left out.

        These are all public rooms and the private ones the user is in. Each shard gives one page, its first
        rooms by address: a shard with a million rooms is not read through. Raises ReplyError.
        """
        commands: list[Command] = []
        for shard in self._shards:
            rooms, private = self._names.rooms(shard), keys.private_rooms(shard, user)
            commands.append(("ZCOUNT", rooms, 0, 0))
            commands.append(("ZRANGE", rooms, 0, 0, "BYSCORE", "LIMIT", 0, MAX_ROOMS))
            commands.append(("SMEMBERS", private))
        replies = await self._store.run(commands)
        for reply in replies:
            if isinstance(reply, ReplyError):
                raise reply
        found = [(room, "public") for page in replies[1::3] for room in page]
        found += [(room, "private") for members in replies[2::3] for room in members]
        total = sum(replies[0::3]) + sum(map(len, replies[2::3]))
        shown = sorted(found)[:MAX_ROOMS]
        return " ".join(f"{kind}:{room.decode()}" for room, kind in shown), total - len(shown)

    async def devices_for_new_room(self, users: Iterable[str]) -> dict[str, str]:
        """The devices of each of these users that show group chats, ``DEVICE DEVICE …``; users without are
        left out.

        The users are about to get a room: it is noted that their devices have not been offered all rooms.
        """
        asked = list(dict.fromkeys(users))
        replies = await self._store.run([client_devices.look_up(user) for user in asked])
        pairs = [(user, client_devices.devices_in(each)) for user, each in zip(asked, replies, strict=True)]
        found = {user: " ".join(devices) for user, devices in pairs if devices}
        if found:
            await self._store.run([each for user in found for each in client_devices.count(user)])
        return found

    async def exist(self, rooms: Sequence[tuple[int, str]]) -> list[bool]:
        """Whether each room, given with its shard, exists."""
        replies = await self._store.run([("EXISTS", self._names.room(shard, room)) for shard, room in rooms])
        return [reply == 1 for reply in replies]


def _sum(counts: list[int | ReplyError]) -> int | ReplyError:
    total = 0
    for count in counts:
        if isinstance(count, ReplyError):
            return count
        total += count
    return total
