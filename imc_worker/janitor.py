"""Walks slowly through the rooms of a worker's shards and removes what they must not keep any longer.

Each history is trimmed by age and number, as the room's owners or else the settings say. If the histories of
a shard take more memory than they may, the next walks remove the oldest (`history_ceiling.py`). Subscriptions
to rosters that are over are removed. And members who have been away for longer than `remove_after_days` are
removed, by a request like those of users.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import structlog

from imc_common import keys
from imc_common.keys import Keys
from imc_common.metrics import Metrics
from imc_common.rooms.history import Retention, retention, too_old
from imc_common.rooms.request import RequestData, RoomRequest
from imc_common.scripts import Command
from imc_common.settings import Settings
from imc_common.store import ReplyError, StoreUnreachable
from imc_common.store.protocols import ScriptRunner
from imc_worker.history_ceiling import Ceiling, Measured

PAGE: Final = 200
"""Rooms of one pipeline: about two milliseconds of Redis's time."""
PAUSE: Final = 0.1
"""Seconds between two pages, so that a walk takes one or two percent of Redis's time."""
REST: Final = 60.0
"""Seconds between two walks."""
REST_WITHOUT_HISTORY: Final = 3600.0
"""The same if rooms keep no messages: then there are only subscriptions and absent members to look at."""
DAY: Final = 24 * 3600.0

log = structlog.get_logger()


class Held(NamedTuple):
    """What the histories of a shard held at the last walk."""

    messages: int = 0
    size: int = 0
    away: int = 0


class Trimmed(NamedTuple):
    """The reply of `lua/trim_history.lua`: how many messages stay and how many went by which rule, and the
    times of the first and of the last that stay, in ms since the epoch."""

    left: int
    too_old: int
    too_many: int
    first_ms: int
    last_ms: int
    expired: int


