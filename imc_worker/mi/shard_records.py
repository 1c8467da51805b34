"""What the shards and the index of users hold of one user besides rooms: failures, dead letters, devices."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from imc_common import client_devices, keys
from imc_common.address import without_port
from imc_common.devices import user_of
from imc_common.keys import Keys
from imc_common.rooms.request import EntryError, RequestData
from imc_common.settings import Settings
from imc_common.store import Command
from imc_common.store.protocols import CommandRunner
from imc_worker.mi.run_all import run_all

ENTRIES: Final = 500
"""Entries read per round trip."""
FORGOTTEN_SECONDS: Final = 3600
"""For how long after a user was forgotten failed deliveries to the user are not recorded: what was on its
way then has ended long before."""

_ALL_SHARDS: Final = range(1 << 12)
"""Those of the greatest `hash_size`: `imc reshard` leaves farewells also in shards that it removes."""

_Entry = tuple[bytes, dict[str, str], bytes]
"""The id of an entry of a stream, its fields without `data` as text, and `data`."""


class ShardRecords:
    """Every method raises StoreUnreachable and ReplyError."""

    def __init__(self, store: CommandRunner, settings: Settings) -> None:
        self._store = store
        self._shards = range(1 << settings.hash_size)
        self._names = Keys(settings.rooms_table, settings.members_table, settings.history_table)

    async def failures(self, user: str) -> list[dict[str, Any]]:
        """The records of failed deliveries to the user, or of what the user sent."""
        found = []
        for shard in self._shards:
            async for entry, fields, _ in self._entries(keys.undelivered(shard), user):
                found.append(
                    {
                        "ROOM": f"sip:{fields.get('room', '')}",
                        "AT": _ms_of(entry),
                        "EVENT": fields.get("event", ""),
                        "TO": f"sip:{fields.get('from', '')}",
                        "CAUSED_BY": f"sip:{fields.get('user', '')}",
                        "STATUS": fields.get("status", ""),
                    }
                )
        return found

    async def dead_letters(self, user: str) -> list[dict[str, Any]]:
        """The dead letters that name the user, by the name that `imc dead` uses."""
        found = []
        for shard in self._shards:
            async for entry, fields, data in self._entries(keys.dead(shard), user):
                about = {"NAME": f"{shard}/{entry.decode()}", "REASON": fields.get("dead_reason", "")}
                found.append(about | message(fields.get("room", ""), entry, data))
        return found

    async def farewells(self, user: str) -> list[dict[str, Any]]:
        """The rooms that the user has left, of which a device of the user, or the user, is not told yet."""
        names = [keys.farewells(shard, user) for shard in _ALL_SHARDS]
        fields = [field.decode() for all_of_it in await self._paged("HKEYS", names) for field in all_of_it]
        pairs = sorted(field.partition(" ") for field in fields)
        return [{"ROOM": f"sip:{room}", "TO": f"sip:{who}"} for room, _, who in pairs]

    async def about(self, user: str) -> dict[str, Any]:
        """The devices that the user has registered, and whether there is a password."""
        who = without_port(user)
        devices, has_password = await run_all(
            self._store, [client_devices.look_up(user), ("HEXISTS", keys.users(keys.user_shard(who)), who)]
        )
        return {"REGISTERED_DEVICES": client_devices.devices_in(devices), "PASSWORD": has_password == 1}

    async def begin_to_forget(self, user: str) -> None:
        """From now on what is on its way to the user leaves no record (`lua/include/forgotten.lua`)."""
        await run_all(
            self._store,
            [("SET", keys.forgotten(shard, user), 1, "EX", FORGOTTEN_SECONDS) for shard in self._shards],
        )

    async def forget(self, user: str) -> None:
        """Delete the records of failures and the user's devices; dead letters and the password stay."""
        commands: list[Command] = [client_devices.forget_all(user)]
        for shard in self._shards:
            async for entry, _, _ in self._entries(keys.undelivered(shard), user):
                commands.append(("XDEL", keys.undelivered(shard), entry))
        commands += [("DEL", keys.farewells(shard, user)) for shard in _ALL_SHARDS]
        for first in range(0, len(commands), ENTRIES):
            await run_all(self._store, commands[first : first + ENTRIES])
        await self._forget_absence(user)

    async def _forget_absence(self, user: str) -> None:
        """Forget where the user was away, but for the rooms that keep the user, who gets what was missed."""
        indexes = [keys.away_rooms(shard, user) for shard in self._shards]
        for shard, entries in zip(self._shards, await self._paged("SMEMBERS", indexes), strict=True):
            for entry in entries:
                room = entry.decode().partition(" ")[0]
                (stays,) = await run_all(self._store, [("HEXISTS", self._names.members(shard, room), user)])
                if not stays:
                    await run_all(self._store, [("SREM", indexes[shard], entry)])
        counts = await self._paged("SCARD", indexes)
        commands: list[Command] = [] if any(counts) else [("DEL", keys.away_shards(user))]
        for shard, count in zip(self._shards, counts, strict=True):
            if not count:
                commands.append(("ZREM", keys.probes(shard), user))
                commands.append(("HDEL", keys.probe_waits(shard), user))
        for first in range(0, len(commands), ENTRIES):
            await run_all(self._store, commands[first : first + ENTRIES])

    async def _paged(self, command: str, names: list[str]) -> list[Any]:
        """The reply to this command for each of these keys."""
        replies: list[Any] = []
        for first in range(0, len(names), ENTRIES):
            replies += await run_all(
                self._store, [(command, name) for name in names[first : first + ENTRIES]]
            )
        return replies

    async def _entries(self, stream: str, user: str) -> AsyncIterator[_Entry]:
        """The entries of a stream that name the user or one of the user's devices."""
        start = "-"
        while True:
            (page,) = await run_all(self._store, [("XRANGE", stream, start, "+", "COUNT", ENTRIES)])
            for entry, flat in page:
                fields = dict(zip(flat[::2], flat[1::2], strict=True))
                data = fields.pop(b"data", b"")
                texts = {
                    name.decode(errors="replace"): text.decode(errors="replace")
                    for name, text in fields.items()
                }
                if any(user_of(word) == user for text in texts.values() for word in text.split()):
                    yield entry, texts, data
            if len(page) < ENTRIES:
                return
            start = f"({page[-1][0].decode()}"


def message(room: str, entry: bytes, data: bytes) -> dict[str, Any]:
    """One message as JSON shows it."""
    about: dict[str, Any] = {"ROOM": f"sip:{room}", "AT": _ms_of(entry)}
    try:
        said = RequestData.unpack(data)
    except EntryError:
        return about | {"CONTENT_TYPE": "", "BODY": data.decode(errors="replace")}
    return about | {"CONTENT_TYPE": said.content_type, "BODY": said.body.decode(errors="replace")}


def _ms_of(entry: bytes) -> int:
    return int(entry.partition(b"-")[0])
