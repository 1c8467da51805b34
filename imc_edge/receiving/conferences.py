"""Rooms as conferences: INVITE, SUBSCRIBE, REFER and BYE of clients that show a room with its members.

Each request becomes a room request, as a MESSAGE does, and gets its response when Redis has it. What the
request says of its dialog goes along, because no edge keeps one: `imc_edge.conference.dialog`. Before that,
one look into the room decides whether the sender belongs to it.

There are few of these requests, and a large one may ask Redis about a thousand rooms. So each is a task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final

import structlog

from imc_common import keys
from imc_common.address import without_case
from imc_common.bodies.resource_lists import last_notify
from imc_common.keys import Keys
from imc_common.rooms.request import RequestData, RoomRequest
from imc_common.settings import Settings
from imc_common.sip.errors import SipError
from imc_common.sip.message import Request
from imc_common.store import Command, Store
from imc_edge.commit import GroupCommit
from imc_edge.conference.dialog import Dialog, contact_of, dialog_ids, record_routes
from imc_edge.conference.dialog_ids import PREFIX, DialogIds
from imc_edge.conference.sender_device import is_contact_of, sender_device
from imc_edge.flow import Flow
from imc_edge.health import Health
from imc_edge.identifiers import Fingerprint
from imc_edge.identity.sender import Sender, asserted_sender, sender_of
from imc_edge.receiving.accept_pipeline import Accept
from imc_edge.receiving.budgets import Budgets, Excess, invitation_excess
from imc_edge.receiving.conference_rules import (
    ConferenceRules,
    Wanted,
    check_event,
    expires_of,
    last_version,
    marks_of,
    subject_of,
)
from imc_edge.receiving.invite_answers import InviteAnswers
from imc_edge.receiving.options import CONFERENCE_METHODS, Capabilities
from imc_edge.receiving.responses import ACCEPTED, DUPLICATE, PendingResponse, Responses
from imc_edge.receiving.wake_ups import CommandGroup

MAX_TASKS: Final = 1000
"""Requests that are being handled at a time; further ones get 503."""
LOOK_AGAIN_SECONDS: Final = 0.05
MAX_LOOKS: Final = 60
"""A client subscribes to its new room at once, perhaps before a worker has made it: so often it is looked
for."""
ROLES: Final = frozenset((b"owner", b"admin", b"member"))
"""Replies of `lua/look_up_member.lua` for those who belong to a room."""
ADMINS: Final = frozenset((b"owner", b"admin"))

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
        self._store = store
        self._commit = commit
        self._responses = responses
        self._health = health
        self._budgets = budgets
        self._has_sent = has_sent
        self._wall_clock = wall_clock
        self._hash_size = settings.hash_size
        self._ids = DialogIds(store.secret)
        self._answers = InviteAnswers()
        self._tasks: set[asyncio.Task[None]] = set()
        self.reload(settings)

    def reload(self, settings: Settings) -> None:
        """Go on with these settings."""
        self.methods = frozenset(CONFERENCE_METHODS if settings.conference_factory else ())
        """The methods that `accept` takes; none if there is no `conference_factory`."""
        self._rules = ConferenceRules(settings)
        self._names = Keys(settings.rooms_table, settings.members_table)
        capabilities = Capabilities(settings.accept_types, conferences=True)
        self._capabilities = [capabilities.allow, capabilities.supported, *capabilities.events]
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
            if not self.methods or not self._ids.is_ours(request):
                return False
            self._answers.acknowledged((request.call_id, request.cseq.number))
            room, sender = self._rules.target(request), self._rules_sender(request)
            confirmation = self._room_request("confirm_dialog", sender, room, request)
            confirmation = confirmation._replace(dialog=dialog_ids(request))
        except SipError:
            return False
        shard = keys.shard_of(room, self._hash_size)
        accept = Accept(shard, fingerprint.digest, confirmation.to_fields())
        CommandGroup(self._commit.submit, [accept], _nothing)
        return True

    async def drain(self) -> None:
        """Return when all requests have their response."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LOOK_AGAIN_SECONDS * MAX_LOOKS)

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
        sender = self._sender(request)
        is_factory = self._rules.is_factory(target)
        asked = _Asked(request, flow, fingerprint, sender, target)
        if request.method == "SUBSCRIBE":
            return self._subscribe_to_list(asked) if is_factory else self._subscribe(asked)
        if request.method == "INVITE":
            if request.to_tag is not None:
                return self._change(asked)
            return self._open(asked) if is_factory else self._enter(asked)
        if is_factory:
            raise SipError(405, "Method Not Allowed", [("Allow", "INVITE, SUBSCRIBE, OPTIONS, ACK, CANCEL")])
        return self._refer(asked) if request.method == "REFER" else self._leave(asked)

    async def _open(self, asked: _Asked) -> None:
        """INVITE to the factory (RFC 4579 §5.4): a new room, with the users of its list."""
        request, sender = asked.request, asked.sender.address
        device = self._device(asked)
        invitees = self._rules.invitees(request, sender)
        room = self._ids.room(request, sender, self._rules.room_domain(asked.target))
        if not self._rules.is_room(room):  # `room_pattern` excludes them
            raise SipError(403, "Rooms Of Conferences Not Allowed")
        made = self._room_request("open_conference", asked.sender, room, request)._replace(
            detail=" ".join(invitees),
            text=subject_of(request),
            device=device,
            dialog=self._dialog(asked).to_json("early"),
        )
        await self._charge(asked, made, invitees)
        await self._answer_invite(asked, made)

    async def _enter(self, asked: _Asked) -> None:
        """INVITE to a room: a device of a member enters it (RFC 4579 §5.1)."""
        device = self._device(asked)
        await self._look_up(asked)
        entering = self._room_request("enter_conference", asked.sender, asked.target, asked.request)
        entering = entering._replace(device=device, dialog=self._dialog(asked).to_json("early"))
        await self._charge(asked, entering, ())
        await self._answer_invite(asked, entering)

    async def _change(self, asked: _Asked) -> None:
        """INVITE in a dialog (RFC 3261 §14): a new subject. Without one it only shows that we are here."""
        role = await self._look_up(asked, otherwise=SipError(481, "Call/Transaction Does Not Exist"))
        subject = subject_of(asked.request)
        if not subject:
            self._answer(asked, asked.response(self._responses, asked.request.to_tag or ""))
            return
        if role not in ADMINS:
            raise SipError(403, "Only Owners And Admins May Change The Subject")
        change = self._room_request("topic", asked.sender, asked.target, asked.request)
        change = self._in_dialog(asked, change._replace(text=subject))
        await self._charge(asked, change, ())
        await self._answer_invite(asked, change)

    async def _leave(self, asked: _Asked) -> None:
        """BYE: the user leaves the room."""
        await self._look_up(asked, otherwise=SipError(481, "Call/Transaction Does Not Exist"))
        leaving = self._room_request("exit", asked.sender, asked.target, asked.request)
        await self._submit(asked, self._in_dialog(asked, leaving), 200, [])

    async def _refer(self, asked: _Asked) -> None:
        """REFER: add or remove a user, or change a role (RFC 4579 §5.5)."""
        role = await self._look_up(asked)
        if role not in ADMINS:
            raise SipError(403, "Only Owners And Admins May Do This")
        referral = self._rules.referral(asked.request)
        wanted = self._room_request(referral.type, asked.sender, asked.target, asked.request)
        wanted = self._in_dialog(asked, wanted._replace(user=referral.user, role=referral.role))
        await self._charge(asked, wanted, (wanted.user,) if wanted.type == "add" else ())
        # RFC 4488: no subscription is made, so no NOTIFY tells what became of it. The roster does.
        await self._submit(asked, wanted, 202, [("Refer-Sub", "false")])

    async def _subscribe(self, asked: _Asked) -> None:
        """SUBSCRIBE to the roster of a room (RFC 4575)."""
        self._check_subscription(asked)
        await self._look_up(asked)
        wanted = Wanted(asked.target, last_version(asked.request))
        await self._submit_subscriptions(asked, [wanted], asked.target)

    async def _subscribe_to_list(self, asked: _Asked) -> None:
        """SUBSCRIBE to the rosters of several rooms at once (RFC 5367): those that the user belongs to."""
        self._check_subscription(asked)
        wanted = self._rules.rooms(asked.request, last_notify)
        roles = await self._ask([self._look(each.room, asked.sender.address) for each in wanted])
        mine = [each for each, role in zip(wanted, roles, strict=True) if role in ROLES]
        if mine:
            await self._submit_subscriptions(asked, mine, asked.target, is_list=True)
        elif any(role is None or isinstance(role, Exception) for role in roles):
            asked.response(self._responses, asked.fingerprint.tag).unavailable()
        elif asked.request.to_tag is None:
            raise SipError(404, "None Of These Rooms")
        else:  # the end of a subscription to rooms that are gone
            headers = [("Expires", str(expires_of(asked.request)))]
            self._answer(asked, asked.response(self._responses, asked.request.to_tag), headers)

    async def _submit_subscriptions(
        self, asked: _Asked, rooms: Sequence[Wanted], contact: str, *, is_list: bool = False
    ) -> None:
        request = asked.request
        device = self._device(asked)
        dialog = self._dialog(asked)._replace(is_list=is_list).to_json()
        expires = expires_of(request)
        accepts: list[Command | Accept] = []
        for wanted in rooms:
            subscription = self._room_request("subscribe", asked.sender, wanted.room, request)
            subscription = subscription._replace(
                detail=f"{expires} {wanted.version}{' list' if is_list else ''}",
                device=device,
                dialog=dialog,
            )
            if not accepts:
                await self._charge(asked, subscription, ())
            digest = asked.fingerprint.digest
            digest = self._ids.digest(digest, wanted.room) if is_list else digest
            accepts.append(self._accept(subscription, digest))
        replies = await self._ask(accepts)
        response = asked.response(self._responses, self._ids.tag(request))
        if all(map(_is_accepted, replies)):
            headers = [("Expires", str(expires)), ("Contact", f"<sip:{contact}>;isfocus")]
            self._answer(asked, response, headers)
        else:
            response.unavailable()

    # --- what several methods need

    def _check_subscription(self, asked: _Asked) -> None:
        check_event(asked.request)
        # RFC 6665 §4.4.1: a subscription that is no more, or was never ours. The client makes a new one.
        if asked.request.to_tag is not None and not self._ids.is_ours(asked.request):
            raise SipError(481, "Subscription Does Not Exist")

    def _sender(self, request: Request) -> Sender:
        sender = self._sender_of(request)
        return sender._replace(address=without_case(sender.address)) if self._ignores_case else sender

    def _rules_sender(self, request: Request) -> Sender:
        """The user in From of an ACK, whom nobody asserts."""
        sender = sender_of(request)
        return sender._replace(address=without_case(sender.address)) if self._ignores_case else sender

    def _device(self, asked: _Asked) -> str:
        """The sender's device. Requests to it must reach nobody else, so its Contact is the user's GRUU."""
        device = sender_device(asked.request, asked.sender.address)
        if not device:
            raise SipError(421, "Extension Required", [("Require", "gruu")])
        if not is_contact_of(contact_of(asked.request).uri, asked.sender.address):
            raise SipError(403, "Contact Is Not The Sender")
        return device

    def _dialog(self, asked: _Asked) -> Dialog:
        request = asked.request
        trusts_routes = asked.flow.peer[0] in self._responses.trusted
        target = contact_of(request).uri
        return Dialog.of_request(request, self._ids.tag(request), target, trusts_routes=trusts_routes)

    def _in_dialog(self, asked: _Asked, wanted: RoomRequest) -> RoomRequest:
        """A command that came by another method than MESSAGE: nobody needs a notice of it."""
        device = sender_device(asked.request, asked.sender.address)
        return wanted._replace(device=device, dialog=dialog_ids(asked.request))

    def _room_request(self, kind: str, sender: Sender, room: str, request: Request) -> RoomRequest:
        data = RequestData(
            display_name=sender.display_name,
            headers=marks_of(request),
            call_id=request.call_id,
            at=int(self._wall_clock() * 1000),
        )
        return RoomRequest(kind, sender.address, room, data=data.pack())

    async def _look_up(self, asked: _Asked, otherwise: SipError | None = None) -> bytes:
        """The sender's role in the room. ``otherwise``: the response to who has none.

        Without it, who asks for a private room gets the same as for one that does not exist.
        """
        room, user = asked.target, asked.sender.address
        for _ in range(MAX_LOOKS):
            (reply,) = await self._ask([self._look(room, user)])
            if reply != b"unknown" or not room.startswith(PREFIX):
                break
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
        if reply is None or isinstance(reply, Exception):
            seconds = [("Retry-After", "1")]
            raise SipError(503, "Service Unavailable", seconds)
        if isinstance(reply, bytes) and reply in ROLES:
            return reply
        if otherwise is None:
            otherwise = SipError(403, "Not A Member") if reply == b"none" else SipError(404, "Not Found")
        raise otherwise

    def _look(self, room: str, user: str) -> Command:
        shard = keys.shard_of(room, self._hash_size)
        names = self._names
        return self._store.script(
            "look_up_member", (names.room(shard, room), names.members(shard, room)), (user,)
        )

    async def _charge(self, asked: _Asked, wanted: RoomRequest, invited: Sequence[str]) -> None:
        """Count the request, and an invitation of each of these users (`budgets`).

        Raises SipError for a sender who is over a limit, unless the request was accepted before.
        """
        excess = self._budgets.count(wanted)
        if not isinstance(excess, Excess):
            excess = None
            invitations = [wanted._replace(type="invite", user=user) for user in invited]
            digest = asked.fingerprint.digest
            charges = [charge for each in invitations if (charge := self._budgets.invitation(each, digest))]
            for reply in await self._ask(charges):
                excess = excess or invitation_excess(reply)
        if excess is None:
            return
        shard = keys.shard_of(wanted.room, self._hash_size)
        find = self._store.script("find_duplicate", keys.accepting(shard)[:2], (asked.fingerprint.digest,))
        if await self._ask([find]) != [DUPLICATE]:
            raise SipError(excess.status, "Limit Exceeded", [("Retry-After", str(excess.seconds))])

    async def _answer_invite(self, asked: _Asked, wanted: RoomRequest) -> None:
        """Accept an INVITE: its 200 is sent again until the ACK comes."""
        request = asked.request
        headers = [("Contact", f"<sip:{wanted.room}>;isfocus;text"), *marks_of(request)]
        if wanted.text:
            headers.append(("Subject", wanted.text))
        send = await self._submit(asked, wanted, 200, headers)
        if send is not None:
            self._answers.repeat((request.call_id, request.cseq.number), send)

    async def _submit(
        self, asked: _Asked, wanted: RoomRequest, status: int, headers: list[tuple[str, str]]
    ) -> Callable[[], None] | None:
        """Send the response once Redis has the request. Returns what sends it again; None if it is a 503."""
        (reply,) = await self._ask([self._accept(wanted, asked.fingerprint.digest)])
        response = asked.response(self._responses, self._ids.tag(asked.request))
        if not _is_accepted(reply):
            response.unavailable()
            return None
        self._has_sent(wanted.sender)
        return self._answer(asked, response, headers, status)

    def _answer(
        self,
        asked: _Asked,
        response: PendingResponse,
        headers: Sequence[tuple[str, str]] = (),
        status: int = 200,
    ) -> Callable[[], None]:
        """Send a response that makes or confirms a dialog. Returns what sends it again."""
        send = partial(response.send, status, [*record_routes(asked.request), *headers, *self._capabilities])
        send()
        return send

    def _accept(self, wanted: RoomRequest, digest: str) -> Accept:
        return Accept(keys.shard_of(wanted.room, self._hash_size), digest, wanted.to_fields())

    async def _ask(self, commands: Sequence[Command | Accept]) -> list[Any]:
        """The replies of Redis; None where too many commands wait, and errors in their places."""
        if not commands:
            return []
        answered: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()

        def replied(replies: list[Any]) -> None:
            if not answered.done():
                answered.set_result(replies)

        CommandGroup(self._commit.submit, commands, replied)
        return await answered


class _Asked:
    """A request, and what was found out about it."""

    __slots__ = ("fingerprint", "flow", "request", "sender", "target")

    def __init__(
        self, request: Request, flow: Flow, fingerprint: Fingerprint, sender: Sender, target: str
    ) -> None:
        self.request = request
        self.flow = flow
        self.fingerprint = fingerprint
        self.sender = sender
        self.target = target
        """The room or the factory in the Request-URI."""

    def response(self, responses: Responses, tag: str) -> PendingResponse:
        """The response with this To tag, which is not sent yet."""
        return responses.to(self.request, self.flow, tag)


def _is_accepted(reply: Any) -> bool:
    return isinstance(reply, bytes) and reply in ACCEPTED


def _nothing(replies: list[Any]) -> None:
    """Nobody waits for it: the client sends the ACK again with each 200."""
