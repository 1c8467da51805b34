"""What rooms keep, and where their members are in it, as a file of JSON lines.

The old modules have no table for it. A line with `room` begins a room: `state` are fields of its hash, `away`
the members who are away. A line with `id` is a message of that room: `from`, `data` in Base64, and in `ends`
the time at which it expires, if it does.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from imc_cli.moved_history import away_commands
from imc_common import keys
from imc_common.devices import is_device
from imc_common.errors import ImcError
from imc_common.keys import Keys, shard_of
from imc_common.rooms.roles import AWAY, ROLES, is_away
from imc_common.settings import Settings
from imc_common.store import Command, ReplyError, Store

PAGE: Final = 200
"""Messages in memory at once."""
WHOLE: Final = ("history", "history_from")
"""State of a room that belongs to its history."""
OF_USERS: Final = ("joined", "away", "more")
"""State of a user in it: `lua/include/member_state.lua`."""
_ID = re.compile(r"[0-9]{1,15}-[0-9]{1,15}")

Write = Callable[[dict[str, Any]], None]


@dataclass(slots=True)
class Restored:
    """Rooms and messages that were read; messages that were not added, because the room has the same or later
    ones; and rooms that do not exist in Redis."""

    rooms: int = 0
    messages: int = 0
    not_added: int = 0
    unknown: list[str] = field(default_factory=list)


async def dump_histories(store: Store, settings: Settings, rooms: Iterable[str], write: Write) -> int:
    """Pass a line for each of these rooms and for each message to `write`; returns the number of messages.

    Raises StoreUnreachable, and ImcError if Redis refuses a command.
    """
    names, count = Keys(settings.rooms_table, settings.members_table, settings.history_table), 0
    for room in rooms:
        shard = shard_of(room, settings.hash_size)
        about, values, ends = await _run(
            store,
            [
                ("HGETALL", names.room(shard, room)),
                ("HGETALL", names.members(shard, room)),
                ("ZRANGE", keys.expiring(shard, room), 0, -1, "WITHSCORES"),
            ],
        )
        state = {name: text for name, text in _pairs(about).items() if _is_state(name)}
        away = [user for user, value in _pairs(values).items() if is_away(value.encode())]
        write({"room": room, "state": state, "away": away})
        times = {entry: int(float(at)) for entry, at in _pairs(ends).items()}
        start = "-"
        while True:
            (page,) = await _run(store, [("XRANGE", names.history(shard, room), start, "+", "COUNT", PAGE)])
            for entry, fields in page:
                write(_line(entry.decode(), fields, times))
            count += len(page)
            if len(page) < PAGE:
                break
            start = f"({page[-1][0].decode()}"
    return count


async def load_histories(store: Store, settings: Settings, lines: Iterable[str]) -> Restored:
    """Write what `dump_histories` gave to rooms that exist. It can be run again.

    What a room has already is not changed. Raises StoreUnreachable, and ImcError if Redis refuses a command,
    or for a line that cannot be read, with its number.
    """
    loading = _Loading(store, settings)
    for number, text in enumerate(lines, 1):
        try:
            line = json.loads(text)
            if "room" in line:
                await loading.begin(line["room"], dict(line["state"]), list(line["away"]))
            else:
                await loading.add(line)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ImcError(f"line {number} of the history cannot be read: {error!r}") from error
    await loading.end()
    return loading.restored


class _StoredMessage(NamedTuple):
    """One that waits to be appended; `ends`: when it expires, in ms."""

    entry: str
    append: Command
    ends: int | None


class _Loading:
    """The room that is being read."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._hash_size = settings.hash_size
        self._names = Keys(settings.rooms_table, settings.members_table, settings.history_table)
        self.restored = Restored()
        self._room = ""
        self._is_known = False
        self._shard = 0
        self._state: dict[str, str] = {}
        self._away: list[str] = []
        self._messages: list[_StoredMessage] = []

    async def begin(self, room: str, state: dict[str, str], away: list[str]) -> None:
        """What follows belongs to this room."""
        await self.end()
        self._room, self._state, self._away = room, state, away
        self._shard = shard_of(room, self._hash_size)
        (there,) = await _run(self._store, [("EXISTS", self._names.room(self._shard, room))])
        self._is_known = there == 1
        if self._is_known:
            self.restored.rooms += 1
        else:
            self.restored.unknown.append(room)

    async def add(self, line: dict[str, Any]) -> None:
        """One message. Raises ValueError, KeyError, TypeError."""
        if not self._room or not _ID.fullmatch(line["id"]):
            raise ValueError(line["id"])
        ends = int(line["ends"]) if "ends" in line else None
        history = self._names.history(self._shard, self._room)
        self._messages.append(_StoredMessage(line["id"], _append(history, line), ends))
        if len(self._messages) >= PAGE:
            await self._write()

    async def end(self) -> None:
        """Write the rest of the room, at last who is away: its position is a place in the history."""
        await self._write()
        if not self._is_known:
            return
        self._is_known = False
        shard, room = self._shard, self._room
        members, about = self._names.members(shard, room), self._names.room(shard, room)
        (flat,) = await _run(self._store, [("HGETALL", members)])
        values = _pairs(flat)
        fields = [(name, text) for name, text in self._state.items() if _is_of(name, values)]
        await _run(self._store, [("HSETNX", about, name, text) for name, text in fields])
        if self._state.get("history") == "off":
            await _run(self._store, [("SADD", keys.history_off(shard), room)])
        away = [user for user in self._away if values.get(user) in ROLES and f"away:{user}" in self._state]
        found = await _run(self._store, [("HGET", about, f"away:{user}") for user in away])
        pairs = zip(away, found, strict=True)
        lost = [user for user, position in pairs if position == self._state[f"away:{user}"].encode()]
        await _run(self._store, [("HSET", members, user, values[user] + AWAY) for user in lost])
        await _run(self._store, away_commands(room, dict.fromkeys(lost, AWAY.encode()), {}, shard))

    async def _write(self) -> None:
        """Append the messages. Redis refuses an id that is not greater than all of its stream."""
        messages, self._messages = self._messages, []
        if not messages or not self._is_known:
            return
        events, expiring = keys.events(self._shard), keys.expiring(self._shard, self._room)
        replies = await self._store.run([message.append for message in messages])
        for message, reply in zip(messages, replies, strict=True):
            if isinstance(reply, ReplyError) and "equal or smaller" not in str(reply):
                raise ImcError(f"history of {self._room}: {reply}")
            is_added = not isinstance(reply, ReplyError)
            self.restored.messages += is_added
            self.restored.not_added += not is_added
            if is_added and message.ends is not None:
                await _run(self._store, [("ZADD", expiring, message.ends, message.entry)])
        # ids are positions: what is said from now on must be behind these messages, whatever the clock says
        await self._store.run([("XADD", events, messages[-1].entry, "", "")])
        await _run(self._store, [("XDEL", events, messages[-1].entry)])


