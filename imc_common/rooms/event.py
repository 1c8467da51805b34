"""What happened in a room and who is to be told: one entry of an out-stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from imc_common.rooms.request import EntryError, RequestData, as_mapping

_USUAL = [b"event", b"room", b"from", b"data", b"to"]
"""The fields of most events, in the order in which `lua/include/emit.lua` writes them."""


class Event(NamedTuple):
    """One event as the room's script wrote it; the headers in `lua/` name the events.

    `to` are the recipients, `actor` who did it, `user` to whom. `list` and `more` belong to lists of members
    or rooms; `text` are words of a user. `data` is that of the request that caused it, with its `call_id` and
    `at`. `nick` is the actor's nickname: only messages have it, and only where it is shown.
    """

    entry_id: str
    shard: int
    name: str
    room: str
    to: tuple[str, ...]
    actor: str = ""
    user: str = ""
    role: str = ""
    reason: str = ""
    command: str = ""
    detail: str = ""
    list: str = ""
    more: int = 0
    data: RequestData = RequestData()
    text: str = ""
    nick: str = ""

    @property
    def call_id(self) -> str:
        """The Call-ID of the request that caused it."""
        return self.data.call_id

    @property
    def at(self) -> int:
        """When that request was accepted, in ms since the epoch; 0 if unknown."""
        return self.data.at

    @classmethod
    def from_fields(
        cls, entry_id: bytes | str, shard: int, fields: Sequence[bytes] | Mapping[bytes, bytes]
    ) -> Event:
        """The event of an entry, from the fields that Redis returns: flat or a mapping. Raises
        `EntryError`."""
        try:
            if isinstance(fields, list) and fields[::2] == _USUAL:
                name, room, actor, data, to = fields[1::2]
                return cls(
                    entry_id if isinstance(entry_id, str) else entry_id.decode(),
                    shard,
                    name.decode(),
                    room.decode(),
                    tuple(to.decode().split()),
                    actor.decode(),
                    data=RequestData.unpack(data),
                )
            # most entries have few of these fields: only those are decoded
            get = as_mapping(fields).get
            return cls(
                entry_id if isinstance(entry_id, str) else entry_id.decode(),
                shard,
                get(b"event", b"").decode(),
                get(b"room", b"").decode(),
                tuple(get(b"to", b"").decode().split()),
                get(b"from", b"").decode(),
                value.decode() if (value := get(b"user")) else "",
                value.decode() if (value := get(b"role")) else "",
                value.decode() if (value := get(b"reason")) else "",
                value.decode() if (value := get(b"command")) else "",
                value.decode() if (value := get(b"detail")) else "",
                value.decode() if (value := get(b"list")) else "",
                int(value) if (value := get(b"more")) else 0,
                RequestData.unpack(get(b"data", b"")),
                value.decode() if (value := get(b"text")) else "",
                value.decode() if (value := get(b"nick")) else "",
            )
        except ValueError as error:  # UnicodeDecodeError is one
            raise EntryError(f"an event's field cannot be read: {error}") from error
