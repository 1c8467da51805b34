"""Drives a headless Linphone with group chat: a user with rooms on a server, on one of several devices."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.integration.peers.liblinphone_rooms import Member
from tests.integration.peers.linphone import Linphone


class GroupLinphone(Linphone):
    """A user NAME@DOMAIN with a device, who makes rooms at the factory ``conference-factory@ROOMS``."""

    program = "tests.integration.peers.liblinphone_rooms"

    def __init__(
        self,
        folder: Path,
        name: str,
        proxy: str,
        password: str,
        *,
        domain: str = "sip.test",
        rooms: str = "",
        device: str = "phone",
        root_ca: Path | None = None,
    ) -> None:
        (folder / device).mkdir(exist_ok=True)
        super().__init__(folder / device, name, proxy, password, domain=domain, root_ca=root_ca)
        settings = self._folder / "phone.ini"
        factory = f"conference_factory_uri=sip:conference-factory@{rooms or domain}\n"
        # the app saves the name of its device late: it would be another one after a kill
        more = f"[misc]\nhide_empty_chat_rooms=0\nuuid={uuid4()}\n"
        settings.write_text(settings.read_text().replace("[misc]\n", more) + factory)

    def create(self, subject: str, *users: str) -> str:
        """Make a room with users and return its address; without a subject it is one-to-one."""
        before = set(self.rooms())
        self._do("create", subject=subject, users=list(users))
        self._wait_for(lambda: self._created(before) is not None, f"a room {subject!r}")
        room = self._created(before)
        assert room is not None
        return room

    def _created(self, before: set[str]) -> str | None:
        fresh = [room for room, seen in self.rooms().items() if room and room not in before]
        return next(
            (room for room in fresh if self.rooms()[room]["state"] == "LinphoneChatRoomStateCreated"), None
        )

    def rooms(self) -> dict[str, dict[str, Any]]:
        """What the user sees of each room: its latest event."""
        return {event["room"]: event for event in self.room_events()}

    def room_events(self) -> list[dict[str, Any]]:
        """All events about rooms, oldest first."""
        return [dict(event) for event in self.events() if event["kind"] == "room"]

    def roster(self, room: str) -> dict[str, bool]:
        """The other members of a room, and who of them is an administrator."""
        return {name: member["admin"] for name, member in self._members(room).items()}

    def devices(self, room: str, address: str) -> list[str]:
        """The devices of another member."""
        return self._members(room)[address]["devices"]

    def _members(self, room: str) -> dict[str, Member]:
        members: dict[str, Member] = self.rooms().get(room, {}).get("members", {})
        return members

    def wait_for_room(self, room: str, **members: bool) -> None:
        """Wait until it shows exactly these other members; True stands for an administrator."""
        domain = self.address.partition("@")[2]
        expected = {f"{name}@{domain}": admin for name, admin in members.items()}
        self._wait_for(
            lambda: self.roster(room) == expected and not self.has_left(room), f"the roster {expected}"
        )

    def wait_for_subject(self, room: str, subject: str) -> None:
        """Wait until it shows this subject."""
        self._wait_for(
            lambda: self.rooms().get(room, {}).get("subject") == subject, f"the subject {subject!r}"
        )

    def wait_for_devices(self, room: str, address: str, count: int) -> None:
        """Wait until it shows so many devices of another member."""
        self._wait_for(
            lambda: len(self._members(room).get(address, {"devices": []})["devices"]) == count,
            f"{count} devices of {address}",
        )

    def wait_until_admin(self, room: str) -> None:
        """Wait until it shows that this user is an administrator."""
        self._wait_for(lambda: bool(self.rooms().get(room, {}).get("admin")), "to be an administrator")

    def wait_until_left(self, room: str) -> None:
        """Wait until it shows that this user is not in the room any more."""
        self._wait_for(lambda: self.has_left(room), f"to be out of {room}")

    def wait_until_ended(self, room: str) -> None:
        """The same, and its session with the room is over: an INVITE that comes earlier would end in it."""
        ended = "LinphoneChatRoomStateTerminated"
        self._wait_for(lambda: self.rooms().get(room, {}).get("state") == ended, f"the end of {room}")

    def is_one_to_one(self, room: str) -> bool:
        """Whether it shows a room as a chat of two."""
        return bool(self.rooms()[room].get("one_to_one"))

    def has_left(self, room: str) -> bool:
        """Whether it shows that this user is not in the room."""
        return bool(self.rooms().get(room, {}).get("left"))

    def write(self, room: str, text: str, *, ephemeral: int = 0) -> None:
        """Write a text, which may vanish after `ephemeral` seconds; returns when it was accepted."""
        before = self._accepted(text)
        self._do("say", room=room, text=text, ephemeral=ephemeral)
        self._wait_for(lambda: self._accepted(text) > before, f"a 2xx to {text!r}")

    def wait_for_text(self, room: str, text: str, sender: str = "") -> dict[str, Any]:
        """Wait until a text is in a room, and return its event; its author must be the sender, if given."""
        self._wait_for(lambda: bool(self._occurrences(room, text)), f"{text!r} in {room}")
        event = self._occurrences(room, text)[0]
        assert not sender or event["peer"].partition(";")[0] == f"sip:{sender}", event
        return event

    def texts_in(self, room: str) -> list[str]:
        """All texts received in a room, in order, also those before a restart."""
        return [
            event["text"]
            for event in self.events()
            if event.get("room") == room and event["kind"] == "received"
        ]

    def _occurrences(self, room: str, text: str) -> list[dict[str, Any]]:
        every = [dict(event) for event in self.events() if event["kind"] == "received"]
        return [event for event in every if event.get("room") == room and event["text"] == text]

    def add(self, room: str, *users: str) -> None:
        """Add users to a room, all at once."""
        self._do("add", room=room, users=list(users))

    def remove(self, room: str, user: str) -> None:
        """Remove a user from a room."""
        self._do("remove", room=room, users=[user])

    def promote(self, room: str, user: str) -> None:
        """Make a user an administrator."""
        self._do("promote", room=room, users=[user])

    def demote(self, room: str, user: str) -> None:
        """Make an administrator a member like others."""
        self._do("demote", room=room, users=[user])

    def rename(self, room: str, subject: str) -> None:
        """Change the subject of a room."""
        self._do("rename", room=room, subject=subject)

    def mark_as_read(self, room: str) -> None:
        """Show all texts in a room to the user."""
        self._do("mark", room=room)

    def leave_room(self, room: str) -> None:
        """Leave a room."""
        self._do("leave", room=room)

    def delete(self, room: str) -> None:
        """Delete a chat, which leaves it first."""
        self._do("forget", room=room)

    def _do(self, wish: str, **more: object) -> None:
        self._order({"do": wish, **more})  # type: ignore[typeddict-item] # an order of liblinphone_rooms
