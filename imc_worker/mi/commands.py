"""Every MI command: its names, its parameters and the shape of its result, in one table.

Names and shapes are those of OpenSIPS (``modules/imc``, old and new spelling) and Kamailio (``imc.…``). Each
command that changes something writes one audit line to the log, whatever its result.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog

from imc_common.address import AddressError, parse, without_case
from imc_common.rooms.roles import RANKS
from imc_common.rooms.room_rules import RoomRules
from imc_common.settings import Settings
from imc_common.store import ReplyError, StoreUnreachable
from imc_worker.mi.jsonrpc import INVALID_PARAMS, METHOD_NOT_FOUND, MiError, Params
from imc_worker.mi.operate import Operator
from imc_worker.mi.rooms import Rooms
from imc_worker.mi.users import UserRecords

ACTIVE_ROOMS = "imc:active_rooms"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class MiCommand:
    """A command: its function, its parameters in order, and how many of the last ones are optional.

    `changes`: its use is written to the log, because it changes something or shows what a user wrote.
    """

    run: Callable[..., Awaitable[Any]]
    params: tuple[str, ...] = ()
    optional: int = 0
    changes: bool = False


class MiCommands:
    """Runs commands by name. All errors are `MiError`s."""

    def __init__(self, rooms: Rooms, operator: Operator, users: UserRecords, settings: Settings) -> None:
        self._rooms = rooms
        self._users = users
        self._operator = operator
        self._rules = RoomRules(settings)
        self._ignores_case = not settings.case_sensitive_users
        room, member = ("room",), ("room", "user")
        own = {
            "list_rooms": MiCommand(self._list_rooms),
            "list_members": MiCommand(self._list_members, room),
            "show_room": MiCommand(self._show_room, room),
            "create_room": MiCommand(self._create_room, ("room", "owner", "private"), 1, changes=True),
            "destroy_room": MiCommand(self._destroy_room, room, changes=True),
            "add_member": MiCommand(self._add_member, member, changes=True),
            "remove_member": MiCommand(self._remove_member, member, changes=True),
            "set_role": MiCommand(self._set_role, ("room", "user", "role"), changes=True),
            "kick": MiCommand(self._kick, ("user",), changes=True),
            "user_online": MiCommand(self._user_online, ("user",), changes=True),
            "user_forget": MiCommand(self._user_forget, ("user",), changes=True),
            "user_export": MiCommand(self._user_export, ("user",), changes=True),
            "notice": MiCommand(self._notice, ("text", "room"), 1, changes=True),
        }
        statistics = MiCommand(self._statistics, ("statistics",))
        self.table = {
            **{f"imc_{name}": command for name, command in own.items()},
            **{f"imc:{name}": command for name, command in own.items()},
            "imc.list_rooms": MiCommand(self._kamailio_rooms),
            "imc.list_members": MiCommand(self._kamailio_members, room, 1),
            "get_statistics": statistics,
            "statistics:get": statistics,
            "which": MiCommand(self._which, ("command",), 1),
        }

    async def call(self, name: str, params: Params, by: str) -> Any:
        """The result of a command; `by` names the caller for the audit line."""
        command = self.table.get(name)
        if command is None:
            raise MiError(*METHOD_NOT_FOUND)
        bound = _bound(command, params)
        outcome = "done"
        try:
            return await command.run(**bound)
        except MiError as error:
            outcome = str(error)
            raise
        except (StoreUnreachable, ReplyError) as error:
            outcome = f"redis: {error}"
            raise MiError(503, "redis is unreachable or refuses", str(error)) from error
        finally:
            if command.changes:
                log.info(
                    "operator command", audit=True, command=name, by=by, outcome=outcome, params=str(bound)
                )

    async def _list_rooms(self) -> Any:
        rooms = [
            {"URI": f"sip:{room.address}", "MEMBERS": len(room.present()), "OWNER": f"sip:{room.owner}"}
            async for page in self._rooms.pages()
            for room in page
        ]
        return {"ROOMS": sorted(rooms, key=lambda room: str(room["URI"]))}

    async def _list_members(self, room: str) -> Any:
        found = await self._operator.room(self._existing(room))
        members = [f"sip:{one}" for one in found.present()]
        return {"ROOM": f"sip:{found.address}", "MEMBERS": members, "NO_MEMBERS": len(members)}

    async def _show_room(self, room: str) -> Any:
        found = await self._operator.room(self._existing(room))
        ordered = sorted(found.members.items(), key=lambda item: (RANKS.get(item[1], len(RANKS)), item[0]))
        return {
            "ROOM": f"sip:{found.address}",
            "PRIVATE": found.private,
            "CREATED_AT": found.created_at,
            "MEMBERS": [{"URI": f"sip:{one}", "ROLE": role} for one, role in ordered],
        }

    async def _create_room(self, room: str, owner: str, private: str = "0") -> Any:
        address = self._address(room)
        if not self._rules.serves(address) or not self._rules.fits_pattern(address):
            raise MiError(400, "bad param", "the settings domains or room_pattern do not allow this room")
        if self._rules.is_command_address(address) or self._address(owner) == address:
            raise MiError(400, "bad param", "this address cannot be a room of this owner")
        if private not in {"0", "1", "private", "public"}:
            raise MiError(400, "bad param", "private is 0 or 1")
        await self._operator.create(address, self._address(owner), private=private in {"1", "private"})
        return await self._show_room(room)

    async def _destroy_room(self, room: str) -> Any:
        await self._operator.destroy(self._existing(room))
        return "OK"

    async def _add_member(self, room: str, user: str) -> Any:
        address, who = self._existing(room), self._address(user)
        if who == address:
            raise MiError(400, "bad param", "a room cannot be a member of itself")
        await self._operator.add(address, who)
        return "OK"

    async def _remove_member(self, room: str, user: str) -> Any:
        await self._operator.remove(self._existing(room), self._address(user))
        return "OK"

    async def _set_role(self, room: str, user: str, role: str) -> Any:
        await self._operator.set_role(self._existing(room), self._address(user), role)
        return "OK"

    async def _kick(self, user: str) -> Any:
        left, kept = await self._operator.kick(self._address(user))
        return {
            "USER": f"sip:{self._address(user)}",
            "LEFT": [f"sip:{room}" for room in left],
            "KEPT": [f"sip:{room}" for room in kept],
        }

    async def _user_online(self, user: str) -> Any:
        return {"SHARDS": await self._users.online(self._address(user))}

    async def _user_forget(self, user: str) -> Any:
        return await self._users.forget(self._address(user))

    async def _user_export(self, user: str) -> Any:
        return await self._users.export(self._address(user))

    async def _notice(self, text: str, room: str = "") -> Any:
        return {"ROOMS_TOLD": await self._operator.notice(text, self._existing(room) if room else "")}

    async def _kamailio_rooms(self) -> Any:
        rooms = (await self._list_rooms())["ROOMS"]
        return [{"room": one["URI"], "members": one["MEMBERS"], "owner": one["OWNER"]} for one in rooms]

    async def _kamailio_members(self, room: str | None = None) -> Any:
        if room is None:
            raise MiError(500, "No room name")
        if not room or room.startswith("."):
            raise MiError(500, "Empty room name")
        try:
            found = await self._list_members(room)
        except MiError as error:
            raise MiError(500, "Room not found" if error.code == 404 else "Invalid room name") from error
        return {"room": found["ROOM"], "members": found["MEMBERS"], "count": found["NO_MEMBERS"]}

    async def _statistics(self, statistics: str | list[str]) -> Any:
        asked = statistics if isinstance(statistics, list) else statistics.split()
        if not set(asked) & {ACTIVE_ROOMS, "active_rooms", "imc:", "all"}:
            raise MiError(404, "Statistics Not Found")
        return {ACTIVE_ROOMS: await self._rooms.count()}

    async def _which(self, command: str = "") -> Any:
        if not command:
            return sorted(self.table)
        found = self.table.get(command)
        if found is None:
            raise MiError(404, "unknown MI command")
        most, least = len(found.params), len(found.params) - found.optional
        return [list(found.params[:count]) for count in range(least, most + 1)]

    def _existing(self, room: str) -> str:
        if not room:
            raise MiError(400, "empty param")
        return self._address(room)

    def _address(self, text: str) -> str:
        try:
            found = parse(text)
        except AddressError as error:
            raise MiError(400, "bad param", f"{text!r}: {error}") from error
        return without_case(found) if self._ignores_case else found


def _bound(command: MiCommand, params: Params) -> dict[str, Any]:
    """The parameters by name, as text; only `statistics` may be a list."""
    if isinstance(params, list):
        if len(params) > len(command.params):
            raise MiError(*INVALID_PARAMS, "too many parameters")
        params = dict(zip(command.params, params, strict=False))
    required = command.params[: len(command.params) - command.optional]
    if not set(required) <= params.keys() <= set(command.params):
        raise MiError(*INVALID_PARAMS, f"parameters: {', '.join(command.params) or 'none'}")
    return {name: _text(name, value) for name, value in params.items()}


def _is_unicode(text: str) -> bool:
    """Whether a text can be sent: JSON can write half of a character (RFC 8259 §8.2), and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(name: str, value: Any) -> str | list[str]:
    match value:
        case bool():
            return str(int(value))
        case str() if not _is_unicode(value):
            raise MiError(*INVALID_PARAMS, f"{name} has half of a character, which is no Unicode text")
        case str() | int():
            return str(value)
        case [*values] if name == "statistics" and all(isinstance(each, str) for each in values):
            return values
    raise MiError(*INVALID_PARAMS, f"{name} is no text")
