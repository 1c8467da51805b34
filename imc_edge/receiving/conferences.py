"""Rooms as conferences: INVITE, SUBSCRIBE, REFER and BYE of clients that show a room with its members.

Each request becomes a room request, as a MESSAGE does, and gets its response when Redis has it. What the
request says of its dialog goes along, because no edge keeps one: `imc_edge.conference.dialog`.

There are few of these requests, and a large one may ask Redis about a thousand rooms. So each is a task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import structlog

from imc_common.address import without_case
from imc_common.bodies.resource_lists import last_notify
from imc_common.rooms.request import RoomRequest
from imc_common.settings import Settings
from imc_common.sip.errors import SipError
from imc_common.sip.message import Request
from imc_common.store import Command, Store
from imc_edge.commit import GroupCommit
from imc_edge.conference.dialog import Dialog, contact_of, contact_scheme, dialog_ids
from imc_edge.conference.dialog_ids import DialogIds
from imc_edge.conference.sender_device import is_contact_of, sender_device
from imc_edge.flow import Flow
from imc_edge.health import Health
from imc_edge.identifiers import Fingerprint
from imc_edge.identity.sender import Sender, asserted_sender, sender_of
from imc_edge.receiving.accept_pipeline import Accept
from imc_edge.receiving.budgets import Budgets
from imc_edge.receiving.conference_commit import (
    AGAIN,
    ROLES,
    Asked,
    ConferenceCommit,
    Send,
)
from imc_edge.receiving.conference_rules import (
    ConferenceRules,
    Wanted,
    check_session,
    event_id_of,
    expires_of,
    last_version,
    marks_of,
    new_subject_of,
    subject_of,
)
from imc_edge.receiving.invite_answers import InviteAnswers, announcement
from imc_edge.receiving.options import CONFERENCE_METHODS
from imc_edge.receiving.responses import Responses

MAX_TASKS: Final = 1000
"""Requests that are being handled at a time; further ones get 503."""
MAY_CHANGE: Final = frozenset((b"owner", b"admin", AGAIN))
"""Roles that may change a room."""
MAX_GONE: Final = 50
"""Rooms of one list of which a client learns that its user is not in them."""
DRAIN_SECONDS: Final = 3
"""How long a response that waits for Redis may hold up the end of an edge."""
MAX_PAUSE: Final = 10
"""Seconds, at most, until a client may repeat an INVITE that came before the response to the last one."""
_UNKNOWN_DIALOG: Final = 481

_log = structlog.get_logger()


class Conferences:
    """Accepts or refuses these requests."""

    def __init__(  # noqa: PLR0917 # the parts it connects
        self,
        settings: Settings,
        store: Store,
        commit: GroupCommit[Command | Accept],
        responses: Responses,
        health: Health,
        budgets: Budgets,
        *,
        has_sent: Callable[[str], None],
        wall_clock: Callable[[], float],
    ) -> None:
        """``has_sent`` is told of each user who sends something. ``wall_clock`` counts from the epoch."""
        self._responses = responses
        self._health = health
        self._ids = DialogIds(store.secret)
        self._answers = InviteAnswers()
        self._commit = ConferenceCommit(
            settings, store, commit, responses, budgets, has_sent=has_sent, wall_clock=wall_clock
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._changing: dict[str, int] = {}
        """The CSeq number of the INVITE that is pending in a dialog."""
        self.reload(settings)

    def reload(self, settings: Settings) -> None:
        """Go on with these settings."""
        self.methods = frozenset(CONFERENCE_METHODS if settings.conference_factory else ())
        """The methods that `accept` takes; none if there is no `conference_factory`."""
        self._rules = ConferenceRules(settings)
        self._commit.reload(settings)
        self._sender_of = asserted_sender if settings.identity == "asserted" else sender_of
        self._ignores_case = not settings.case_sensitive_users

    def accept(self, request: Request, flow: Flow, fingerprint: Fingerprint) -> None:
        """Accept a request of an authenticated sender, or refuse it."""
        if len(self._tasks) >= MAX_TASKS or self._health.draining:
            self._responses.to(request, flow, fingerprint.tag).unavailable()
            return
        task = asyncio.get_running_loop().create_task(self._take(request, flow, fingerprint))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def acknowledge(self, request: Request, fingerprint: Fingerprint) -> bool:
        """An ACK: note it if it is that of a 200 of ours, whichever edge has sent that. False for others.

        Nobody authenticates an ACK (RFC 3261 §22.1), but only who got the 200 knows its tag.
        """
        try:
            if not self.methods or not self._ids.knows(request):
                return False
            exchange = (request.to_tag or "", request.cseq.number)
            is_known = self._answers.acknowledged(exchange)
            room, sender = self._rules.target(request), self._spelled(sender_of(request))
            self._commit.count_signal(sender)
            confirmation = self._commit.room_request("confirm_dialog", sender, room, request)
            confirmation = replace(confirmation, dialog=dialog_ids(request))
        except SipError:
            return False
        if self._ids.is_ours(request):  # an edge confirms the sessions of the room's own INVITEs
            self._commit.note(confirmation, fingerprint.digest)
        if not is_known:
            self._commit.tell(announcement(exchange))
        return True

    def check_dialog(self, request: Request, *, needs_one: bool = False) -> None:
        """Raises SipError for a request in a dialog that we do not know, or in none if it needs one."""
        if needs_one if request.to_tag is None else not (self.methods and self._ids.knows(request)):
            raise SipError(_UNKNOWN_DIALOG, "Call/Transaction Does Not Exist")

    def focus(self, request: Request) -> list[tuple[str, str]]:
        """What an OPTIONS to a room is told of it (RFC 4579 §5.14); nothing of the factory and of others.

        It is the same for every address that can be a room, whether there is one or not.
        """
        room = self._target(request)
        if not room or self._rules.is_factory(room):
            return []
        return [("Contact", f"<{contact_scheme(request.uri)}:{room}>;isfocus;text")]

    def is_factory(self, request: Request) -> bool:
        """Whether the Request-URI is the address at which clients create rooms."""
        return self._rules.is_factory(self._target(request))

    def _target(self, request: Request) -> str:
        """The room or factory in the Request-URI, empty for another address."""
        with suppress(SipError):
            return self._rules.target(request) if self.methods else ""
        return ""

    def heard(self, payload: bytes) -> None:
        """Another edge tells something: perhaps that it got the ACK of a 200 of this one."""
        self._answers.heard(payload)

    async def drain(self) -> None:
        """Return when all requests have their response."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=DRAIN_SECONDS)

    # --- one request

    async def _take(self, request: Request, flow: Flow, fingerprint: Fingerprint) -> None:
        try:
            await self._handle(request, flow, fingerprint)
        except SipError as error:
            self._responses.refuse(request, flow, fingerprint.tag, error)
        except Exception as error:  # logged; no request may end the edge
            _log.error("request failed", call_id=request.headers.get("Call-ID"), exc_info=error)
            fault = SipError(500, "Server Internal Error")
            self._responses.refuse(request, flow, fingerprint.tag, fault)

    def _handle(self, request: Request, flow: Flow, fingerprint: Fingerprint) -> Coroutine[Any, Any, None]:
        """Read what every method has. Raises SipError for a request that breaks a rule."""
        self._rules.check(request)
        target = self._rules.target(request)
        is_factory = self._rules.is_factory(target)
        sender = self._spelled(self._sender_of(request))
        # RFC 3261 §12.2.2, §15.1.2; a BYE is always in a dialog. For SUBSCRIBE see `_subscriptions`.
        if request.method != "SUBSCRIBE" and not is_factory:
            self.check_dialog(request, needs_one=request.method == "BYE")
        dialog = self._ids.dialog(request, sender.address)
        asked = Asked(request, flow, fingerprint, sender, target, dialog)
        if request.method == "SUBSCRIBE":
            return self._subscribe_to_list(asked) if is_factory else self._subscribe(asked)
        if request.method == "INVITE":
            check_session(request, is_factory=is_factory)
            if request.to_tag is not None:
                return self._change_alone(asked)
            return self._open(asked) if is_factory else self._enter(asked)
        if is_factory:
            raise SipError(405, "Method Not Allowed", [("Allow", "INVITE, SUBSCRIBE, OPTIONS, ACK, CANCEL")])
        return self._refer(asked) if request.method == "REFER" else self._leave(asked)

    async def _open(self, asked: Asked) -> None:
        """INVITE to the factory (RFC 4579 §5.4): a new room, with the users of its list."""
        request, sender = asked.request, asked.sender.address
        device = self._device(asked)
        room = self._ids.room(request, sender, self._rules.room_domain(asked.target))
        if not self._rules.is_room(room):  # `room_pattern` excludes them
            raise SipError(403, "Rooms Of Conferences Not Allowed")
        made = replace(
            self._wanted(asked, "open_conference", room),
            text=subject_of(request),
            device=device,
            dialog=self._dialog(asked).to_json("early"),
        )
        await self._commit.count(asked, made)
        was_accepted = await self._commit.check_order(asked, room)
        invitees = self._rules.invitees(request, sender)  # after the count: a list may be long
        made = replace(made, detail=" ".join(invitees))
        if not was_accepted:
            await self._commit.check_owned(asked.sender)
            await self._commit.charge(asked, made, invitees)
        await self._answer_invite(asked, made)

    async def _enter(self, asked: Asked) -> None:
        """INVITE to a room: a device of a member enters it (RFC 4579 §5.1).

        Linphone has no session after a restart. So its user may change the subject by this INVITE.
        """
        subject, unchanged = new_subject_of(asked.request)
        entering = replace(
            self._wanted(asked, "enter_conference"),
            device=self._device(asked),
            dialog=self._dialog(asked).to_json("early"),
        )
        await self._commit.count(asked, entering)
        role = await self._commit.role(asked)
        further = []
        if subject and role in MAY_CHANGE and role != AGAIN:
            change = self._in_dialog(asked, replace(self._wanted(asked, "topic"), text=subject))
            further.append((change, self._ids.digest(asked.fingerprint.digest, change.room)))
        await self._answer_invite(asked, entering, further, unchanged)

    async def _change_alone(self, asked: Asked) -> None:
        """One INVITE at a time in a dialog. Another one before the response gets 500 (RFC 3261 §14.2).

        Of INVITEs that come to several edges at once, Redis has an order: `check_order`.
        """
        dialog, number = asked.dialog, asked.request.cseq.number
        if self._changing.setdefault(dialog, number) != number:
            pause = int(asked.fingerprint.tag[:2], 16) % (MAX_PAUSE + 1)
            raise SipError(500, "Another INVITE Is Pending", [("Retry-After", str(pause))])
        try:
            await self._change(asked)
        finally:
            self._changing.pop(dialog, None)

    async def _change(self, asked: Asked) -> None:
        """INVITE in a dialog (RFC 3261 §14): a new subject. Without one it only shows that we are here.

        Nothing else of a room can be changed by it.
        """
        subject, unchanged = new_subject_of(asked.request)
        change = self._in_dialog(asked, replace(self._wanted(asked, "topic"), text=subject))
        await self._commit.count(asked, change)
        role = await self._commit.role(asked, SipError(_UNKNOWN_DIALOG, "Call/Transaction Does Not Exist"))
        if await self._commit.changes_lifetime(asked):
            subject, unchanged = "", "The lifetime of messages cannot be changed"
        if not subject:
            headers = [_contact(asked, change.room, ";text"), *_warnings(unchanged)]
            self._repeat(asked, self._commit.answer(asked, self._tag(asked), 200, headers))
            return
        if role not in MAY_CHANGE:
            raise SipError(403, "Only Owners And Admins May Change The Subject")
        await self._answer_invite(asked, change)

    async def _leave(self, asked: Asked) -> None:
        """BYE: the user leaves the room. Nobody is kept in it by a limit of commands."""
        self._commit.count_signal(asked.sender)
        await self._commit.role(asked, SipError(_UNKNOWN_DIALOG, "Call/Transaction Does Not Exist"))
        leaving = self._in_dialog(asked, self._wanted(asked, "exit"))
        await self._commit.submit(asked, leaving, self._tag(asked), 200, ())

    async def _refer(self, asked: Asked) -> None:
        """REFER: add or remove a user, or change a role (RFC 4579 §5.5)."""
        referral = self._rules.referral(asked.request)
        wanted = replace(self._wanted(asked, referral.type), user=referral.user, role=referral.role)
        wanted = self._in_dialog(asked, wanted)
        await self._commit.count(asked, wanted)
        role = await self._commit.role(asked)
        if role not in MAY_CHANGE:
            raise SipError(403, "Only Owners And Admins May Do This")
        if role != AGAIN:
            await self._commit.check_referral(asked, wanted)
            await self._commit.charge(asked, wanted, (wanted.user,) if wanted.type == "add" else ())
        # No subscription is made, so no NOTIFY tells what became of it: the roster does. RFC 4488 §4 has a
        # header that says so, but only to a client that has asked for it.
        headers = [_contact(asked, wanted.room)]
        if (asked.request.headers.get("Refer-Sub") or "").strip().lower() == "false":
            headers.append(("Refer-Sub", "false"))
        await self._commit.submit(asked, wanted, self._tag(asked), 202, headers)

    async def _subscribe(self, asked: Asked) -> None:
        """SUBSCRIBE to the roster of a room (RFC 4575)."""
        wanted = Wanted(asked.target, last_version(asked.request))
        subscriptions = self._subscriptions(asked, [wanted], is_list=False)
        await self._commit.count(asked, subscriptions[0][0])
        await self._commit.role(asked)
        await self._submit_subscriptions(asked, subscriptions)

    async def _subscribe_to_list(self, asked: Asked) -> None:
        """SUBSCRIBE to the rosters of several rooms at once (RFC 5367): those that the user belongs to.

        Of the others, the client learns that its user is not in them, whether they exist or not: it was off
        when the user was removed.
        """
        await self._commit.count(asked, self._wanted(asked, "subscribe"))  # before a list that may be long
        await self._commit.check_order(asked, asked.target)
        wanted = self._rules.rooms(asked.request, last_notify)
        subscriptions = self._subscriptions(asked, wanted, is_list=True)
        user = asked.sender.address
        roles = await self._commit.ask([self._commit.look(each.room, user) for each in wanted])
        mine = [each for each, role in zip(subscriptions, roles, strict=True) if role in ROLES]
        gone = [each for each, role in zip(subscriptions, roles, strict=True) if _is_of_others(role)]
        if expires_of(asked.request):
            mine += gone[:MAX_GONE]
        if mine:
            await self._submit_subscriptions(asked, mine)
        elif any(role is None or isinstance(role, Exception) for role in roles):
            self._commit.response(asked, asked.fingerprint.tag).unavailable()
        elif asked.request.to_tag is None:
            raise SipError(404, "None Of These Rooms")
        else:  # the end of a subscription to rooms that are gone
            headers = [("Expires", str(expires_of(asked.request)))]
            self._commit.answer(asked, self._tag(asked), 200, headers)

    # --- what several methods need

    def _subscriptions(
        self, asked: Asked, rooms: Sequence[Wanted], *, is_list: bool
    ) -> list[tuple[RoomRequest, str]]:
        """For each room its room request, and what recognises its retransmission. Raises SipError."""
        request = asked.request
        event_id = event_id_of(request)
        # RFC 6665 §4.4.1: a subscription that is no more, or was never ours. The client makes a new one.
        if request.to_tag is not None and not self._ids.is_ours(request):
            raise SipError(_UNKNOWN_DIALOG, "Subscription Does Not Exist")
        device, expires = self._device(asked), expires_of(request)
        dialog = self._dialog(asked)._replace(is_list=is_list, event_id=event_id).to_json()
        digest = asked.fingerprint.digest
        return [
            (
                replace(
                    self._wanted(asked, "subscribe", each.room),
                    detail=f"{expires} {each.version}{' list' if is_list else ''}",
                    device=device,
                    dialog=dialog,
                ),
                self._ids.digest(digest, each.room) if is_list else digest,
            )
            for each in rooms
        ]

    async def _submit_subscriptions(self, asked: Asked, mine: Sequence[tuple[RoomRequest, str]]) -> None:
        headers = [("Expires", str(expires_of(asked.request))), _contact(asked, asked.target)]
        if self._rules.is_factory(asked.target):
            headers.append(("Require", "eventlist"))  # RFC 4662 §4.2
        await self._commit.submit_all(asked, mine, self._tag(asked), 200, headers)

    async def _answer_invite(
        self,
        asked: Asked,
        wanted: RoomRequest,
        further: Sequence[tuple[RoomRequest, str]] = (),
        unchanged: str = "",
    ) -> None:
        """Accept an INVITE when Redis has it, and what it asks for besides.

        ``unchanged``: why something that it asks for is not done.
        """
        headers = [_contact(asked, wanted.room, ";text"), *marks_of(asked.request), *_warnings(unchanged)]
        if wanted.text:
            headers.append(("Subject", wanted.text))
        every = [(wanted, asked.fingerprint.digest), *further]
        send = await self._commit.submit_all(asked, every, self._tag(asked), 200, headers)
        if send is not None:
            self._repeat(asked, send)

    def _repeat(self, asked: Asked, send: Send) -> None:
        """The 200 to an INVITE is sent again until the ACK comes, which has the To tag of this 200."""
        self._answers.repeat((self._tag(asked), asked.request.cseq.number), send)

    def _tag(self, asked: Asked) -> str:
        """Our tag in the dialog; in one that the room has begun, it is that of its INVITE."""
        return asked.request.to_tag or self._ids.tag(asked.request)

    def _wanted(self, asked: Asked, kind: str, room: str = "") -> RoomRequest:
        return self._commit.room_request(kind, asked.sender, room or asked.target, asked.request)

    def _in_dialog(self, asked: Asked, wanted: RoomRequest) -> RoomRequest:
        """A command that came by another method than MESSAGE: nobody needs a notice of it."""
        device = sender_device(asked.request, asked.sender.address)
        return replace(wanted, device=device, dialog=dialog_ids(asked.request))

    def _spelled(self, sender: Sender) -> Sender:
        """The sender in the spelling that rooms know."""
        return replace(sender, address=without_case(sender.address)) if self._ignores_case else sender

    def _device(self, asked: Asked) -> str:
        """The sender's device. Requests to it must reach nobody else, so its Contact is the user's GRUU."""
        device = sender_device(asked.request, asked.sender.address)
        if not device:
            raise SipError(421, "Extension Required", [("Require", "gruu")])
        if not is_contact_of(contact_of(asked.request).uri, asked.sender.address):
            raise SipError(403, "Contact Is Not The Sender")
        return device

    def _dialog(self, asked: Asked) -> Dialog:
        request = asked.request
        trusts_routes = asked.flow.peer[0] in self._responses.trusted
        target = contact_of(request).uri
        return Dialog.of_request(request, self._ids.tag(request), target, trusts_routes=trusts_routes)


def _contact(asked: Asked, room: str, params: str = "") -> tuple[str, str]:
    """The Contact of a 2xx (RFC 3261 table 2, RFC 4579 §5.2)."""
    return "Contact", f"<{contact_scheme(asked.request.uri)}:{room}>;isfocus{params}"


def _warnings(text: str) -> list[tuple[str, str]]:
    """Why a request was accepted and something that it asks for is not done (RFC 3261 §20.43)."""
    return [("Warning", f'399 imc "{text}"')] if text else []


def _is_of_others(role: Any) -> bool:
    """Whether a look into a room has found that the user is not in it."""
    return isinstance(role, bytes) and role not in ROLES
