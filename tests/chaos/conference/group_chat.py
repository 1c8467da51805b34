"""One room of phones: it is made by INVITE, its members come and go and talk, and its roster changes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from tests.chaos.conference import actions
from tests.chaos.conference.phone import Phone, Place
from tests.chaos.log import Sent
from tests.chaos.loop_time import now

ABSENCES = ("off", "killed", "network")
NOT_THERE = ((480, 0.0), (404, 0.0), (0, 0.0), (408, 2.0), (503, 0.0))
"""What the proxy responds for a device that is not there, and after how many seconds."""
CALM = (200, 202)


@dataclass
class Guest:
    """A user, and what is known of it for certain: every change of it is one accepted request."""

    user: str
    phones: list[Phone]
    is_forked: bool = False
    """The proxy forks an INVITE to this user."""
    is_member: bool = False
    is_admin: bool = False
    has_opened: bool = False
    """It has asked for the room by a command. For a minute, a BYE in an older session may end nothing."""
    left_at: list[float] = field(default_factory=list)
    """When its stays in the room were ended: the times just before the request that was accepted."""
    talking: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while the user sends, and while it is removed or leaves: so what it has said has been accepted."""


@dataclass
class GroupChat:
    """The room. ``observer`` is a text user in it, whose log is the order of the room."""

    host: Guest
    guests: list[Guest]
    observer: str
    stop: asyncio.Event
    random: random.Random
    pause: float
    longest: float
    """The longest absence, in seconds."""
    is_observed: Callable[[GroupChat], Awaitable[bool]]
    """Whether the observer hears what happens in the room: it is a member, and not away."""
    problems: list[str]
    sent: list[Sent] = field(default_factory=list)
    room: str = ""
    subject: str = ""
    perhaps: set[str] = field(default_factory=set)
    """Subjects of later requests without an answer that says whether they were accepted."""
    first: list[str] = field(default_factory=list)
    """The members that it was made with."""
    actions: int = 0

    @property
    def everyone(self) -> list[Guest]:
        return [self.host, *self.guests]

    @property
    def phones(self) -> list[Phone]:
        return [phone for guest in self.everyone for phone in guest.phones]

    async def run(self) -> None:
        """Make the room, and live in it until ``stop``."""
        self.subject = "subject 0"
        first = [guest for guest in self.guests if self.random.random() < 0.7]
        users = [*(guest.user for guest in first), self.observer]
        self.room = await actions.create(self.host.phones[0], self.subject, users)
        if not self.room:
            return
        for guest in (self.host, *first):
            guest.is_member = True
        self.host.is_admin = True
        self.first = [guest.user for guest in (self.host, *first)]
        async with asyncio.TaskGroup() as group:
            for guest in self.everyone:
                for phone in guest.phones:
                    group.create_task(self._talk(guest, phone))
            group.create_task(self._change())
            for _ in range(2):
                group.create_task(self._go_away_and_come_back())

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stop.wait()

    def place(self, phone: Phone) -> Place | None:
        """What the phone knows of this room."""
        return phone.places.get(self.room)

    def _in_room(self, guest: Guest) -> list[tuple[Phone, Place]]:
        """The guest's phones that are on and in the room."""
        known = [(phone, self.place(phone)) for phone in guest.phones if phone.absence is None]
        return [(phone, place) for phone, place in known if place is not None and place.is_in]

    # --- talking

    async def _talk(self, guest: Guest, phone: Phone) -> None:
        number = 0
        while not self.stop.is_set():
            await self._wait(self.random.uniform(0, 8 * self.pause))
            async with guest.talking:
                place = self.place(phone)
                if not guest.is_member or phone.absence is not None or place is None or not place.is_in:
                    continue
                number += 1
                await self._say(phone, place, f"{phone.name}.{number}")

    async def _say(self, phone: Phone, place: Place, mark: str) -> None:
        at = now()
        status = await actions.say(phone, place, mark)
        if status not in CALM:
            self.problems.append(f"{phone.name}: MESSAGE to {self.room} ended with {status}")
        self.sent.append(Sent(self.room, phone.name, mark, accepted=status in CALM, at=at))

    # --- changes of the room

    async def _change(self) -> None:
        while not self.stop.is_set() and not await self.is_observed(self):
            await self._wait(0.5)
        steps: list[Callable[[], Awaitable[None]]] = [
            self._remove,
            self._add,
            self._add,
            self._leave,
            self._promote,
            self._rename,
            self._refresh,
            self._subscribe_anew,
            self._open,
        ]
        while not self.stop.is_set():
            await self._wait(self.random.uniform(0, 16 * self.pause))
            if not self.stop.is_set():
                await self.random.choice(steps)()
                self.actions += 1

    def _admin(self, *, by_host: bool = False) -> Phone | None:
        """A phone that may change the room: the host's, or that of another admin."""
        found = self._in_room(self.host)
        others = [each for guest in self.guests if guest.is_admin for each in self._in_room(guest)]
        if others and not by_host and (not found or self.random.random() < 0.3):
            found = others
        return self.random.choice(found)[0] if found else None

    async def _refer(self, target: str, *, by_host: bool = False) -> bool:
        """Whether the REFER was accepted, and will have its effect. Only an owner may take a role away."""
        phone = self._admin(by_host=by_host)
        if phone is None:
            return False
        status = await actions.refer(phone, self.room, target)
        phone.note(f"REFER {target} in {self.room}: {status}")
        if status in {403, 404} and phone.user != self.host.user:
            return False  # the user or the role was added a moment ago, and no worker has come to it
        if status not in CALM:
            self.problems.append(f"{phone.name}: REFER {target} in {self.room} ended with {status}")
        return status in CALM

    def _some(self, *, members: bool) -> Guest | None:
        found = [guest for guest in self.guests if guest.is_member == members]
        return self.random.choice(found) if found else None

    async def _remove(self) -> None:
        guest = self._some(members=True)
        if guest is None:
            return
        async with guest.talking:
            admin = guest.is_admin
            guest.is_admin = False
            if admin and not await self._refer(f"<{actions.aor(guest.user)}>;text;admin=false", by_host=True):
                guest.is_admin = True
                return
            at = now()
            if await self._refer(f"<{actions.aor(guest.user)};method=BYE>;text"):
                guest.is_member = False
                guest.left_at.append(at)

    async def _add(self) -> None:
        guest = self._some(members=False)
        if guest is not None and await self._refer(f"<{actions.aor(guest.user)}>;text"):
            guest.is_member = True

    async def _promote(self) -> None:
        guest = self._some(members=True)
        if guest is None:
            return
        wanted, before = not guest.is_admin, guest.is_admin
        guest.is_admin = False  # it does not take part in the change of its own role
        target = f"<{actions.aor(guest.user)}>;text;admin={str(wanted).lower()}"
        is_done = await self._refer(target, by_host=before)
        guest.is_admin = wanted if is_done else before

    async def _leave(self) -> None:
        guest = self._some(members=True)
        if guest is None:
            return
        async with guest.talking:
            found = [
                (phone, place)
                for phone, place in self._in_room(guest)
                if place.session and place.session.is_confirmed
            ]
            if not found:
                return
            at = now()
            phone, place = self.random.choice(found)
            if place.subscription and not place.subscription.is_list and self.random.random() < 0.7:
                await actions.unsubscribe(phone, place)
            status = await actions.leave(phone, place)
            phone.note(f"BYE in {self.room}: {status}")
            if status == 481 or (status == 200 and (guest.left_at or guest.has_opened)):
                await self._make_sure_that_it_has_left(guest, at)
            elif status == 200:
                guest.is_member = guest.is_admin = False
                guest.left_at.append(at)
            elif status:
                self.problems.append(f"{phone.name}: BYE to {self.room} ended with {status}")

    async def _make_sure_that_it_has_left(self, guest: Guest, at: float) -> None:
        """An edge found no such member. Perhaps the BYE was accepted before, and its response was lost.

        Or no worker had come to what has added the user meanwhile. And a BYE in a session of an earlier stay,
        whose end the device has missed, ends nothing; nor does one after `#open`.
        """
        while not await self._refer(f"<{actions.aor(guest.user)};method=BYE>;text", by_host=True):
            await asyncio.sleep(0.5)
        guest.is_member = guest.is_admin = False
        guest.left_at.append(at)

    async def _rename(self) -> None:
        phone = self._admin()
        place = self.place(phone) if phone else None
        if phone is None or place is None:
            return
        if place.session is None and await actions.enter(phone, place) != 200:
            return
        subject = f"subject {self.actions}"
        status = await actions.rename(phone, place, subject)
        if status in CALM:
            self.subject, self.perhaps = subject, set()
            return
        if status in {0, 500}:  # its response was lost, or that of the one before (RFC 3261 §14.2)
            self.perhaps.add(subject)
        if status != 500 and not (status == 0 and place.session is None) and phone.user == self.host.user:
            self.problems.append(f"{phone.name}: re-INVITE to {self.room} ended with {status}")

    async def _refresh(self) -> None:
        guest = self.random.choice(self.everyone)
        for phone, place in self._in_room(guest):
            made = place.subscription
            if made and made.remote_tag and not made.is_list:
                await actions.refresh(phone, made, {self.room: place.roster.version})

    async def _subscribe_anew(self) -> None:
        guest = self.random.choice(self.everyone)
        if guest.is_member:
            for phone, place in self._in_room(guest):
                await actions.subscribe(phone, place)

    async def _open(self) -> None:
        """Linphone ends the session that it has if it is invited again, which must not end the stay."""
        guest = self.random.choice(self.everyone)
        async with guest.talking:
            found = self._in_room(guest) if guest.is_member else []
            if not found or (guest.is_forked and any(place.name == phone.gruu for phone, place in found)):
                return  # in a room whose INVITEs are forked, imc sends none to such a user
            guest.has_opened = True
            phone, place = self.random.choice(found)
            status = await actions.open_room(phone, place)
            phone.note(f"#open in {self.room}: {status}")
            if status not in CALM:
                self.problems.append(f"{phone.name}: #open in {self.room} ended with {status}")

    # --- absences

    async def _go_away_and_come_back(self) -> None:
        while not self.stop.is_set():
            await self._wait(self.random.uniform(1, 40 * self.pause + 2))
            there = [phone for phone in self.phones if phone.absence is None]
            if self.stop.is_set() or not there:
                continue
            phone = self.random.choice(there)
            kind = self.random.choice(ABSENCES)
            await self.go_away(phone, kind)
            await self._wait(self.random.uniform(0.1, 1.0) * self.longest)
            await self.come_back(phone, says_so=self.random.random() < 0.5)

    async def go_away(self, phone: Phone, kind: str) -> None:
        """The device is switched off, killed, or loses its network."""
        phone.note(f"goes away: {kind}")
        if kind == "off":
            places = [place for place in phone.places.values() if place.subscription]
            for place in places:
                if place.subscription and not place.subscription.is_list:
                    await actions.unsubscribe(phone, place)
            phone.is_registered = False
            phone.absence = 480, 0.0
        else:
            phone.absence = self.random.choice(NOT_THERE)
        phone.is_on = kind == "network"
        if not phone.is_on:
            phone.start_again()

    async def come_back(self, phone: Phone, *, says_so: bool) -> None:
        """It registers, which the proxy may tell, and asks for its rosters if it was started."""
        was_off, phone.is_on = not phone.is_on, True
        phone.note(f"comes back, {'and says so' if says_so else 'without a word'}")
        phone.is_registered = True
        phone.absence = None
        if says_so:
            await actions.register(phone, 3600)
        if was_off:
            await self._ask_for_rosters(phone)

    async def _ask_for_rosters(self, phone: Phone) -> None:
        shown = [place for place in phone.places.values() if place.is_in]
        listed = [place for place in shown if place.name == phone.gruu]
        if listed:
            await actions.subscribe_to_list(phone, listed)
        for place in shown:
            if place not in listed:
                await actions.subscribe(phone, place)
