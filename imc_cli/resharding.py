"""Another number of shards for the rooms there are. Offline: no process of imc runs meanwhile.

Every room is copied whole to its new shard and only then deleted from the old one, and where it belongs
follows from its name alone. So a run that was killed is just started again: a room that is in both shards is
copied once more. While it is not finished, ``imc:config`` says so and no process starts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from imc_common import keys
from imc_common.errors import ImcError
from imc_common.keys import Keys, shard_of
from imc_common.rooms.request import RETRANSMISSION_SECONDS
from imc_common.scripts import Command
from imc_common.settings import Settings
from imc_common.store import ReplyError, Store

PAGE = 200
HEARTBEAT_SECONDS = 32
"""A process whose last heartbeat is younger may still run."""

SINCE, ROOMS, MEMBERS = "reshard_since", "reshard_rooms", "reshard_members"
MARKS = (keys.RESHARD_TO, SINCE, ROOMS, MEMBERS)


class ReshardError(ImcError):
    """Re-sharding cannot begin, or its result is not what it must be; says what is to be done."""


@dataclass(frozen=True, slots=True)
class Census:
    """What there is: the two numbers that must be the same before and after."""

    rooms: int
    members: int


class Resharding:
    """One run from the ``hash_size`` in Redis to another one."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        target: int,
        *,
        moved: Callable[[int], None] = lambda _count: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._table = Keys(settings.rooms_table, settings.members_table)
        self._target = target
        self._moved = moved
        self._sleep = sleep

    async def run(self) -> Census:
        """Moves every room to its shard under the new ``hash_size``; gives what there is then.

        Raises `ReshardError` and changes nothing while processes run, or streams hold anything; and
        StoreUnreachable, after which it may be started again.
        """
        config = await self._config()
        source = int(config["hash_size"])
        shards = 1 << max(source, self._target)
        before = await self._begin(config, source, shards)
        for shard in range(shards):
            await self._empty_shard(shard)
        after = await self._census(shards, strict=True)
        if after != before:
            raise ReshardError(f"there were {before} and now there are {after}: nothing was switched over")
        await self._wait_for_retransmissions()
        await self._finish()
        return after

    async def _config(self) -> dict[str, str]:
        [flat] = await self._run([("HGETALL", keys.CONFIG)])
        texts = [text.decode() for text in flat]
        config = dict(zip(texts[::2], texts[1::2], strict=True))
        if "hash_size" not in config:
            raise ReshardError("nothing to re-shard: no process of imc ever started on this Redis")
        return config

    async def _begin(self, config: dict[str, str], source: int, shards: int) -> Census:
        await self._refuse_live()
        if keys.RESHARD_TO in config:
            begun = int(config[keys.RESHARD_TO])
            if begun != self._target:
                raise ReshardError(f"a run to hash_size {begun} was begun and not finished: finish it first")
            return Census(int(config[ROOMS]), int(config[MEMBERS]))
        if source == self._target:
            raise ReshardError(f"hash_size is {source} already")
        await self._refuse_entries(shards)
        census = await self._census(shards)
        [[seconds, _]] = await self._run([("TIME",)])
        marks = (
            keys.RESHARD_TO,
            self._target,
            SINCE,
            int(seconds),
            ROOMS,
            census.rooms,
            MEMBERS,
            census.members,
        )
        await self._run([("HSET", keys.CONFIG, *marks)])
        return census

    async def _refuse_live(self) -> None:
        """Heartbeats are times of Redis's clock in ms; processes that ended well took theirs away."""
        [[seconds, _], *beats] = await self._run(
            [("TIME",), *(("ZREVRANGE", key, 0, 0, "WITHSCORES") for key in (keys.WORKERS, keys.EDGES))]
        )
        for key, newest in zip((keys.WORKERS, keys.EDGES), beats, strict=True):
            if newest and int(seconds) * 1000 - float(newest[1]) < HEARTBEAT_SECONDS * 1000:
                raise ReshardError(f"stop all edges and workers first: {newest[0].decode()} is in {key}")

    async def _refuse_entries(self, shards: int) -> None:
        streams = [make(n) for n in range(shards) for make in (keys.requests, keys.events, keys.dead)]
        for key, length in zip(streams, await self._run([("XLEN", key) for key in streams]), strict=True):
            if length:
                raise ReshardError(
                    f"{key} holds {length} entries: let edges and workers finish them, and retry or drop "
                    "dead letters (imc dead), before they are stopped"
                )

    async def _census(self, shards: int, *, strict: bool = False) -> Census:
        """Counts; ``strict`` also sees that every room is in its shard of the new layout, and complete."""
        rooms = members = 0
        for shard in range(shards):
            start = 0
            while page := await self._page(shard, start):
                sizes = await self._run([("HLEN", self._table.members(shard, room)) for room in page])
                for room, size in zip(page, sizes, strict=True):
                    if strict and (shard_of(room, self._target) != shard or not size):
                        raise ReshardError(f"{room} in shard {shard} is out of place: run it again")
                rooms, members = rooms + len(page), members + sum(sizes)
                start += len(page)
        return Census(rooms, members)

    async def _page(self, shard: int, start: int) -> list[str]:
        [page] = await self._run([("ZRANGE", self._table.rooms(shard), start, start + PAGE - 1)])
        return [room.decode() for room in page]

    async def _empty_shard(self, shard: int) -> None:
        """Rooms that stay are passed over; those that go are not in the next page any more."""
        staying = 0
        while page := await self._page(shard, staying):
            going = [room for room in page if shard_of(room, self._target) != shard]
            staying += len(page) - len(going)
            for room in going:
                await self._move(shard, shard_of(room, self._target), room)
            self._moved(len(going))
        await self._move_records(shard)

    async def _move(self, old: int, new: int, room: str) -> None:
        table, index = self._table, self._table.rooms(old)
        about, flat, score = await self._run(
            [
                ("HGETALL", table.room(old, room)),  # with all KIND:USER state in it
                ("HGETALL", table.members(old, room)),
                ("ZSCORE", index, room),
            ]
        )
        if not about:  # a run was killed when only the index was left to be mended
            await self._run([("ZREM", index, room)])
            return
        members = [text.decode() for text in flat]
        roles = dict(zip(members[::2], members[1::2], strict=True))
        copy: list[Command] = [
            ("HSET", table.room(new, room), *about),
            ("HSET", table.members(new, room), *flat),
            *(("SADD", key, room) for key in _indexes(new, roles, private=float(score) == 1)),
            ("ZADD", table.rooms(new), score, room),
        ]
        await self._run(copy)
        await self._run(
            [
                *(("SREM", key, room) for key in _indexes(old, roles, private=float(score) == 1)),
                ("DEL", table.room(old, room), table.members(old, room)),
                # the index last: as long as the room stands there, the next run comes back to it
                ("ZREM", index, room),
            ]
        )

    async def _move_records(self, shard: int) -> None:
        """Records of failed deliveries go with their rooms; a run killed just here may leave one twice."""
        start = "-"
        while True:
            [page] = await self._run([("XRANGE", keys.undelivered(shard), start, "+", "COUNT", PAGE)])
            if not page:
                return
            for entry, flat in page:
                fields = dict(zip(flat[::2], flat[1::2], strict=True))
                new = shard_of(fields.get(b"room", b"").decode(), self._target)
                if new != shard:
                    await self._run([("XADD", keys.undelivered(new), "*", *flat)])
                    await self._run([("XDEL", keys.undelivered(shard), entry)])
            start = f"({page[-1][0].decode()}"

    async def _wait_for_retransmissions(self) -> None:
        """The new shards do not know what the old ones accepted, so no copy of that may find an edge."""
        [[seconds, _], since] = await self._run([("TIME",), ("HGET", keys.CONFIG, SINCE)])
        await self._sleep(max(0, int(since) + RETRANSMISSION_SECONDS - int(seconds)))

    async def _finish(self) -> None:
        await self._run(
            [("HSET", keys.CONFIG, "hash_size", self._target), ("HDEL", keys.CONFIG, *MARKS)],
        )

    async def _run(self, commands: list[Command]) -> list[Any]:
        replies = await self._store.run(commands)
        for command, reply in zip(commands, replies, strict=True):
            if isinstance(reply, ReplyError):
                raise ReshardError(f"{command[0]!s} {command[1]!s}: {reply}")
        return replies


def _indexes(shard: int, roles: dict[str, str], *, private: bool) -> list[str]:
    """The sets of the shard that a room with these members stands in."""
    found = [keys.owned_rooms(shard, member) for member, role in roles.items() if role == "owner"]
    if private:
        found += [keys.private_rooms(shard, member) for member, role in roles.items() if role != "invited"]
    return found
