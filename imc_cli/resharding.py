"""Changes the number of shards. Offline: no other process of imc runs meanwhile.

Each room, with its history, is copied to its new shard and only then deleted from the old one; the new shard
follows from its address. So an interrupted run can be started again: a room that is in both shards is copied
again. ``imc:config`` records an unfinished run, and no process starts until it is finished.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from imc_cli.moved_devices import copy_devices, remove_devices
from imc_cli.moved_history import away_commands, copy_history, leaving_commands, raise_ids
from imc_common import keys
from imc_common.errors import ImcError
from imc_common.keys import Keys, shard_of
from imc_common.rooms.request import RETRANSMISSION_SECONDS
from imc_common.rooms.roles import role_of
from imc_common.scripts import Command
from imc_common.settings import Settings
from imc_common.store import ReplyError, Store

PAGE = 200
HEARTBEAT_SECONDS = 32
"""A process whose last heartbeat is younger may still run."""

SINCE, ROOMS, MEMBERS = "reshard_since", "reshard_rooms", "reshard_members"
MARKS = (keys.RESHARD_TO, SINCE, ROOMS, MEMBERS)


class ReshardError(ImcError):
    """Re-sharding cannot start, or its result is wrong. The text says what to do."""


@dataclass(frozen=True, slots=True)
class Totals:
    """The numbers of rooms and members, which must be the same before and after."""

    rooms: int
    members: int

    def __str__(self) -> str:
        return f"{self.rooms} rooms with {self.members} members"


class Resharding:
    """One run from the ``hash_size`` in Redis to ``target``."""

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
        self._table = Keys(settings.rooms_table, settings.members_table, settings.history_table)
        self._target = target
        self._moved = moved
        self._sleep = sleep

    async def run(self) -> Totals:
        """Move every room to its shard for the new ``hash_size``. Returns the totals afterwards.

        Raises ReshardError, without a change, while processes run or streams have entries. Raises
        StoreUnreachable: then it can be run again.
        """
        config = await self._config()
        source = int(config["hash_size"])
        shards = 1 << max(source, self._target)
        before = await self._begin(config, source, shards)
        await raise_ids(self._store, shards, 1 << self._target)
        for shard in range(shards):
            await self._empty_shard(shard)
        after = await self._count(shards, strict=True)
        if after != before:
            raise ReshardError(f"there were {before}, now there are {after}: hash_size stays unchanged")
        await self._wait_for_retransmissions()
        await self._finish()
        return after

    async def _config(self) -> dict[str, str]:
        [flat] = await self._run([("HGETALL", keys.CONFIG)])
        texts = [text.decode() for text in flat]
        config = dict(zip(texts[::2], texts[1::2], strict=True))
        if "hash_size" not in config:
            raise ReshardError("nothing to re-shard: no imc process has ever used this Redis")
        return config

    async def _begin(self, config: dict[str, str], source: int, shards: int) -> Totals:
        await self._refuse_live()
        if keys.RESHARD_TO in config:
            begun = int(config[keys.RESHARD_TO])
            if begun != self._target:
                raise ReshardError(f"a run to hash_size {begun} was not finished: finish it first")
            return Totals(int(config[ROOMS]), int(config[MEMBERS]))
        if source == self._target:
            raise ReshardError(f"hash_size is already {source}")
        await self._refuse_entries(shards)
        totals = await self._count(shards)
        [[seconds, _]] = await self._run([("TIME",)])
        marks = (
            keys.RESHARD_TO,
            self._target,
            SINCE,
            int(seconds),
            ROOMS,
            totals.rooms,
            MEMBERS,
            totals.members,
        )
        await self._run([("HSET", keys.CONFIG, *marks)])
        return totals

    async def _refuse_live(self) -> None:
        """Heartbeats are times of Redis's clock in ms. A process that stops properly removes its own."""
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
                    f"{key} holds {length} entries: let edges and workers handle them before you stop these "
                    "processes, and retry or drop dead letters (imc dead)"
                )

    async def _count(self, shards: int, *, strict: bool = False) -> Totals:
        """Count rooms and members. ``strict``: also check that every room is in its new shard and has
        members."""
        rooms = members = 0
        for shard in range(shards):
            start = 0
            while page := await self._page(shard, start):
                sizes = await self._run([("HLEN", self._table.members(shard, room)) for room in page])
                for room, size in zip(page, sizes, strict=True):
                    if strict and (shard_of(room, self._target) != shard or not size):
                        raise ReshardError(f"{room} in shard {shard} is in the wrong shard: run it again")
                rooms, members = rooms + len(page), members + sum(sizes)
                start += len(page)
        return Totals(rooms, members)

    async def _page(self, shard: int, start: int) -> list[str]:
        [page] = await self._run([("ZRANGE", self._table.rooms(shard), start, start + PAGE - 1)])
        return [room.decode() for room in page]

    async def _empty_shard(self, shard: int) -> None:
        """Move all rooms out of this shard that belong to another one."""
        staying = 0
        while page := await self._page(shard, staying):
            going = [room for room in page if shard_of(room, self._target) != shard]
            staying += len(page) - len(going)
            for room in going:
                await self._move(shard, shard_of(room, self._target), room)
            self._moved(len(going))
        await self._move_records(shard)
        if shard >= 1 << self._target:  # there is no such shard any more
            await self._run([("DEL", keys.probes(shard)), ("DEL", keys.probe_waits(shard))])

    async def _move(self, old: int, new: int, room: str) -> None:
        table, index = self._table, self._table.rooms(old)
        about, flat, score = await self._run(
            [
                ("HGETALL", table.room(old, room)),  # includes all KIND:USER state
                ("HGETALL", table.members(old, room)),
                ("ZSCORE", index, room),
            ]
        )
        if not about:  # a run was interrupted before the index was updated
            await self._run([("ZREM", index, room)])
            return
        values = {flat[at].decode(): flat[at + 1] for at in range(0, len(flat), 2)}
        fields = {about[at].decode(): about[at + 1] for at in range(0, len(about), 2)}
        roles = {member: role_of(value) for member, value in values.items()}
        await copy_history(self._run, table, room, old, new)
        await copy_devices(self._run, room, fields, old, new)
        copy: list[Command] = [
            ("HSET", table.room(new, room), *about),
            ("HSET", table.members(new, room), *flat),
            *(("SADD", key, room) for key in _indexes(new, roles, private=float(score) == 1)),
            *away_commands(room, values, fields, new),
            ("ZADD", table.rooms(new), score, room),
        ]
        await self._run(copy)
        await remove_devices(self._run, room, fields, old)
        await self._run(
            [
                *(("SREM", key, room) for key in _indexes(old, roles, private=float(score) == 1)),
                *leaving_commands(table, room, values, old),
                ("DEL", table.room(old, room), table.members(old, room)),
                # the index last: the next run finds the room as long as it is there
                ("ZREM", index, room),
            ]
        )

    async def _move_records(self, shard: int) -> None:
        """Move the records of failed deliveries. An interrupted run may duplicate one."""
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
        """The new shards do not know the requests the old ones accepted: wait until none can be
        retransmitted."""
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
    """The index sets of the shard that contain a room with these members."""
    found = [keys.owned_rooms(shard, member) for member, role in roles.items() if role == "owner"]
    if private:
        found += [keys.private_rooms(shard, member) for member, role in roles.items() if role != "invited"]
    return found
