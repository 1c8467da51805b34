"""What happened in a room and who is to be told: one entry of an out-stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

from imc_common.rooms.request import EntryError, RequestData, as_mapping

_USUAL = [b"event", b"room", b"from", b"data", b"to"]
"""The fields of most events, in the order in which `lua/include/emit.lua` writes them."""

_NO_DATA: Final = RequestData()

NO_HISTORY: Final = "-"
"""`Event.history_id` of messages in a room whose owners have switched its history off."""

CATCH_UP: Final = "catch_up"
"""The event that asks an edge to hand a user the next part of what it missed. It is no message."""

IDLE: Final = "idle"
"""The event that finds out whether a user is there who has failed on one message several times. The user is
told that nobody is typing (RFC 3994), which no client shows."""

DROPPED: Final = "you_were_dropped"
"""The notice to a member who was removed for having been away too long: it waits until the user is back."""

INVITE: Final = "invite"
"""The event that asks a user, or a device, to join by INVITE."""
NOTIFY: Final = "notify"
BYE: Final = "bye"
"""Requests in a dialog of a device."""
ROSTER: Final = "roster"
"""The event that asks an edge to make the NOTIFY requests of a room. It has no recipient."""
OF_CONFERENCES: Final = frozenset((INVITE, NOTIFY, BYE, ROSTER))
"""Events that are no MESSAGE."""

PART: Final = "part"
MORE: Final = "more"
PROBE: Final = "probe"
"""`Event.catch_up` of a message from the history: one of a part, the last of a part that is not the last one,
or the first missed message, sent to find out whether the user is back."""
REPLAY: Final = "replay"
"""`Event.catch_up` of a message that a user has asked for. If it fails, nothing was missed."""
REPORTED: Final = frozenset((MORE, PROBE))
"""Whatever the outcome of these, the worker is told: it continues with the next part."""


CPIM_CLIENT: Final = "cpim"
"""A client that sends message/cpim (RFC 3862): it shows the author of a message only if that is CPIM, too."""
TEXT_CLIENT: Final = "text"
"""A client that has refused message/cpim, whether it sends that itself or not."""
DEVICE_CLIENT: Final = "device"
"""The recipients are devices (`imc_common.devices`), whose client knows the room as a conference."""

RELAYED: Final = frozenset(("message", "typing", "disposition"))
"""The events that bring what a member has sent; all others are notices of the room."""


@final
@dataclass(init=False, slots=True)
class Event:
    """One event as the room's script wrote it; the headers in `lua/` name the events.

    `to` are the recipients, `actor` who did it, `user` to whom. `list` and `more` belong to lists of members
    or rooms; `text` are words of a user. `data` is that of the request that caused it, with its `call_id` and
    `at`. `nick` is the actor's nickname: only messages have it, and only where it is shown.

    Messages may have four further fields. `history_id` is their place in the room's history; empty if it is
    the entry's own id, `NO_HISTORY` if the room keeps none. `catch_up` says why a message from the history is
    sent again (`PART`, `MORE`, `PROBE`), and `wait` in how many ms a probe is followed by the next one. The
    first message of a part has `since`, the first place that was missed: what lies between is not sent. So
    have probes: the edge may know of an earlier failure of which the worker did not know. Both have `joined`,
    the place since which the recipient is a member, or a later one up to which nothing is left to be sent: an
    earlier failure does not count. A probe with another than the first missed message has `more`: how many
    the member loses if it arrives, because it could not take them.

    `about`: the message that a receipt is about, if the receipt names its delivery.

    `client` is the kind of client that all recipients use: `CPIM_CLIENT`, `TEXT_CLIENT`, `DEVICE_CLIENT`, or
    empty: not known.

    `dialog` belongs to a request in the dialog of a device: what the edge needs to send it, as JSON.
    """

    entry_id: Final[str]
    shard: Final[int]
    name: Final[str]
    room: Final[str]
    to: Final[tuple[str, ...]]
    actor: Final[str]
    user: Final[str]
    role: Final[str]
    reason: Final[str]
    command: Final[str]
    detail: Final[str]
    list: Final[str]
    more: Final[int]
    data: Final[RequestData]
    text: Final[str]
    nick: Final[str]
    history_id: Final[str]
    catch_up: Final[str]
    wait: Final[int]
    client: Final[str]
    about: Final[RequestData | None]
    since: Final[str]
    dialog: Final[str]
    joined: Final[str]

    def __init__(
        self,
        entry_id: str,
        shard: int,
        name: str,
        room: str,
        to: tuple[str, ...],
        *,
        actor: str = "",
        user: str = "",
        role: str = "",
        reason: str = "",
        command: str = "",
        detail: str = "",
        list: str = "",  # noqa: A002 # named as the field
        more: int = 0,
        data: RequestData = _NO_DATA,
        text: str = "",
        nick: str = "",
        history_id: str = "",
        catch_up: str = "",
        wait: int = 0,
        client: str = "",
        about: RequestData | None = None,
        since: str = "",
        dialog: str = "",
        joined: str = "",
    ) -> None:
        self.entry_id = entry_id
        self.shard = shard
        self.name = name
        self.room = room
        self.to = to
        self.actor = actor
        self.user = user
        self.role = role
        self.reason = reason
        self.command = command
        self.detail = detail
        self.list = list
        self.more = more
        self.data = data
        self.text = text
        self.nick = nick
        self.history_id = history_id
        self.catch_up = catch_up
        self.wait = wait
        self.client = client
        self.about = about
        self.since = since
        self.dialog = dialog
        self.joined = joined

    @property
    def position(self) -> str:
        """What names this event in its room, however often and by whichever way it is sent."""
        history_id = self.history_id
        return self.entry_id if not history_id or history_id == NO_HISTORY else history_id

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
                return Event(  # not cls: compiled, this is a direct call
                    entry_id if isinstance(entry_id, str) else entry_id.decode(),
                    shard,
                    name.decode(),
                    room.decode(),
                    tuple(to.decode().split()),
                    actor=actor.decode(),
                    data=RequestData.unpack(data),
                )
            # most entries have few of these fields: only those are decoded
            get = as_mapping(fields).get
            return Event(
                entry_id if isinstance(entry_id, str) else entry_id.decode(),
                shard,
                get(b"event", b"").decode(),
                get(b"room", b"").decode(),
                tuple(get(b"to", b"").decode().split()),
                actor=get(b"from", b"").decode(),
                user=value.decode() if (value := get(b"user")) else "",
                role=value.decode() if (value := get(b"role")) else "",
                reason=value.decode() if (value := get(b"reason")) else "",
                command=value.decode() if (value := get(b"command")) else "",
                detail=value.decode() if (value := get(b"detail")) else "",
                list=value.decode() if (value := get(b"list")) else "",
                more=int(value) if (value := get(b"more")) else 0,
                data=RequestData.unpack(get(b"data", b"")),
                text=value.decode() if (value := get(b"text")) else "",
                nick=value.decode() if (value := get(b"nick")) else "",
                history_id=value.decode() if (value := get(b"history_id")) else "",
                catch_up=value.decode() if (value := get(b"catch_up")) else "",
                wait=int(value) if (value := get(b"wait")) else 0,
                client=value.decode() if (value := get(b"client")) else "",
                about=RequestData.unpack(value) if (value := get(b"about")) else None,
                since=value.decode() if (value := get(b"since")) else "",
                dialog=value.decode() if (value := get(b"dialog")) else "",
                joined=value.decode() if (value := get(b"joined")) else "",
            )
        except ValueError as error:  # UnicodeDecodeError is one
            raise EntryError(f"an event's field cannot be read: {error}") from error
