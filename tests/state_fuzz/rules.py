"""The rules of rooms in plain Python, as `docs/commands.md` has them: what the state fuzzer compares with.

They know neither Lua nor Redis nor shards, and have one dictionary of rooms. `Rules.handle` takes a request
and gives the notices that follow. Where several reasons for a refusal hold at once, the page does not say
which one the sender is told, so each is right; but who lacks the rights for a command is told nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable

from imc_common.settings import Settings
from tests.state_fuzz.room import (
    Ask,
    Notice,
    RefusedError,
    Room,
    all_members,
    notice,
    notices,
    refuse_if,
    without_port,
)

RANK = {"owner": 1, "admin": 2, "member": 3}
MAX_PORTS = 8
"""Ports of one user in a room."""


class Rules:
    """All rooms under one set of settings."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.rooms: dict[str, Room] = {}

    def handle(self, ask: Ask) -> list[Notice]:
        """Carry out one request."""
        if ask.sender == ask.room:  # it would respond to itself for ever
            return []
        try:
            return list(getattr(self, f"_{ask.kind}")(ask))
        except RefusedError as refused:
            if ask.operator:
                return []
            more = {"command": ask.kind, "user": ask.user, "role": ask.role, "detail": ask.text}
            return [notice("refused", ask.sender, ask, refused.args[0], **more)]

    def failed(
        self, event: str, room: str, *, by: str, recipient: str, outcome: str, cause: object
    ) -> list[Notice]:
        """A delivery to `recipient` failed. `by` caused the event, with the request `cause`."""
        there = self.rooms.get(room)
        if there is None or recipient == room:
            return []
        if event != "invited" or there.invited.get(recipient) is not cause:
            return []  # answered, or invited again since
        there.forget(recipient)
        reason = "no_response" if outcome == "408" else "delivery_failed"
        report = Ask("delivery_report", recipient, room)
        return [notice("invitation_failed", by, report, user=recipient, reason=reason, detail=outcome)]

    def owned(self, user: str) -> int:
        """How many rooms a user owns, at whatever port."""
        same = without_port(user)
        return sum(same in map(without_port, room.owners()) for room in self.rooms.values())

    # --- what several commands share

    def _existing(self, ask: Ask, least: str) -> Room:
        """The room, for a sender with at least this role. A private room does not exist for a stranger."""
        room = self.rooms.get(ask.room)
        if ask.operator:
            refuse_if(unknown_room=room is None)
            assert room is not None
            return room
        if room is None or (room.private and not room.is_in(ask.sender)):
            raise RefusedError(frozenset({"unknown_room"}))
        refuse_if(not_member=ask.sender not in room.roles)
        too_low = RANK[room.roles[ask.sender]] > RANK[least]
        refuse_if(**{"owner_only" if least == "owner" else "admins_only": too_low})
        return room

    def _lack_of_place(self, room: Room, user: str) -> dict[str, bool]:
        """Reasons why there is no place for the user; an invited user has one already."""
        if room.is_in(user):
            return {}
        there = [*room.roles, *room.invited]
        ports = sum(without_port(one) == without_port(user) for one in there)
        return {
            "room_full": 0 < self.settings.max_members <= len(there),
            "too_many_devices": user != without_port(user) and ports >= MAX_PORTS,
        }

    def _is_full_owner(self, user: str, room: str) -> bool:
        """Whether the user may not own one more room, this one."""
        there = self.rooms.get(room)
        if there and without_port(user) in map(without_port, there.owners()):
            return False  # at another port
        return 0 < self.settings.max_rooms_per_owner <= self.owned(user)

    def _announced(
        self, event: str, room: Room, ask: Ask, concerned: Iterable[str], /, **more: str
    ) -> list[Notice]:
        """A join or leave: all members hear of it, or only those concerned."""
        everybody = self.settings.announce_joins if room.announce is None else room.announce
        to = dict.fromkeys([*concerned, *(room.roles if everybody else ())])
        return notices(event, to, ask, **more)

    def _enter(self, event: str, room: Room, ask: Ask, user: str, /, **more: str) -> list[Notice]:
        """The user becomes a member."""
        room.invited.pop(user, None)
        room.roles[user] = "member"
        room.joined[user] = True
        told = self._announced(event, room, ask, [user, ask.sender], **more)
        return told + ([notice("topic", user, ask, text=room.topic)] if room.topic else [])

    def _make(self, ask: Ask) -> list[Notice]:
        refuse_if(too_many_rooms=self._is_full_owner(ask.sender, ask.room))
        self.rooms[ask.room] = Room(ask.private, ask.sender, {ask.sender: "owner"}, joined={ask.sender: True})
        return [notice("created", ask.sender, ask, detail="private" if ask.private else "public")]

    def _come_in(self, room: Room, ask: Ask) -> list[Notice]:
        if ask.sender in room.roles:
            return [notice("already_member", ask.sender, ask, command=ask.kind)]
        banned = without_port(ask.sender) in room.bans
        refuse_if(you_are_banned=banned, **self._lack_of_place(room, ask.sender))
        return self._enter("joined", room, ask, ask.sender)

    # --- the commands, by the type of the request

    def _create(self, ask: Ask) -> list[Notice]:
        room = self.rooms.get(ask.room)
        if room is None:
            return self._make(ask)
        refuse_if(room_exists=room.private or self.settings.check_on_create)
        return self._come_in(room, ask)

    def _join(self, ask: Ask) -> list[Notice]:
        room = self.rooms.get(ask.room)
        if room is None:
            refuse_if(unknown_room=not self.settings.create_on_join)
            return self._make(Ask("join", ask.sender, ask.room))
        if room.private and not room.is_in(ask.sender):
            knocks = [] if without_port(ask.sender) in room.bans else room.in_charge()
            refusal = notice("refused", ask.sender, ask, frozenset({"unknown_room"}), command="join")
            return [refusal, *notices("join_refused", knocks, ask)]
        return self._come_in(room, ask)

    def _invite(self, ask: Ask) -> list[Notice]:
        room = self._existing(ask, "admin")
        refuse_if(
            is_room=ask.user == ask.room,
            user_is_member=ask.user in room.roles,
            user_is_invited=ask.user in room.invited,
            user_is_banned=without_port(ask.user) in room.bans,
            **self._lack_of_place(room, ask.user),
        )
        room.invited[ask.user] = ask
        to = [("invitation_sent", ask.sender), ("invited", ask.user)]
        return [notice(event, who, ask, user=ask.user) for event, who in to]

    def _accept(self, ask: Ask) -> list[Notice]:
        room = self.rooms.get(ask.room)
        if room and ask.sender in room.roles:
            return [notice("already_member", ask.sender, ask, command="accept")]
        self._check_invited(room, ask)
        assert room is not None
        return self._enter("joined", room, ask, ask.sender)

    def _deny(self, ask: Ask) -> list[Notice]:
        room = self.rooms.get(ask.room)
        self._check_invited(room, ask)
        assert room is not None
        room.forget(ask.sender)
        return notices("denied", [ask.sender, *room.in_charge()], ask)

    def _check_invited(self, room: Room | None, ask: Ask) -> None:
        hidden = room is None or (room.private and not room.is_in(ask.sender))
        refuse_if(unknown_room=hidden, not_invited=not hidden and room and ask.sender not in room.invited)

    def _remove(self, ask: Ask) -> list[Notice]:
        room = self._existing(ask, "admin")
        role = room.roles.get(ask.user, "invited" if ask.user in room.invited else "")
        is_owner = ask.operator or room.roles[ask.sender] == "owner"
        refuse_if(not_in_room=not role, is_owner=role == "owner", owner_only=role == "admin" and not is_owner)
        room.forget(ask.user)
        told = notice("you_were_removed", ask.user, ask, user=ask.user, role=role)
        others = notices("removed", all_members(room, ask), ask, user=ask.user, role=role)
        return [told, *others]

    def _add(self, ask: Ask) -> list[Notice]:
        room = self._existing(ask, "admin")
        refuse_if(
            is_room=ask.user == ask.room,
            user_is_member=ask.user in room.roles,
            user_is_banned=without_port(ask.user) in room.bans,
            **self._lack_of_place(room, ask.user),
        )
        return self._enter("added", room, ask, ask.user, user=ask.user)

    def _modify(self, ask: Ask) -> list[Notice]:
        room = self._existing(ask, "admin")
        old, is_owner = room.roles.get(ask.user), ask.operator or room.roles[ask.sender] == "owner"
        # an admin makes members admins, and may step down
        by_admin = (old, ask.role) == ("member", "admin") or (ask.user == ask.sender and ask.role == "member")
        refuse_if(
            not_in_room=old is None,
            role_already=old == ask.role,
            owner_only=not is_owner and not by_admin,
            last_owner=room.owners() == [ask.user] and ask.role != "owner",
            too_many_rooms=ask.role == "owner" and self._is_full_owner(ask.user, ask.room),
        )
        room.roles[ask.user] = ask.role
        return notices("role_changed", room.roles, ask, user=ask.user, role=ask.role)

    def _ban(self, ask: Ask) -> list[Notice]:
        room = self._existing(ask, "admin")
        user = without_port(ask.user)
        there = [one for one in [*room.roles, *room.invited] if without_port(one) == user]
        roles = {room.roles.get(one) for one in there}
        is_owner = ask.operator or room.roles[ask.sender] == "owner"
        refuse_if(
            is_room=ask.user == ask.room,
            is_owner="owner" in roles,
            owner_only="admin" in roles and not is_owner,
            user_is_banned=user in room.bans,
            too_many_bans=0 < self.settings.max_bans <= len(room.bans),
        )
        for one in there:
            room.forget(one)
        room.bans.add(user)
        told = notices("you_were_banned", there, ask, user=ask.user)
        others = all_members(room, ask) if there else [ask.sender, *room.in_charge()]
        return told + notices("banned", others, ask, user=ask.user)

    def _unban(self, ask: Ask) -> list[Notice]:
        room = self._existing(ask, "admin")
        refuse_if(not_banned=without_port(ask.user) not in room.bans)
        room.bans.discard(without_port(ask.user))
        return notices("unbanned", [ask.sender, *room.in_charge()], ask, user=ask.user)

    def _bans(self, ask: Ask) -> list[Notice]:
        room = self._existing(ask, "admin")
        return [notice("bans", ask.sender, ask, list=" ".join(sorted(room.bans)))]

    def _nick(self, ask: Ask) -> list[Notice]:
        room = self._existing(ask, "member")
        others = [nick for user, nick in room.nicknames.items() if user != ask.sender]
        others += [user.partition("@")[0] for user in (*room.roles, *room.invited) if user != ask.sender]
        refuse_if(name_taken=ask.text.lower() in map(str.lower, others))
        room.nicknames.pop(ask.sender, None)
        if ask.text:
            room.nicknames[ask.sender] = ask.text
        return self._announced("nickname_set", room, ask, [ask.sender], detail=ask.text)

    def _topic(self, ask: Ask) -> list[Notice]:
        room = self._existing(ask, "admin" if ask.text else "member")
        if ask.text:
            room.topic = ask.text
            return notices("topic_set", room.roles, ask, text=ask.text)
        if room.topic:
            return [notice("topic", ask.sender, ask, text=room.topic)]
        return [notice("no_topic", ask.sender, ask)]

    def _announce(self, ask: Ask) -> list[Notice]:
        room = self._existing(ask, "admin")
        room.announce = ask.text == "on"
        return notices("announce_set", room.in_charge(), ask, detail=ask.text)

    def _exit(self, ask: Ask) -> list[Notice]:
        room = self.rooms.get(ask.room)
        if room and ask.sender in room.invited:
            return self._deny(ask)
        room = self._existing(ask, "member")
        if room.owners() == [ask.sender]:
            how = self.settings.owner_exit
            asked_first = how == "confirm" and ask.text != "confirm" and len(room.roles) > 1
            refuse_if(last_owner=how == "refuse", confirm_exit=asked_first)
            return self._end(room, ask)
        room.forget(ask.sender)
        return self._announced("left", room, ask, [ask.sender])

    def _destroy(self, ask: Ask) -> list[Notice]:
        return self._end(self._existing(ask, "owner"), ask)

    def _end(self, room: Room, ask: Ask) -> list[Notice]:
        del self.rooms[ask.room]
        return notices("destroyed", room.roles, ask)

    def _list(self, ask: Ask) -> list[Notice]:
        room = self._existing(ask, "member")
        nicks = {user: f"|{nick}" for user, nick in room.nicknames.items()}
        found = [f"{role}:{user}{nicks.get(user, '')}" for user, role in room.roles.items()]
        return [notice("members", ask.sender, ask, list=" ".join(sorted(found)))]

    def _rooms(self, ask: Ask) -> list[Notice]:
        public = [f"public:{name}" for name, room in self.rooms.items() if not room.private]
        own = [f"private:{n}" for n, room in self.rooms.items() if room.private and ask.sender in room.roles]
        return [notice("rooms", ask.sender, ask, list=" ".join(sorted(public + own)), more="0")]

    def _help(self, ask: Ask) -> list[Notice]:
        return [notice("help", ask.sender, ask)]

    def _message(self, ask: Ask) -> list[Notice]:
        room = self._existing(ask, "member")
        others = [user for user in room.roles if user != ask.sender]
        if ask.operator:
            return notices("notice", others, ask)
        nick = room.nicknames.get(ask.sender, "") if self.settings.shows_nicknames else ""
        return notices("message", others, ask, nick=nick)