class Janitor:
    """Tidies the shards that this worker owns."""

    def __init__(
        self,
        store: ScriptRunner,
        settings: Settings,
        owned: Callable[[], frozenset[int]],
        wall: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        """``wall()``: seconds since the epoch."""
        self._store = store
        self._owned = owned
        self._wall = wall
        self._names = Keys(settings.rooms_table, settings.members_table, settings.history_table)
        self._shards = 1 << settings.hash_size
        self._held: dict[int, Held] = {}
        self._ceilings: dict[int, Ceiling] = {}
        self._trimmed = metrics.counters(
            "imc_history_trimmed", "Messages that rooms no longer keep, by reason.", "reason"
        )
        metrics.gauge(
            "imc_history_messages",
            "Messages that rooms keep, in the shards this worker owns.",
            lambda: self._total(0),
        )
        metrics.gauge(
            "imc_history_bytes", "Memory of these messages in Redis, in bytes.", lambda: self._total(1)
        )
        metrics.gauge(
            "imc_history_away", "Users who are away, in the shards this worker owns.", lambda: self._total(2)
        )
        self.reload(settings)

    def reload(self, settings: Settings) -> None:
        """Use these settings from now on."""
        self._settings = settings

    async def run(self) -> None:
        """Walk until cancelled."""
        while True:
            await asyncio.sleep(REST if self._settings.history_max_messages else REST_WITHOUT_HISTORY)
            try:
                for shard in sorted(self._owned()):
                    await self.tidy(shard)
            except StoreUnreachable:
                continue  # readiness reports it

    async def tidy(self, shard: int) -> None:
        """One walk through a shard. Raises StoreUnreachable."""
        ceiling, messages, size, cursor = self._ceilings.setdefault(shard, Ceiling()), 0, 0, b"0"
        ceiling.begin()
        while True:
            (page,) = await self._store.run([("ZSCAN", self._names.rooms(shard), cursor, "COUNT", PAGE)])
            if not isinstance(page, list):
                return  # the key has another type: there is nothing to tidy
            cursor, rooms = page[0], [room.decode() for room in page[1][::2]]
            await self._expire_subscriptions(shard, rooms)
            for left in await self._trim(shard, rooms, ceiling):
                messages += left.messages
                size += left.size
            if cursor == b"0":
                break
            await asyncio.sleep(PAUSE)
        ceiling.finish(-(-self._settings.history_max_bytes // self._shards))
        away = await self._users_away(shard)
        self._held[shard] = Held(messages, size, len(away))
        if self._settings.remove_after_days:
            await self._remove_absent(shard, away)

    async def _expire_subscriptions(self, shard: int, rooms: list[str]) -> None:
        """Remove those that are over, in the rooms with devices."""
        counts = await self._store.run([("HLEN", keys.devices(shard, room)) for room in rooms])
        shown = [room for room, count in zip(rooms, counts, strict=True) if count != 0]
        replies = await self._store.run([self._expiry(shard, room) for room in shown])
        for room, reply in zip(shown, replies, strict=True):
            if isinstance(reply, ReplyError):
                log.warning("subscriptions not looked at", room=room, reason=str(reply))

    def _expiry(self, shard: int, room: str) -> Command:
        names = keys.events(shard), self._names.room(shard, room), self._names.members(shard, room)
        return self._store.script("expire_subscriptions", names, [room])

    async def _trim(self, shard: int, rooms: list[str], ceiling: Ceiling) -> list[Measured]:
        """Trim these histories; gives what is left of each."""
        names = [(self._names.history(shard, room), keys.expiring(shard, room)) for room in rooms]
        wishes = await self._store.run([("HGET", self._names.room(shard, room), "history") for room in rooms])
        commands = [
            self._command(both, retention(self._settings, wish if isinstance(wish, bytes) else b""))
            for both, wish in zip(names, wishes, strict=True)
        ]
        left: list[tuple[str, Trimmed]] = []
        for (name, _), reply in zip(names, await self._store.run(commands), strict=True):
            if isinstance(reply, ReplyError):
                log.warning("history not trimmed", key=name, reason=str(reply))
                continue
            trimmed = Trimmed(*reply)
            self._trimmed["age"] += trimmed.too_old
            self._trimmed["number"] += trimmed.too_many
            self._trimmed["expired"] += trimmed.expired
            if trimmed.left:
                left.append((name, trimmed))
        sizes = await self._store.run([self._size(name) for name, _ in left])
        found = [
            Measured(size if isinstance(size, int) else 0, trimmed.left, trimmed.first_ms, trimmed.last_ms)
            for (_, trimmed), size in zip(left, sizes, strict=True)
        ]
        return await self._lower([name for name, _ in left], found, ceiling)

    async def _lower(self, names: list[str], found: list[Measured], ceiling: Ceiling) -> list[Measured]:
        """Remove from these histories what is over the ceiling; gives what is left of each."""
        spare = [ceiling.may_lose(each) if each.first_ms < ceiling.cutoff_ms else 0 for each in found]
        above = [at for at, count in enumerate(spare) if count]
        minimum = f"{ceiling.cutoff_ms}-0"
        # Whole blocks only: memory is freed for nothing less, and the next walk would remove more and more.
        trims: list[Command] = [
            ("XTRIM", names[at], "MINID", "~", minimum, "LIMIT", spare[at]) for at in above
        ]
        replies = await self._store.run(trims)
        sizes = await self._store.run([self._size(names[at]) for at in above])
        firsts = await self._store.run([("XRANGE", names[at], "-", "+", "COUNT", 1) for at in above])
        freed = dict.fromkeys(above, 0)
        for at, reply, size, first in zip(above, replies, sizes, firsts, strict=True):
            if isinstance(reply, int) and reply and isinstance(size, int | None):
                freed[at] = found[at].size - (size or 0)
                count = found[at].messages - reply
                first_ms = int(first[0][0].partition(b"-")[0]) if first else 0
                found[at] = Measured(size or 0, count, first_ms, found[at].last_ms)
                self._trimmed["bytes"] += reply
        for at, each in enumerate(found):
            ceiling.add(each, freed=freed.get(at, 0))
        return found

    def _size(self, name: str) -> Command:
        """The memory of a history. With a ceiling, exactly: an estimate could cost too many messages."""
        samples = ("SAMPLES", "0") if self._settings.history_max_bytes else ()
        return ("MEMORY", "USAGE", name, *samples)

    def _command(self, names: tuple[str, str], kept: Retention) -> Command:
        return self._store.script(
            "trim_history", names, [*too_old(kept.seconds, self._wall()), kept.messages]
        )

    async def _users_away(self, shard: int) -> list[str]:
        (users,) = await self._store.run([("ZRANGE", keys.probes(shard), 0, -1)])
        return [user.decode() for user in users] if isinstance(users, list) else []

    async def _remove_absent(self, shard: int, users: list[str]) -> None:
        """Ask for the removal of members who have been away for too long; the script decides."""
        before_ms = int((self._wall() - self._settings.remove_after_days * DAY) * 1000)
        for first in range(0, len(users), PAGE):
            some = users[first : first + PAGE]
            replies = await self._store.run([("SMEMBERS", keys.away_rooms(shard, user)) for user in some])
            # An entry is a room, or a room and the device of the user that is away in it.
            entries = [
                (user, *room.decode().partition(" ")[::2])
                for user, rooms in zip(some, replies, strict=True)
                for room in _members(rooms)
            ]
            since = await self._store.run(
                [
                    (
                        "HMGET",
                        self._names.room(shard, room),
                        f"away:{device or user}",
                        f"sign:{device or user}",
                    )
                    for user, room, device in entries
                ]
            )
            due = [each[:2] for each, at in zip(entries, since, strict=True) if _ms_of(at) < before_ms]
            await self._store.run([self._removal(shard, *each) for each in dict.fromkeys(due)])
            await asyncio.sleep(PAUSE)

    def _removal(self, shard: int, user: str, room: str) -> Command:
        data = RequestData(call_id=f"janitor-{secrets.token_hex(8)}", at=int(self._wall() * 1000)).pack()
        return (
            "XADD",
            keys.requests(shard),
            "*",
            *RoomRequest("remove_absent", user, room, data=data).to_fields(),
        )

    def _total(self, place: int) -> float:
        owned = self._owned()
        return float(sum(held[place] for shard, held in self._held.items() if shard in owned))


def _members(reply: Any) -> Iterable[bytes]:
    return reply if isinstance(reply, list | set) else ()


def _ms_of(reply: Any) -> float:
    """The time of a position, or that of a later sign; never due if there is no position."""
    found = reply if isinstance(reply, list) else (None,)
    times = [each.partition(b"-")[0] if isinstance(each, bytes) else b"" for each in found]
    return max(float(time or 0) for time in times) if times[0] and b"".join(times).isdigit() else float("inf")
