"""From a MESSAGE whose sender is known to its place in an in-stream, or to the response that refuses it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from imc_common import keys
from imc_common.address import without_case
from imc_common.bodies.content import Content
from imc_common.bodies.encoding import TooLargeError
from imc_common.bodies.errors import BodyError
from imc_common.bodies.essence import PLAIN
from imc_common.metrics import Counters, Metrics
from imc_common.rooms.commands import CommandParser
from imc_common.rooms.request import RoomRequest
from imc_common.settings import Settings
from imc_common.sip.errors import SipError
from imc_common.sip.message import Request
from imc_common.store import Command, Store
from imc_common.tracer import Tracer
from imc_edge.commit import GroupCommit, Pending
from imc_edge.flow import Flow
from imc_edge.health import Health
from imc_edge.identifiers import OWN_TAG_LENGTH, DeliveryIds, Fingerprint
from imc_edge.identity.cpim import check_inner_sender, with_author
from imc_edge.identity.sender import Sender, asserted_sender, sender_of
from imc_edge.receiving.accept_pipeline import Accept
from imc_edge.receiving.budgets import SIGNALS, Budgets, Excess, invitation_excess
from imc_edge.receiving.excess_notices import ExcessNotices
from imc_edge.receiving.message_rules import MessageRules, is_automatic
from imc_edge.receiving.options import Capabilities
from imc_edge.receiving.pending import AwaitingCharge, DuplicateOnly, OverLimit
from imc_edge.receiving.responses import PendingResponse, Responses
from imc_edge.receiving.room_request import room_request_of
from imc_edge.receiving.wake_ups import WakeUps


class Admission:
    """Decides which messages are accepted; the response is sent when Redis has replied."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        commit: GroupCommit[Command | Accept],
        responses: Responses,
        health: Health,
        *,
        wake_ups: WakeUps,
        metrics: Metrics,
        ignored: Counters,
        tracer: Tracer,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        """``clock`` is monotonic, ``wall_clock`` counts from the epoch, both in seconds."""
        self._store = store
        self._commit = commit
        self._responses = responses
        self._health = health
        self._wake_ups = wake_ups
        self._ignored = ignored
        self._tracer = tracer
        self._wall_clock = wall_clock
        self._hash_size = settings.hash_size
        self._seen = [keys.accepting(shard)[:2] for shard in range(1 << settings.hash_size)]
        self._delivery_ids = DeliveryIds(store.secret)
        self.budgets = Budgets(settings, store, commit.submit, clock)
        """The limits of users, for all that they send."""
        self._excess_notices = ExcessNotices(store, settings.hash_size, clock)
        self._over_limit = metrics.counters("imc_over_limit", "Requests refused, by the limit.", "limit")
        self.reload(settings)

    def reload(self, settings: Settings) -> None:
        """Go on with these settings."""
        self._max_backlog = settings.max_backlog
        self._returns_receipts = settings.receipts == "author"
        self._rules = MessageRules(
            settings, Capabilities(settings.accept_types, conferences=bool(settings.conference_factory))
        )
        self._parser = CommandParser(settings)
        self._sender_of = asserted_sender if settings.identity == "asserted" else sender_of
        self._ignores_case = not settings.case_sensitive_users
        self._responses.sender_of = self._sender_of
        self.budgets.reload(settings)

    def accept(self, request: Request, flow: Flow, fingerprint: Fingerprint) -> None:
        """Accept a MESSAGE, or refuse it. Raises SipError with the status for one that breaks a rule."""
        read = self._read(request, flow, fingerprint.tag)
        if read is None:
            return
        room_request, response = read
        digest = fingerprint.digest
        shard = keys.shard_of(room_request.room, self._hash_size)

        # A draining edge accepts nothing new: the 503 sends the client to another edge. But a retransmission
        # has to get the response of the first copy (RFC 3261 §8.2.7), so a duplicate still gets its 202.
        if self._health.draining:
            self._submit(self.find_duplicate(shard, digest), response, response)
            return

        # The sender's limits, as far as this edge knows. They come before Redis, so a flood costs it little.
        counted = self.budgets.count(room_request)
        if isinstance(counted, Excess):
            self.refuse_excess(room_request, digest, counted, response)
            return

        # An invitation reaches a user who did not ask for it. So its limits are exact: Redis charges it
        # before it is accepted.
        accept = Accept(shard, digest, room_request.to_fields())
        charge = self.budgets.invitation(room_request, digest) if room_request.user else None
        if charge is not None:
            self._wake_ups.has_sent(room_request.sender)
            self._submit(charge, AwaitingInvitationBudget(self, room_request, accept, response), response)
            return

        # RFC 3428 §7: 202, because the recipients get the message later; and only when Redis has it.
        pending = response if counted is None else AwaitingCharge(response, self.budgets, counted)
        self._submit(accept, pending, response)
        self._wake_ups.has_sent(room_request.sender)

    def accept_duplicate(
        self, request: Request, flow: Flow, fingerprint: Fingerprint, otherwise: SipError
    ) -> None:
        """202 if the MESSAGE was accepted before; ``otherwise`` is the response if not.

        Raises SipError with the status for one that breaks a rule.
        """
        read = self._read(request, flow, fingerprint.tag)
        if read is not None:
            room_request, response = read
            shard = keys.shard_of(room_request.room, self._hash_size)
            pending = DuplicateOnly(response, self._health, otherwise)
            self._submit(self.find_duplicate(shard, fingerprint.digest), pending, response)

    def accept_invitation(self, accept: Accept, response: PendingResponse) -> None:
        """Accept an invitation that Redis has charged."""
        self._submit(accept, response, response)

    def refuse_excess(
        self, room_request: RoomRequest, digest: str, excess: Excess, response: PendingResponse
    ) -> None:
        """Refuse a request over a limit, and tell its sender so once a minute."""
        self._over_limit[excess.limit] += 1
        shard = keys.shard_of(room_request.room, self._hash_size)
        self._submit(self.find_duplicate(shard, digest), OverLimit(response, excess), response)
        due = self._excess_notices.due(room_request, excess, self._max_backlog)
        if due is not None:
            command, awaiting = due
            if not self._commit.submit(command, awaiting):
                awaiting.on_reply(None)

    def find_duplicate(self, shard: int, digest: str) -> Command:
        """Asks whether a request of this shard was accepted before."""
        return self._store.script("find_duplicate", self._seen[shard], (digest,))

    def _read(self, request: Request, flow: Flow, tag: str) -> tuple[RoomRequest, PendingResponse] | None:
        """What the sender wants of which room; None if no worker is needed: then it has its response."""
        to = self._rules.check(request)
        sender = self._sender_of(request)
        if self._ignores_case:
            sender = replace(sender, address=without_case(sender.address))
        body = self._rules.content_of(request)
        content_type = request.headers.first.get("Content-Type")
        content = None
        if content_type is not None and content_type != PLAIN:
            content = self._content(content_type, body, sender)
        self._rules.check_size(body, content)
        if content is not None:
            body = with_author(body, content, sender.address, sender.display_name)
        room_request = room_request_of(
            request,
            sender,
            to,
            body=body,
            content=content,
            delivery_ids=self._delivery_ids,
            parser=self._parser,
            at=int(self._wall_clock() * 1000),
        )
        response = self._responses.to(request, flow, tag)
        if self._tracer.enabled:
            self._note_received(request, room_request)

        # Two kinds of message could go round for ever, so both are accepted and go no further: a delivery of
        # ours that comes back, and what a machine sent by itself (RFC 3834 §2: no response to a response).
        # A blank body has nothing to send.
        if self._is_own_delivery(request, to):
            self._ignored["loop"] += 1
        elif is_automatic(request):
            self._ignored["automatic"] += 1
        elif room_request.type == "nothing":
            self._ignored["blank"] += 1
        elif room_request.type in SIGNALS and not self._relays(room_request):
            self._ignored[room_request.type] += 1
        else:
            return room_request, response
        response.send(202)
        return None

    def _content(self, content_type: str, body: bytes, sender: Sender) -> Content:
        """What is in a body of another type than just text/plain. Raises SipError."""
        try:
            content = Content.parse(content_type, body)
        # one name each: compiled, a variable has the type of the first error that it is bound to
        except TooLargeError as too_large:
            raise SipError(413, str(too_large)) from None
        except BodyError as malformed:
            raise SipError(400, str(malformed)) from None
        check_inner_sender(content, sender.address, ignores_case=self._ignores_case)
        return content

    def _relays(self, room_request: RoomRequest) -> bool:
        """Whether a receipt or a typing notification goes further. Nobody waits for a response to it."""
        if room_request.type == "disposition" and not self._returns_receipts:
            return False
        return self.budgets.allows_signal(room_request.sender)

    def _is_own_delivery(self, request: Request, to: str) -> bool:
        """Whether a delivery comes back as a request: a member's address led to this room.

        Rooms that are members of each other would fill the network. Max-Forwards (RFC 3261 §8.1.1.6) alone
        ends that too late.
        """
        tag = request.from_tag or ""
        return len(tag) == OWN_TAG_LENGTH and tag.encode().startswith(self._delivery_ids.recipient_id(to))

    def _note_received(self, request: Request, room_request: RoomRequest) -> None:
        self._tracer.record(
            "received",
            room_request.room,
            (room_request.sender,),
            request.call_id,
            type=room_request.type,
            size=len(request.body),
        )

    def _submit(self, command: Command | Accept, pending: Pending, response: PendingResponse) -> None:
        """Send to Redis with the next pipeline; 503 if too many requests wait for that."""
        if not self._commit.submit(command, pending):
            response.unavailable()


class AwaitingInvitationBudget:
    """An invitation that is accepted when Redis has charged it to the inviter's budgets."""

    __slots__ = ("_accept", "_admission", "_response", "_room_request")

    def __init__(
        self, admission: Admission, room_request: RoomRequest, accept: Accept, response: PendingResponse
    ) -> None:
        self._admission = admission
        self._room_request = room_request
        self._accept = accept
        self._response = response

    def on_reply(self, reply: Any) -> None:
        """How long to wait; an error counts as charged, because accepting will fail as well."""
        excess = invitation_excess(reply)
        if excess is None:
            self._admission.accept_invitation(self._accept, self._response)
        else:
            digest = self._accept.digest
            self._admission.refuse_excess(self._room_request, digest, excess, self._response)
