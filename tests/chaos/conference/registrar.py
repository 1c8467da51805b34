"""The registrar in front of the phones: which device gets a request, and what if none is there."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial

from tests.chaos.conference.phone import Phone, Respond
from tests.chaos.conference.wire import Headers, Message, response

Address = tuple[str, int]
Send = Callable[[bytes, Address], None]
Key = tuple[str, str, Address]
Hold = Callable[[int, float], None]
ANSWERS = ("accept",) * 8 + ("late", "decline", "silent")
"""What becomes of an INVITE, at random."""


class Registrar:
    """All phones, by user. ``text_users`` have a telephone that knows no group chat."""

    def __init__(self) -> None:
        self.phones: dict[str, list[Phone]] = {}
        self.text_users: set[str] = set()
        self.redirects: set[str] = set()
        """Users whose INVITE is answered with their devices; an INVITE to another user is forked."""
        self.is_obedient = False
        """From now on every INVITE is accepted."""
        self.random = random.Random(0)
        self._done: dict[Key, list[bytes]] = {}
        self._held: set[Key] = set()
        self._pending: dict[tuple[str, str], str] = {}

    def takes(self, data: bytes) -> bool:
        """Whether a datagram is for one of these phones."""
        start = data[: data.find(b"\r\n")].decode(errors="replace").split(" ")
        user = _user(start[1]) if len(start) == 3 else ""
        return user in self.phones or (user in self.text_users and start[0] in {"INVITE", "ACK", "CANCEL"})

    def receive(self, data: bytes, addr: Address, send: Send) -> None:
        """Route a request; a retransmission gets what was responded before."""
        request = Message.parse(data)
        if request.method == "ACK":
            self._acknowledge(request)
            return
        key = request.branch, request.method, addr
        if key in self._held:
            return
        if self._done.get(key):
            for each in self._done[key]:
                send(each, addr)
            return
        done = self._done[key] = []

        def respond(status: int, tag: str = "p", headers: Headers = ()) -> None:
            answer = response(request, status, tag, headers)
            if answer not in done:
                done.append(answer)
            send(answer, addr)

        user, device = _user(request.uri), _device(request.uri)
        if request.method == "CANCEL":
            respond(200)
        elif user in self.text_users:
            respond(488, "text")
        elif device is not None:
            known = [phone for phone in self.phones[user] if phone.gruu == request.uri]
            hold = partial(self._hold, key, respond)
            self._to_device(known[0] if known else None, request, respond, hold)
        elif request.method == "INVITE":
            self._fork(self.phones[user], request, respond)
        else:
            respond(404)

    def _acknowledge(self, request: Message) -> None:
        for phone in self.phones.get(_user(request.uri), ()):
            if phone.absence is None and phone.acknowledged(request):
                return

    def _hold(self, key: Key, respond: Respond, status: int, delay: float) -> None:
        """Respond later, and not to retransmissions meanwhile."""
        self._held.add(key)

        def end() -> None:
            self._held.discard(key)
            respond(status)

        asyncio.get_running_loop().call_later(delay, end)

    def _to_device(self, phone: Phone | None, request: Message, respond: Respond, hold: Hold) -> None:
        if phone is None:
            respond(404)
        elif phone.absence is not None:
            phone.note(f"is away, gets no {request.method}")
            status, delay = phone.absence
            if status:
                hold(status, delay)
        elif request.method == "INVITE" and not request.tag("to"):
            self._invite([phone], request, respond)
        else:
            phone.receive(request, respond)

    def _fork(self, phones: list[Phone], request: Message, respond: Respond) -> None:
        """An INVITE to a user (RFC 3261 §16.6, or §8.3 for a redirect)."""
        there = [phone for phone in phones if phone.is_registered]
        if not there:
            respond(480)
        elif phones[0].user in self.redirects:
            respond(302, "p", [("Contact", f"<{phone.gruu}>") for phone in there])
        else:
            on = [phone for phone in there if phone.absence is None]
            if on:
                self._invite(on, request, respond)
            else:
                asyncio.get_running_loop().call_later(2.0, respond, 408)

    def _invite(self, phones: list[Phone], request: Message, respond: Respond) -> None:
        plans = [(phone, self._plan(phone, request)) for phone in phones]
        accepting = [(phone, plan) for phone, plan in plans if plan in {"accept", "late"}]
        if not accepting:
            if any(plan == "decline" for _, plan in plans):
                respond(486)
            return  # nobody responds: Timer B
        for phone, plan in accepting:
            if plan == "accept":
                phone.accept(request, respond)
            else:
                respond(100)
                delay, before = self.random.uniform(1.0, 6.0), phone.accepted
                accept = partial(self._accept_late, phone, request, respond, before)
                asyncio.get_running_loop().call_later(delay, accept)

    @staticmethod
    def _accept_late(phone: Phone, request: Message, respond: Respond, before: int) -> None:
        """Unless it has accepted another INVITE meanwhile: a client takes them in their order."""
        if phone.absence is None and phone.accepted == before:
            phone.accept(request, respond)

    def _plan(self, phone: Phone, request: Message) -> str:
        """The same for an INVITE that comes again from another edge."""
        if self.is_obedient or phone.shows(request):
            return "accept"
        key = phone.gruu, request.get("call-id")
        return self._pending.setdefault(key, self.random.choice(ANSWERS))


def _user(uri: str) -> str:
    return uri.partition(":")[2].partition("@")[0]


def _device(uri: str) -> str | None:
    before, found, device = uri.partition(";gr=")
    return device if found and before else None
