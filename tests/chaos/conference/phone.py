"""One device of a user, as Linphone is: what it shows of rooms, and how it responds (RFC 4579, 4575).

Observed with liblinphone 5.1.65: without an ACK it ends its session after 32 s by BYE, and has left the room.
It ends its subscription 0.06 s after that BYE; when its user leaves, it does so before the BYE. If it is
invited again, it first ends the session that it has by BYE, and then accepts. It subscribes then unless it
has a subscription.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.chaos.conference.requests import Requests
from tests.chaos.conference.roster import Roster
from tests.chaos.conference.wire import Message, parts_of
from tests.chaos.log import Kind, Received
from tests.chaos.loop_time import now

T1 = 0.5
T2 = 4.0
LAST = 64 * T1
IN_FLIGHT = 2.0
"""Seconds for which a message may still come under the name that the device had before."""
_MARK = re.compile(rb"mark=(\S+)\s*$")
_ROOM = re.compile(r"^sips?:([^;>]+)")
_REASON = re.compile(r"reason=([\w-]+)")

Respond = Callable[..., None]
"""Called with the status, and perhaps tag and headers."""


@dataclass(slots=True)
class Session:
    """The dialog of an INVITE, by which a device is in a room."""

    call_id: str
    local_tag: str
    remote_tag: str
    local_uri: str
    remote_uri: str
    cseq: int = 1
    is_confirmed: bool = True


@dataclass(slots=True)
class Subscription:
    """The dialog of a SUBSCRIBE to one room, or to the list of rooms."""

    call_id: str
    local_tag: str
    local_uri: str
    target: str
    rooms: tuple[str, ...]
    remote_tag: str = ""
    cseq: int = 1
    remote_cseq: int = 0
    is_list: bool = False


@dataclass(slots=True)
class Place:
    """What a device knows of one room. ``name`` is the URI by which the room invited it."""

    room: str
    name: str
    roster: Roster
    is_in: bool = False
    was_by_aor: bool = False
    """Whether it was invited by its user's address once. Then it could not name itself in messages."""
    former_name: str = ""
    renamed_at: float = 0.0
    session: Session | None = None
    subscription: Subscription | None = None