def _line(entry: str, fields: list[bytes], times: dict[str, int]) -> dict[str, Any]:
    """A message as a line. The first field has the sender as name and the data as value."""
    line: dict[str, Any] = {"id": entry, "from": fields[0].decode()}
    line["data"] = base64.b64encode(fields[1]).decode()
    line |= _pairs(fields[2:])
    return line | ({"ends": times[entry]} if entry in times else {})


def _append(history: str, line: dict[str, Any]) -> Command:
    """The reverse. Raises ValueError, KeyError."""
    data = base64.b64decode(line["data"], validate=True)
    further = [text for name in ("nick", "device") if name in line for text in (name, str(line[name]))]
    return ("XADD", history, line["id"], str(line["from"]), data, *further)


def _is_state(name: str) -> bool:
    """Whether this field of a room belongs to its history. Devices are not exported: their dialogs end."""
    kind, _, user = name.partition(":")
    return name in WHOLE or (kind in OF_USERS and user != "" and not is_device(user))


def _is_of(name: str, values: dict[str, str]) -> bool:
    """Whether the state is that of the room or of one of its users."""
    return _is_state(name) and (name in WHOLE or name.partition(":")[2] in values)


def _pairs(flat: list[bytes]) -> dict[str, str]:
    texts = [text.decode(errors="replace") for text in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))


async def _run(store: Store, commands: list[Command]) -> list[Any]:
    replies = await store.run(commands) if commands else []
    for command, reply in zip(commands, replies, strict=True):
        if isinstance(reply, ReplyError):
            raise ImcError(f"{command[0]!s} {command[1]!s}: {reply}")
    return replies
