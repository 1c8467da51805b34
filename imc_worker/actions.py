"""Which script each type of entry is handed to, with which further keys and settings: one table.

Scripts read the entry themselves, so a command carries only the entry's id, the keys and the settings. The
order of keys and arguments is that of ``lua/README.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from imc_common import keys
from imc_common.settings import Settings

Fields = Mapping[bytes, bytes]
FurtherKey = Callable[[int, Fields], str]

OWNED_ELSEWHERE = "owned_elsewhere"
"""Stands in an action's arguments for a number that has to be looked up first."""


@dataclass(frozen=True, slots=True)
class Action:
    """One script: the keys it takes after the room's own, and its arguments after `delivery_chunk`.

    `owner` is the field that names the user whose rooms in other shards are counted for `OWNED_ELSEWHERE`.
    `with_index` adds the prefixes of the users' room sets, for scripts that touch those of several users.
    """

    script: str
    further_keys: tuple[FurtherKey, ...] = ()
    args: tuple[str | int, ...] = ()
    owner: bytes = b""
    with_index: bool = False


def private_rooms_of(field: bytes) -> FurtherKey:
    """The key of the private rooms of the user whom `field` names."""
    return lambda shard, fields: keys.private_rooms(shard, fields[field].decode())


def owned_rooms_of(field: bytes) -> FurtherKey:
    """The key of the rooms that this user owns."""
    return lambda shard, fields: keys.owned_rooms(shard, fields[field].decode())


def unreachable(shard: int, fields: Fields) -> str:
    """The key of the failures of the room's members."""
    return keys.unreachable(shard, fields[b"room"].decode())


def room_actions(settings: Settings) -> dict[bytes, Action]:
    """The action of every request that concerns one room."""
    owned, private = owned_rooms_of(b"from"), private_rooms_of(b"from")
    owned_by_user, private_of_user = owned_rooms_of(b"user"), private_rooms_of(b"user")
    most_rooms, most_members = settings.max_rooms_per_owner, settings.max_members
    check_on_create, create_on_join = int(settings.check_on_create), int(settings.create_on_join)
    may_own = (most_rooms, OWNED_ELSEWHERE)
    return {
        b"message": Action("broadcast_message"),
        b"create": Action(
            "create_room", (owned, private), (check_on_create, *may_own, most_members), owner=b"from"
        ),
        b"join": Action(
            "join_room", (owned, private), (create_on_join, *may_own, most_members), owner=b"from"
        ),
        b"invite": Action("invite_member", (), (most_members,)),
        b"accept": Action("accept_invitation", (private,)),
        b"deny": Action("deny_invitation"),
        b"remove": Action("remove_member", (private_of_user,)),
        b"add": Action("add_member", (private_of_user,), (most_members,)),
        b"modify": Action("modify_member", (owned_by_user,), may_own, owner=b"user"),
        b"exit": Action("exit_room", (private, owned, unreachable), (settings.owner_exit,), with_index=True),
        b"destroy": Action("destroy_room", (unreachable,), with_index=True),
        b"list": Action("list_members"),
    }
