"""Which script handles each type of request, with which further keys and settings.

The table of commands (`imc_common.rooms.commands.COMMANDS`) names the script of each command. `_further` has
the scripts that need more than the keys of the room. Scripts read the entry themselves, so they get only its
id, keys and settings, in the order of the script's header.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from imc_common import keys
from imc_common.keys import Keys
from imc_common.rooms.commands import COMMANDS
from imc_common.settings import Settings

TYPING_INTERVAL_MS: Final = 10_000
"""Time between two notifications that one user types in a room, at least. RFC 3994 §3.2 has refreshes come
less often."""

Fields = Mapping[bytes, bytes]
FurtherKey = Callable[[int, Fields], str]

OWNED_ELSEWHERE = "owned_elsewhere"
"""Stands in an action's arguments for a number that has to be looked up first."""

CLIENT_DEVICES = "client_devices"
"""The same for the devices of a user that show rooms as group chats."""


@dataclass(frozen=True, slots=True)
class Action:
    """One script: the keys it takes after the room's own, and its arguments after `delivery_chunk`.

    `owner` is the field that names the user whose rooms in other shards are counted for `OWNED_ELSEWHERE`,
    `admits` the field with the user who becomes a member or asks for the room, and whose devices stand for
    `CLIENT_DEVICES`.
    `of_device`: if the request is about a device, the devices of the room stand in the place of its members.
    `with_index` adds the prefixes of the users' room sets, for scripts that touch those of several users, and
    `with_room_prefix` that of the rooms, for scripts that touch several.
    """

    script: str
    further_keys: tuple[FurtherKey, ...] = ()
    args: tuple[str | int, ...] = ()
    owner: bytes = b""
    admits: bytes = b""
    with_index: bool = False
    with_room_prefix: bool = False
    of_device: bool = False


MUTE: Final = (Action("mute_answer", args=(0,)), Action("mute_answer", args=(1,)))
"""The actions of a message that a program has sent: the second one tells the sender."""


def private_rooms_of(field: bytes) -> FurtherKey:
    """The key of the private rooms of the user whom `field` names."""
    return lambda shard, fields: keys.private_rooms(shard, fields[field].decode())


def owned_rooms_of(field: bytes) -> FurtherKey:
    """The key of the rooms that this user owns."""
    return lambda shard, fields: keys.owned_rooms(shard, fields[field].decode())


def _typing(shard: int, fields: Fields) -> str:
    return keys.typing(shard, fields[b"room"].decode(), fields[b"from"].decode())


def _authors(part: Literal["recent", "older"]) -> FurtherKey:
    return lambda shard, fields: keys.authors(shard, fields[b"room"].decode(), part)


def _receipts(part: Literal["recent", "older"]) -> FurtherKey:
    return lambda shard, fields: keys.receipts(shard, fields[b"room"].decode(), part)


def _presence() -> tuple[FurtherKey, FurtherKey, FurtherKey]:
    """The keys that say where the sender is away."""
    return (
        lambda shard, fields: keys.away_rooms(shard, fields[b"from"].decode()),
        lambda shard, fields: keys.probes(shard),
        lambda shard, fields: keys.probe_waits(shard),
    )


def history_of_room(settings: Settings) -> tuple[FurtherKey, FurtherKey]:
    """The keys of what the room keeps, and of the rooms that keep nothing."""
    names = Keys(history_table=settings.history_table)
    return (
        lambda shard, fields: names.history(shard, fields[b"room"].decode()),
        lambda shard, fields: keys.history_off(shard),
    )


def room_actions(settings: Settings) -> dict[bytes, Action]:
    """The action of every request that concerns one room, by the request's type."""
    further = {action.script: action for action in _further(settings)}
    scripts = {
        "message": "broadcast_message",
        "typing": "broadcast_typing",
        "disposition": "return_disposition",
        "remove_absent": "remove_absent",
        "open_conference": "open_conference",
        "enter_conference": "enter_conference",
        "invite_device": "invite_device",
        "confirm_dialog": "confirm_dialog",
        "subscribe": "subscribe",
    }
    scripts |= {command.name: command.script for command in COMMANDS if command.script}
    return {name.encode(): further.get(script, Action(script)) for name, script in scripts.items()}


def _further(settings: Settings) -> list[Action]:
    """The actions of scripts that need more than the entry and the keys of the room."""
    owned, private = owned_rooms_of(b"from"), private_rooms_of(b"from")
    owned_by_user, private_of_user = owned_rooms_of(b"user"), private_rooms_of(b"user")
    max_members, announce_joins = settings.max_members, int(settings.announce_joins)
    history, history_age_ms = history_of_room(settings), int(settings.history_max_age * 1000)
    authors = _authors("recent"), _authors("older")
    may_own = (settings.max_rooms_per_owner, OWNED_ELSEWHERE)
    create = (int(settings.check_on_create), *may_own, max_members, announce_joins, CLIENT_DEVICES)
    join = (int(settings.create_on_join), *may_own, max_members, announce_joins, CLIENT_DEVICES)
    return [
        Action("create_room", (owned, private), create, owner=b"from", admits=b"from"),
        Action("join_room", (owned, private), join, owner=b"from", admits=b"from"),
        Action("invite_member", (), (max_members,)),
        Action("accept_invitation", (private,), (announce_joins, CLIENT_DEVICES), admits=b"from"),
        Action("open_room", (), (CLIENT_DEVICES,), admits=b"from"),
        Action("remove_member", (private_of_user,)),
        Action(
            "add_member",
            (private_of_user,),
            (max_members, announce_joins, CLIENT_DEVICES),
            admits=b"user",
        ),
        Action("ban_user", (), (settings.max_bans,), with_index=True),
        Action("modify_member", (owned_by_user,), may_own, owner=b"user"),
        Action(
            "exit_room", (private, owned, *history), (settings.owner_exit, announce_joins), with_index=True
        ),
        Action("set_nickname", (), (announce_joins,)),
        Action("broadcast_typing", (_typing,), (TYPING_INTERVAL_MS,)),
        Action("return_disposition", (*authors, history[0], _receipts("recent"), _receipts("older"))),
        Action(
            "broadcast_message",
            (*history, *authors),
            (int(settings.shows_nicknames), settings.history_max_messages, history_age_ms),
        ),
        Action("set_history", history, (settings.history_max_messages,)),
        Action("destroy_room", history, with_index=True),
        Action(
            "open_conference",
            (owned, private),
            (*may_own, max_members, CLIENT_DEVICES),
            owner=b"from",
            admits=b"from",
            with_index=True,
        ),
        *(
            Action(script, (*_presence(), history[1]), (settings.history_max_messages,))
            for script in ("enter_conference", "subscribe")
        ),
        Action(
            "remove_absent",
            (private, owned, _presence()[0]),
            (settings.remove_after_days, announce_joins),
        ),
    ]
