"""A headless user of liblinphone with group chat, in a process of its own: `liblinphone`, and rooms.

Run as ``python -m tests.integration.peers.liblinphone_rooms FOLDER``. It has the orders and events of
`liblinphone`, and those of `RoomOrder` and `RoomEvent`. Each change of any room is an event with all that the
user sees of the room.
"""

from __future__ import annotations

import ctypes
import os
import sys
from ctypes import c_char_p, c_ubyte, c_void_p
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from tests.integration.peers.liblinphone import Event, Order, Phone, serve

FLEXISIP = 2
"""The backend of rooms on a server, as the library numbers it."""
BASIC = 1
"""The capability of chats that are not rooms on a server."""
ONE_TO_ONE = 32
"""The capability of a room of two, to which nobody can be added."""
TICKS = 10
"""Turns of the library's event loop between two looks at the rooms."""


class RoomOrder(Order):
    """``do`` is one of:

    - "create": a room with ``subject`` and the users ``users``
    - "say", "add", "remove", "promote", "demote", "rename", "mark", "leave", "forget": in the room ``room``
    """

    room: NotRequired[str]
    subject: NotRequired[str]
    users: NotRequired[list[str]]
    ephemeral: NotRequired[int]


class Member(TypedDict):
    """A participant: whether an administrator, and the URIs of its devices."""

    admin: bool
    devices: list[str]


class RoomEvent(Event):
    """``kind`` is "room" (any change), or "received" with the room."""

    room: NotRequired[str]
    subject: NotRequired[str]
    members: NotRequired[dict[str, Member]]
    admin: NotRequired[bool]
    left: NotRequired[bool]
    one_to_one: NotRequired[bool]
    ephemeral: NotRequired[bool]