@dataclass
class Phone:
    """A device. ``problems`` are what the product must never do."""

    user: str
    gruu: str
    requests: Requests
    random: random.Random
    problems: list[str]
    subscribe: Callable[[Phone, Place], None]
    hang_up: Callable[[Phone, Session, str, Subscription | None], None]
    """Sends a BYE to a room, and ends the subscription, if there is one."""
    notes: list[tuple[float, str]] = field(default_factory=list)
    """What happened, for whoever reads the findings."""
    places: dict[str, Place] = field(default_factory=dict)
    log: list[Received] = field(default_factory=list)
    is_on: bool = True
    is_registered: bool = True
    absence: tuple[int, float] | None = None
    """What the proxy responds for it, 0 for nothing, and after how many seconds; None while it is there."""
    lives: int = 0
    """How often it was started again."""
    accepted: int = 0
    """How many INVITEs it has accepted."""

    def __post_init__(self) -> None:
        self._list: Subscription | None = None

    @property
    def name(self) -> str:
        """The device as findings and histories have it."""
        return self.gruu.removeprefix("sip:")

    @property
    def instance(self) -> str:
        """The instance in its Contact (RFC 5626 §4.1), of which the registrar makes the GRUU."""
        return self.gruu.partition(";gr=")[2]

    def place(self, room: str, name: str = "") -> Place:
        """What it knows of this room; ``name`` is how the room calls it from now on."""
        known = self.places.get(room)
        if known is None:
            known = self.places[room] = Place(room, name or self.gruu, Roster(f"{self.name} of {room}"))
        if name:
            if name != known.name:
                known.former_name, known.renamed_at = known.name, now()
            known.name = name
            known.was_by_aor |= name != self.gruu
        return known

    def note(self, what: str) -> None:
        """Keep what has happened."""
        self.notes.append((now(), f"{self.name}: {what}"))

    def shows(self, request: Message) -> bool:
        """Whether it shows the room that this is from. Then it accepts an INVITE without its user."""
        place = self.places.get(_room_in(request.get("from")))
        return place is not None and place.is_in

    # --- what comes in

    def receive(self, request: Message, respond: Respond) -> None:
        """A request of the room in this device. It responds at once or later."""
        if request.method != "MESSAGE":
            self.note(f"gets {request.method} {request.get('call-id')} {request.get('cseq')}")
        match request.method:
            case "MESSAGE":
                self._receive_message(request, respond)
            case "NOTIFY":
                self._receive_notify(request, respond)
            case "BYE":
                self._receive_bye(request, respond)
            case "INVITE":
                self.accept(request, respond)
            case _:
                respond(405)

    def _receive_message(self, request: Message, respond: Respond) -> None:
        room = _room_in(request.get("from"))
        place = self.places.get(room)
        to = request.address("to")
        if place is None or to != place.name:
            # Linphone knows the room under the To of its INVITE. What was on its way then has to come again.
            is_in_flight = place and to == place.former_name and now() < place.renamed_at + IN_FLIGHT
            if not is_in_flight:
                known = place.name if place else "nothing"
                self.problems.append(f"{self.name}: MESSAGE of {room} to {to}, not {known}")
            respond(488)
            return
        respond(200)
        mark = _MARK.search(request.body)
        if mark:
            identity = " ".join((request.get("call-id"), request.get("cseq"), request.tag("from")))
            self.log.append(Received(room, Kind.MESSAGE, mark[1].decode(), identity, now()))

    def _receive_notify(self, request: Message, respond: Respond) -> None:
        subscription = self._subscription(request.get("call-id"), request.tag("to"))
        if subscription is None:
            respond(481)
            return
        if request.cseq <= subscription.remote_cseq:  # RFC 3261 §12.2.2
            self.note(f"refuses NOTIFY with CSeq {request.cseq} after {subscription.remote_cseq}")
            respond(500)
            return
        subscription.remote_cseq = request.cseq
        state = request.get("subscription-state")
        respond(200)
        content_type = request.get("content-type")
        if content_type.startswith("multipart/related"):
            self._take_list(subscription, content_type, request.body)
        elif request.body:
            (room,) = subscription.rooms
            self._apply(room, request.body, is_end=state.startswith("terminated"))
        if state.startswith("terminated"):
            reason = _REASON.search(state)
            for room in subscription.rooms:
                self._subscription_ended(room, subscription, reason[1] if reason else "")
            if self._list is subscription:
                self._list = None

    def _apply(self, room: str, document: bytes, *, is_end: bool) -> None:
        place = self.places[room]
        self.note(f"roster of {room}: {place.roster.apply(document, is_end=is_end)}")

    def _take_list(self, subscription: Subscription, content_type: str, body: bytes) -> None:
        """RFC 4662: one room of a list, or several."""
        parts = parts_of(content_type, body)
        listed = parts[0].body.decode()
        for part in parts[1:]:
            entity = re.search(rb'<conference-info[^>]* entity="sip:([^"]+)"', part.body)
            room = entity[1].decode() if entity else ""
            if room not in subscription.rooms:
                self.problems.append(f"{self.name}: NOTIFY with {room}, which it did not ask for")
                continue
            ended = re.search(rf'uri="sip:{re.escape(room)}"><instance [^>]*state="terminated"[^>]*', listed)
            self._apply(room, part.body, is_end=ended is not None)
            if ended:
                reason = _REASON.search(ended[0].replace('"', ""))
                self._subscription_ended(room, subscription, reason[1] if reason else "")

    def _subscription_ended(self, room: str, subscription: Subscription, reason: str) -> None:
        place = self.places[room]
        if place.subscription is not subscription:
            return
        place.subscription = None
        if reason == "timeout" and place.is_in:
            self.subscribe(self, place)

    def _receive_bye(self, request: Message, respond: Respond) -> None:
        place = self._with_session(request)
        respond(481 if place is None else 200)
        if place is not None:
            self.left(place)

    def _with_session(self, request: Message) -> Place | None:
        ids = request.get("call-id"), request.tag("to")
        return next(
            (
                place
                for place in self.places.values()
                if place.session and (place.session.call_id, place.session.local_tag) == ids
            ),
            None,
        )

    def accept(self, request: Message, respond: Respond) -> None:
        """Respond 200 to an INVITE, again until the ACK comes, and subscribe to the roster.

        It is another one also if it has the same Call-ID, and comes from another edge.
        """
        key = request.get("call-id"), request.tag("from")
        room, name = _room_in(request.get("from")), request.address("to")
        place = self.place(room, name)
        if place.session is not None:
            self.note(f"was invited to {room}, and ends {place.session.call_id}")
            place.session.is_confirmed = True  # its 200 is not repeated any more
            self.hang_up(self, place.session, room, None)
        self.accepted += 1
        tag = self.requests.new_id("t")
        session = Session(key[0], tag, key[1], name, f"sip:{room}", is_confirmed=False)
        place.session = session
        place.is_in = True
        self.note(f"accepts {session.call_id} of {room} as {name}")
        self._send_200(respond, place)
        if place.subscription is None:
            self.subscribe(self, place)

    def _send_200(self, respond: Respond, place: Place) -> None:
        lives, begun, session = self.lives, now(), place.session
        assert session is not None
        session.is_confirmed = False

        def again(interval: float) -> None:
            if session.is_confirmed or self.lives != lives or not self.is_on:
                return
            if now() > begun + LAST:
                self.note(f"gets no ACK, and ends {session.call_id}")
                is_last = place.session is session
                self.hang_up(self, session, place.room, place.subscription if is_last else None)
                if is_last:
                    self.left(place)
                return
            send()
            asyncio.get_running_loop().call_later(interval, again, min(2 * interval, T2))

        def send() -> None:
            respond(200, session.local_tag, [("Contact", f"<{self.gruu}>;text")])

        send()
        asyncio.get_running_loop().call_later(T1, again, 2 * T1)

    def acknowledged(self, request: Message) -> bool:
        """An ACK: whether it is that of a 200 of this device."""
        place = self._with_session(request)
        if place is not None and place.session is not None:
            place.session.is_confirmed = True
        return place is not None

    # --- what changes here

    def left(self, place: Place) -> None:
        """The device is in the room no longer."""
        self.note(f"is out of {place.room}")
        if place.session is not None:
            place.session.is_confirmed = (
                True  # its BYE may overtake the ACK, after which no 200 is sent again
            )
        place.is_in = False
        place.session = None
        place.subscription = None

    def start_again(self) -> None:
        """It was killed or quit, and knows its rooms, but neither sessions nor subscriptions."""
        self.lives += 1
        self.note("starts anew")
        self._list = None
        for place in self.places.values():
            place.session = None
            place.subscription = None

    def keep_list(self, subscription: Subscription) -> None:
        """This subscription is to several rooms."""
        self._list = subscription
        for room in subscription.rooms:
            self.places[room].subscription = subscription

    def _subscription(self, call_id: str, tag: str) -> Subscription | None:
        known = [self._list, *(place.subscription for place in self.places.values())]
        return next(
            (each for each in known if each and (each.call_id, each.local_tag) == (call_id, tag)), None
        )


def _room_in(value: str) -> str:
    """The address in a header that names a room."""
    found = _ROOM.search(value.partition("<")[2] if "<" in value else value)
    return found[1] if found else ""
