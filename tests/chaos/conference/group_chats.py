"""All rooms of phones in a run: their users, their end, and the verdict about them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import redis as client

from imc_common import keys
from tests.chaos.conference import actions
from tests.chaos.conference.group_chat import GroupChat, Guest
from tests.chaos.conference.judge import Device, check_messages, check_roster
from tests.chaos.conference.phone import Phone, Place, Session, Subscription
from tests.chaos.conference.requests import Requests
from tests.chaos.conference.roster import Entry
from tests.chaos.history import History, Verdict, first_copies
from tests.chaos.loop_time import now
from tests.chaos.proxy import Proxy
from tests.chaos.servers import Single

GUESTS = 3
SETTLE_SECONDS = 200.0
"""Until all members have a device in their room. An INVITE that fails just after its user has registered
comes again with the next probe."""
HASH_SIZE = 4

Room = tuple[dict[str, str], list[str], str]
"""Members with their values, devices, and the topic of a room."""


class GroupChats:
    """Rooms whose members are phones: a host and guests, some with two devices, and an observer by text."""

    def __init__(
        self,
        requests: Requests,
        proxy: Proxy,
        room_in_redis: Callable[[str], Room],
        problems: list[str],
        *,
        random: random.Random,
        stop: asyncio.Event,
        pause: float,
        longest: float,
    ) -> None:
        self._requests = requests
        self._proxy = proxy
        self._room_in_redis = room_in_redis
        self._problems = problems
        self._random = random
        self._stop = stop
        self._pause = pause
        self._longest = longest
        self._tasks: set[asyncio.Task[None]] = set()
        self.chats: list[GroupChat] = []
        self.notes: list[tuple[float, str]] = []
        """What happened to phones, with the time."""

    def add(self, number: int) -> GroupChat:
        """One more room."""
        observer = f"p{number}"
        self._proxy.registrar.text_users.add(observer)
        letters = "abcdefgh"[: GUESTS + 1]
        host, *guests = [self._guest(f"l{number}{letter}") for letter in letters]
        chat = GroupChat(
            host,
            guests,
            observer,
            self._stop,
            self._random,
            self._pause,
            self._longest,
            self._is_observed,
            self._problems,
        )
        self.chats.append(chat)
        return chat

    async def _is_observed(self, chat: GroupChat) -> bool:
        if not self._proxy.heard[chat.observer]:
            return False
        with suppress(client.RedisError, OSError):
            members, _, _ = await self.look(chat.room)
            value = members.get(f"{chat.observer}@{actions.DOMAIN}", "away")
            return "away" not in value and "inviting" not in value
        return False

    async def look(self, room: str) -> Room:
        """What Redis has of this room."""
        return await asyncio.to_thread(self._room_in_redis, room)

    def _guest(self, user: str) -> Guest:
        phones = [self._phone(user, device) for device in range(self._random.choice((1, 1, 2)))]
        self._proxy.registrar.phones[user] = phones
        is_forked = self._random.random() >= 0.7
        if not is_forked:
            self._proxy.registrar.redirects.add(user)
        return Guest(user, phones, is_forked)

    def _phone(self, user: str, device: int) -> Phone:
        gruu = f"{actions.aor(user)};gr=urn:uuid:{device}"
        phone = Phone(
            user, gruu, self._requests, self._random, self._problems, self._subscribe, self._hang_up
        )
        phone.notes = self.notes
        return phone

    def _subscribe(self, phone: Phone, place: Place) -> None:
        self._run_beside(self._subscribe_soon(phone, place))

    def _hang_up(self, phone: Phone, session: Session, room: str, ended: Subscription | None) -> None:
        self._run_beside(actions.hang_up(phone, session, room))
        if ended is not None and not ended.is_list:
            self._run_beside(actions.end_soon(phone, ended))

    def _run_beside(self, request: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(request)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _subscribe_soon(self, phone: Phone, place: Place) -> None:
        lives = phone.lives
        status = await actions.subscribe(phone, place)
        if status not in {0, 200, 403, 404, 481} and phone.lives == lives:
            self._problems.append(f"{phone.name}: SUBSCRIBE to {place.room} ended with {status}")

    @property
    def users(self) -> set[str]:
        """Those to whom deliveries may fail: phones that are away, and telephones that refuse an INVITE."""
        return {guest.user for chat in self.chats for guest in chat.everyone} | {
            chat.observer for chat in self.chats
        }

    # --- the end

    async def settle(self) -> None:
        """All are there again, and accept every INVITE. Wait until each member has a device in the room."""
        self._proxy.registrar.is_obedient = True
        back = [
            chat.come_back(phone, says_so=True)
            for chat in self.chats
            for phone in chat.phones
            if phone.absence is not None
        ]
        await asyncio.gather(*back)
        users = [guest for chat in self.chats for guest in chat.everyone]
        await asyncio.gather(*(actions.register(guest.phones[0], 3600) for guest in users))
        until = now() + SETTLE_SECONDS
        while (missing := self._missing()) and now() < until:
            await asyncio.sleep(0.2)
        self._problems += missing
        await self._have_subscriptions()

    def _missing(self) -> list[str]:
        found = []
        for chat in self.chats:
            for guest in chat.everyone:
                shown = [each.name for each in guest.phones if (p := chat.place(each)) and p.is_in]
                if guest.is_member and not shown:
                    found.append(f"{guest.user} is a member of {chat.room}, and no device of it is there")
                elif not guest.is_member:
                    found += [f"{name} still shows {chat.room}" for name in shown]
            found += [
                f"{phone.name} waits for its ACK in {chat.room}"
                for phone in chat.phones
                if (p := chat.place(phone)) and p.session and not p.session.is_confirmed
            ]
        return found

    async def _have_subscriptions(self) -> None:
        """A phone whose subscription has ended asks again, as Linphone does when it is looked at."""
        while self._tasks:
            await asyncio.wait(self._tasks, timeout=1)
        without = [
            (phone, place)
            for chat in self.chats
            for phone in chat.phones
            if (place := chat.place(phone)) and place.is_in and not place.subscription
        ]
        await asyncio.gather(*(actions.subscribe(*each) for each in without))

    def check(self, history: History, verdict: Verdict) -> None:
        """Add what was wrong to the verdict."""
        history.notes += self.notes
        for chat in self.chats:
            if not chat.room:
                continue
            order = first_copies(chat.observer, history.received[chat.observer], verdict)[
                chat.room.partition("@")[0]
            ]
            devices = [
                self._device(chat, phone, guest, verdict) for guest in chat.everyone for phone in guest.phones
            ]
            verdict.messages += sum(sent.accepted for sent in chat.sent)
            check_messages(chat.room, order, chat.sent, first=chat.first, devices=devices, verdict=verdict)
            self._check_room(chat, verdict)

    @staticmethod
    def _device(chat: GroupChat, phone: Phone, guest: Guest, verdict: Verdict) -> Device:
        log = [line for line in phone.log if line.room == chat.room]
        verdict.deliveries += len(log)
        first = first_copies(phone.name, log, verdict).get(chat.room, ())
        place = chat.place(phone)
        is_by_aor = place is not None and place.was_by_aor
        return Device(
            phone.name,
            phone.user,
            bool(place and place.is_in),
            [line.what for line in first],
            is_by_aor,
            came_at={line.what: line.at for line in first},
            left_at=tuple(guest.left_at),
        )

    def _check_room(self, chat: GroupChat, verdict: Verdict) -> None:
        """Redis has who should be there, and every phone shows what Redis has."""
        members, devices, topic = self._room_in_redis(chat.room)
        findings = verdict.rosters
        for guest in chat.everyone:
            role = members.get(f"{guest.user}@{actions.DOMAIN}", "").split(" ")[0]
            is_so = role != "", role in {"owner", "admin"}
            if is_so != (guest.is_member, guest.is_admin):
                findings.append(
                    f"{chat.room}: {guest.user} is {role or 'no member'} in Redis, and should be "
                    f"{'admin' if guest.is_admin else 'member' if guest.is_member else 'no member'}"
                )
        if topic not in {chat.subject, *chat.perhaps}:
            findings.append(f"{chat.room}: subject {topic!r} in Redis, not {chat.subject!r}")
        there = {device.removesuffix(";aor") for device in devices}
        users = {
            f"sip:{user}": Entry(
                value.split(" ")[0] in {"owner", "admin"},
                frozenset(f"sip:{device}" for device in there if device.partition(";")[0] == user),
            )
            for user, value in members.items()
        }
        for phone in chat.phones:
            place = chat.place(phone)
            verdict.versions += place.roster.applied if place else 0
            if (phone.name in there) != bool(place and place.is_in):
                shows = "shows" if place and place.is_in else "does not show"
                findings.append(f"{phone.name} {shows} {chat.room}, and Redis has it the other way")
            if place is not None and place.is_in:
                check_roster(place.roster, users, topic, findings)
            elif place is not None:
                findings += place.roster.findings


def room_in_redis(redis: Single, room: str) -> Room:
    """What the primary of this room has."""
    shard = keys.shard_of(room, HASH_SIZE)
    names = keys.Keys()
    for port in redis.primaries():
        with client.Redis(port=port, decode_responses=True) as server:
            try:
                members: dict[str, str] = server.hgetall(names.members(shard, room))  # type: ignore[assignment] # of the sync client
                devices: list[str] = server.hkeys(f"imc_devices:{{{shard}}}:{room}")  # type: ignore[assignment] # of the sync client
                topic = server.hget(names.room(shard, room), "topic")
            except client.ResponseError:  # MOVED: another one has this slot
                continue
            return members, devices, str(topic or "")
    return {}, [], ""