class GroupPhone(Phone):
    """One user with one account, who has rooms on a server."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._bctoolbox = _Lists()
        self._seen: dict[str, RoomEvent] = {}
        self._ticks = 0

    def iterate(self) -> None:
        """Let the library work, and tell what has changed in the rooms."""
        super().iterate()
        self._ticks += 1
        if self._ticks % TICKS:
            return
        for room in self._rooms():
            event = self._look(room)
            if self._seen.get(event["room"]) != event:
                self._seen[event["room"]] = event
                self._tell(event)

    def obey(self, order: Order) -> None:
        """Carry out an order."""
        self._obey(order)  # type: ignore[arg-type] # lines from the test may be of either kind

    def _obey(self, order: RoomOrder) -> None:
        if order["do"] == "create":
            return self._create(order["subject"], order["users"])
        if "room" not in order:
            return super().obey(order)
        room = next(each for each in self._rooms() if self._address(each) == order["room"])
        match order["do"]:
            case "say":
                if order.get("ephemeral"):
                    self._call("chat_room_enable_ephemeral", room, 1)
                    self._call("chat_room_set_ephemeral_lifetime", room, order["ephemeral"])
                message = self._pointer("chat_room_create_message_from_utf8", room, order["text"])
                self._call("chat_message_send", message)
                self._watch(message, order["text"])
            case "add":
                added = self._bctoolbox.made([self._uri(user) for user in order["users"]])
                self._flag("chat_room_add_participants", room, added)
            case "remove":
                self._call("chat_room_remove_participant", room, self._participant(room, order))
            case "promote" | "demote" as wish:
                who = self._participant(room, order)
                self._call("chat_room_set_participant_admin_status", room, who, int(wish == "promote"))
            case "rename":
                self._call("chat_room_set_subject", room, order["subject"])
            case "mark":
                self._call("chat_room_mark_as_read", room)
            case "leave":
                self._call("chat_room_leave", room)
            case "forget":
                self._call("core_delete_chat_room", self._core, room)
        return None

    def _create(self, subject: str, users: list[str]) -> None:
        params = self._pointer("core_create_default_chat_room_params", self._core)
        self._call("chat_room_params_set_backend", params, FLEXISIP)
        self._call("chat_room_params_enable_encryption", params, 0)
        self._call("chat_room_params_enable_group", params, int(subject != ""))
        self._call("chat_room_params_set_subject", params, subject or "one to one")
        invited = self._bctoolbox.made([self._uri(user) for user in users])
        self._pointer("core_create_chat_room_6", self._core, params, None, invited)

    def _rooms(self) -> list[int]:
        every = self._bctoolbox.read(self._list("core_get_chat_rooms", self._core))
        return [room for room in every if not self._number("chat_room_get_capabilities", room) & BASIC]

    def _look(self, room: int) -> RoomEvent:
        me = self._pointer("chat_room_get_me", room)
        members = self._bctoolbox.read(self._list("chat_room_get_participants", room))
        state = self._number("chat_room_get_state", room)
        return {
            "kind": "room",
            "room": self._address(room),
            "state": self._function("chat_room_state_to_string", c_char_p, (state,)).decode(),
            "subject": self._text("chat_room_get_subject", room),
            "members": {self._address_of("participant", member): self._member(member) for member in members},
            "admin": self._flag("participant_is_admin", me),
            "left": self._flag("chat_room_has_been_left", room),
            "one_to_one": bool(self._number("chat_room_get_capabilities", room) & ONE_TO_ONE),
        }

    def _member(self, participant: int) -> Member:
        devices = self._bctoolbox.read(self._list("participant_get_devices", participant))
        return {
            "admin": self._flag("participant_is_admin", participant),
            "devices": sorted(self._address_of("participant_device", device) for device in devices),
        }

    def _participant(self, room: int, order: RoomOrder) -> int:
        return self._pointer("chat_room_find_participant", room, self._uri(order["users"][0]))

    def _message_received(self, _core: int, chat: int, message: int) -> None:
        sender = self._pointer("chat_message_get_from_address", message)
        event: RoomEvent = {
            "kind": "received",
            "room": self._address(chat),
            "peer": self._text("address_as_string_uri_only", sender),
            "text": self._text("chat_message_get_utf8_text", message),
            "time": int(self._function("chat_message_get_time", ctypes.c_long, (message,))),
            "ephemeral": self._flag("chat_message_is_ephemeral", message),
        }
        self._tell(event)

    def _uri(self, address: str) -> int:
        return self._pointer("core_create_address", self._core, f"sip:{address}")

    def _address(self, room: int) -> str:
        found = self._function("chat_room_get_peer_address", c_void_p, (room,))
        return self._text("address_as_string_uri_only", found).removeprefix("sip:") if found else ""

    def _address_of(self, kind: str, thing: int) -> str:
        found = self._pointer(f"{kind}_get_address", thing)
        return self._text("address_as_string_uri_only", found).removeprefix("sip:")

    def _flag(self, name: str, *arguments: Any) -> bool:
        return bool(self._function(name, c_ubyte, arguments))

    def _list(self, name: str, *arguments: Any) -> int | None:
        found: int | None = self._function(name, c_void_p, arguments)
        return found


class _Lists:
    """The lists of bctoolbox: each element has pointers to the next, to the previous, and to its value."""

    def __init__(self) -> None:
        self._append = ctypes.CDLL("libbctoolbox.so.1").bctbx_list_append
        self._append.restype = c_void_p

    def read(self, head: int | None) -> list[int]:
        """The values of a list."""
        found = []
        while head:
            head, _, value = (c_void_p * 3).from_address(head)
            found.append(value)
        return found

    def made(self, values: list[int]) -> int | None:
        """A list of these values."""
        head: int | None = None
        for value in values:
            head = self._append(c_void_p(head), c_void_p(value))
        return head


if __name__ == "__main__":
    where = Path(sys.argv[1])
    os.environ["HOME"] = str(where)
    serve(GroupPhone(where), sys.stdin.fileno())
