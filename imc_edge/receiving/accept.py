"""The server side: bytes in, one answer out, and a MESSAGE into Redis before its 202.

No state outlives a request (RFC 3261 §8.2.7): a retransmission is recognised by Redis, on whichever edge it
lands, and gets the same answer. Everything a peer may send ends here in an answer or in silence, never in an
exception.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import structlog

from imc_common import keys
from imc_common.metrics import Metrics
from imc_common.rooms.commands import CommandParser
from imc_common.rooms.request import RETRANSMISSION_SECONDS
from imc_common.settings import Settings
from imc_common.sip.errors import SipError, SipParseError
from imc_common.sip.fast_message import parse_fast
from imc_common.sip.limits import Limits
from imc_common.sip.message import Request, Response
from imc_common.sip.parse import parse_message
from imc_common.sip.validate import validate_request
from imc_common.store import Command, Store
from imc_common.tracer import Tracer
from imc_edge.commit import GroupCommit
from imc_edge.flow import Flow
from imc_edge.health import Health
from imc_edge.identifiers import OWN_TAG_LENGTH, Fingerprint, Fingerprints, Identities
from imc_edge.identity.authenticator import Authenticator, Login
from imc_edge.identity.nonces import NonceKeys
from imc_edge.identity.sender import asserted_sender, sender_of
from imc_edge.identity.trusted_peers import TrustedPeers
from imc_edge.receiving.budgets import Budgets, Excess, Report, invitation_excess
from imc_edge.receiving.excess_notices import ExcessNotices, Telling
from imc_edge.receiving.message_rules import PLAIN, MessageRules, check_require, is_automatic
from imc_edge.receiving.options import ALLOW, Abilities
from imc_edge.receiving.pending import Asked, Counted, Exceeding, Pending, Repeated, Search, Ticket
from imc_edge.receiving.response import Answer
from imc_edge.receiving.responses import Answers
from imc_edge.receiving.room_request import entry_of
from imc_edge.receiving.source_limit import SourceLimit

SEEN_MS = RETRANSMISSION_SECONDS * 1000
MAX_WAITING = 10_000
"""Requests that may wait for Redis in this process; more get 503 at once."""
_SHORTEST = 16
"""Shorter datagrams are keep-alives (CRLF CRLF, a null byte) and noise."""

_log = structlog.get_logger()


class Responses(Protocol):
    """Takes the responses to our own requests (the client side)."""

    def response(self, data: bytes) -> None:
        """One response as it came; whatever it is, this does not raise."""
        ...


class Acceptor:
    """Answers every request; implements :class:`imc_edge.flow.Receiver`."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        health: Health,
        responses: Responses,
        metrics: Metrics,
        *,
        tracer: Tracer,
        nonce_keys: NonceKeys,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """``clock`` is monotonic, ``wall_clock`` counts from the epoch, both in seconds."""
        self._store = store
        self._health = health
        self.response = responses.response
        """Takes one response."""
        self._tracer = tracer
        self._clock = clock
        self._wall_clock = wall_clock
        self._limits = Limits(body=settings.max_body)
        self._hash_size = settings.hash_size
        self._accepting = [keys.accepting(shard) for shard in range(1 << settings.hash_size)]
        self.authenticator = Authenticator(store, settings, nonce_keys, self)
        self._fingerprints = Fingerprints(store.secret)
        self._identities = Identities(store.secret)
        self.commit: GroupCommit[Pending] = GroupCommit(store, MAX_WAITING, self._settled)
        """Its ``run()`` has to be kept running."""
        self._budgets = Budgets(settings, store, self.commit.submit, clock)
        self._excess_notices = ExcessNotices(store, settings.hash_size, clock)
        self._over = metrics.counters("imc_over_limit", "Requests refused, by what was too much.", "limit")
        self._answers = Answers(metrics, health, tracer, clock)
        self._ignored = metrics.counters(
            "imc_ignored", "What came in and got no answer, by reason.", "reason"
        )
        self._use(settings)

    def reload(self, settings: Settings) -> None:
        """Go on with these settings."""
        self.authenticator.reload(settings)
        self._use(settings)

    def _use(self, settings: Settings) -> None:
        self._max_backlog = settings.max_backlog
        self._abilities = Abilities(settings.accept_types)
        self._rules = MessageRules(settings, self._abilities)
        self._parser = CommandParser(settings)
        self._budgets.reload(settings)
        self._sources = SourceLimit(settings.max_requests_per_source, self._clock)
        self._trusted = TrustedPeers(settings.trusted_peers)
        self._sender_of = asserted_sender if settings.identity == "asserted" else sender_of
        self._answers.sender_of = self._sender_of
        self._asks_for_passwords = settings.identity == "digest"

    # --- imc_edge.flow.Receiver

    def receive(self, data: bytes, flow: Flow) -> None:
        """Take one datagram that is no response."""
        if len(data) < _SHORTEST:
            self._ignored["keep-alive"] += 1
            return
        if self._floods(flow):
            return
        usual = parse_fast(data, self._limits)
        if usual is not None:
            self._act(self._message, usual, flow)
            return
        try:
            message = parse_message(data, limits=self._limits)
        except SipParseError as error:
            self._malformed(error, flow)
        else:
            self._well_formed(message, flow)

    def take(self, message: Request | Response, flow: Flow) -> None:
        """Take one framed message."""
        if isinstance(message, Response) or not self._floods(flow):
            self._well_formed(message, flow)

    def refuse(self, error: SipParseError, flow: Flow) -> None:
        """Answer what was framed and is no proper request, where enough of it could be read."""
        if not self._floods(flow):
            self._malformed(error, flow)

    def _well_formed(self, message: Request | Response, flow: Flow) -> None:
        if isinstance(message, Response):
            self.response(message.to_bytes())
        else:
            self._act(self._request, message, flow)

    def _malformed(self, error: SipParseError, flow: Flow) -> None:
        if error.request is None:
            self._ignored["not sip"] += 1
        else:
            self._refuse(error.request, flow, error)

    def _floods(self, flow: Flow) -> bool:
        """Whether the source has sent too much to be looked at; trusted peers speak for many."""
        host = flow.peer[0]
        if host in self._trusted or self._sources.allows(host):
            return False
        self._ignored["flood"] += 1
        return True

    def _act(self, handle: Callable[[Request, Flow], None], request: Request, flow: Flow) -> None:
        try:
            handle(request, flow)
        except SipError as error:
            self._refuse(request, flow, error)
        except Exception:
            _log.exception("a request could not be handled", call_id=request.headers.get("Call-ID"))
            self._refuse(request, flow, SipError(500, "Server Internal Error"))

    # --- by method

    def _request(self, request: Request, flow: Flow) -> None:
        method = request.method
        if method == "ACK":
            self._ignored["ack"] += 1  # RFC 3261 §8.2.7, §17: nothing answers an ACK
            return
        validate_request(request)
        if method == "MESSAGE":
            self._message(request, flow)
        elif method == "OPTIONS":
            self._options(request, flow)
        elif method == "CANCEL":
            self._cancel(request, flow)
        else:
            raise SipError(405, "Method Not Allowed", [("Allow", ALLOW)])

    def _message(self, request: Request, flow: Flow) -> None:
        fingerprint = self._fingerprints.of(request)
        if self._asks_for_passwords:
            self.authenticator.check(request, flow, fingerprint)
        else:
            self._check_peer(flow)
            self._take(request, flow, fingerprint)

    def _take(
        self, request: Request, flow: Flow, fingerprint: Fingerprint, unseen: SipError | None = None
    ) -> None:
        """Put it into the stream, unless it is there; with ``unseen``, only see whether it was there."""
        to = self._rules.check(request)
        sender = self._sender_of(request)
        at = int(self._wall_clock() * 1000)
        entry = entry_of(
            request,
            sender,
            to,
            is_plain=self._rules.media_type(request) == PLAIN,
            parser=self._parser,
            at=at,
        )
        ticket = self._ticket(request, flow, fingerprint.tag)
        if self._tracer.enabled:
            people, size = (sender.address,), len(request.body)
            self._tracer.record("received", entry.room, people, request.call_id, type=entry.type, size=size)
        looped = self._is_own_delivery(request, to)
        if looped or is_automatic(request):
            # Accepted, and that is all: an answer or a fan-out could go round for ever (RFC 3834 §2).
            self._ignored["loop" if looped else "automatic"] += 1
            self._answers.send(ticket, 202)
            return
        shard = keys.shard_of(entry.room, self._hash_size)
        if self._health.draining or unseen is not None:
            # Nothing new is taken, but what was taken before keeps its answer.
            was_seen = self._was_seen(shard, fingerprint.seen)
            self._submit(was_seen, Repeated(ticket, unseen) if unseen else ticket, ticket)
            return
        counted = self._budgets.count(entry)
        if isinstance(counted, Excess):
            self._exceeds(Asked(ticket, entry, fingerprint.seen, ()), counted)
            return
        settings = (SEEN_MS, self._max_backlog, self._budgets.members_prefixes[shard], fingerprint.seen)
        accept = self._store.script("accept", self._accepting[shard], (*settings, *entry.to_fields()))
        ask = self._budgets.invitation(entry, fingerprint.seen) if entry.user else None
        if ask is None:
            self._submit(accept, ticket if counted is None else Counted(ticket, counted), ticket)
        else:
            self._submit(ask, Asked(ticket, entry, fingerprint.seen, accept), ticket)

    def _submit(self, command: Command, pending: Pending, ticket: Ticket) -> None:
        if not self.commit.submit(command, pending):
            self._answers.unavailable(ticket)

    def _exceeds(self, asked: Asked, excess: Excess) -> None:
        """Refuse it, and tell the sender why if nobody has yet."""
        ticket, entry, seen, _ = asked
        self._over[excess.limit] += 1
        shard = keys.shard_of(entry.room, self._hash_size)
        self._submit(self._was_seen(shard, seen), Exceeding(ticket, excess), ticket)
        if notice := self._excess_notices.due(entry, excess, self._max_backlog):
            command, telling = notice
            if not self.commit.submit(command, telling):
                self._excess_notices.heard(telling, None)

    def _was_seen(self, shard: int, digest: str) -> Command:
        return self._store.script("find_duplicate", self._accepting[shard][:2], (digest,))

    def _check_peer(self, flow: Flow) -> None:
        """Nobody is believed who is not one of the proxies that know their users."""
        if flow.peer[0] not in self._trusted:
            raise SipError(403, "Peer Not Trusted")

    def _is_own_delivery(self, request: Request, to: str) -> bool:
        """Whether a delivery comes back as a request: its recipient was a room, by way of a member's address.

        Rooms that are members of each other would fill the network; Max-Forwards alone ends that too late.
        """
        tag = request.from_tag or ""
        return len(tag) == OWN_TAG_LENGTH and tag.encode().startswith(self._identities.recipient(to))

    def _options(self, request: Request, flow: Flow) -> None:
        """RFC 3261 §11: the answer a balancer's probe looks at, whatever the request is addressed to."""
        check_require(request)
        ticket = self._ticket(request, flow, self._fingerprints.of(request).tag)
        if self._health.trouble:
            self._answers.unavailable(ticket)
        else:
            self._answers.send(ticket, 200, self._abilities.options)

    def _cancel(self, request: Request, flow: Flow) -> None:
        """RFC 3261 §9.2: 200 if we know the request it is about, else 481; it changes nothing either way.

        It is looked for in every shard: a command may have named another room than To.
        """
        self._check_peer(flow)
        fingerprint = self._fingerprints.of(request, "MESSAGE")
        search = Search(self._ticket(request, flow, fingerprint.tag), 1 << self._hash_size)
        for shard in range(1 << self._hash_size):
            if not self.commit.submit(self._was_seen(shard, fingerprint.seen), search):
                self._answers.unavailable(search.ticket)
                return

    # --- imc_edge.identity.authenticator.Outcome

    def proved(self, login: Login, *, is_late: bool) -> None:
        """Take a request whose sender has shown the password."""

        def take(request: Request, flow: Flow) -> None:
            self._take(request, flow, login.fingerprint, self.authenticator.stale(login) if is_late else None)

        self._act(take, login.request, login.flow)

    def refused(self, login: Login, error: SipError) -> None:
        """Answer a request whose sender has not."""
        self._refuse(login.request, login.flow, error)

    def unknown(self, login: Login) -> None:
        """Answer a request while Redis does not say who has which password."""
        self._answers.unavailable(self._ticket(login.request, login.flow, login.fingerprint.tag))

    # --- what Redis says

    def _settled(self, pending: Pending, reply: Any) -> None:
        """Redis has spoken; only now the request may be answered."""
        if isinstance(pending, Ticket):
            self._answers.settled(pending, reply)
        elif isinstance(pending, Counted):
            self._answers.settled(pending.ticket, reply)
            self._budgets.caused(pending.charge, reply)
        elif isinstance(pending, Report):
            pending.meter.heard(pending, reply)
        elif isinstance(pending, Exceeding):
            self._answers.excess(pending, reply)
        elif isinstance(pending, Repeated):
            self._answers.repeated(pending, reply)
        elif isinstance(pending, Asked):
            excess = invitation_excess(reply)
            if excess is None:
                self._submit(pending.accept, pending.ticket, pending.ticket)
            else:
                self._exceeds(pending, excess)
        elif isinstance(pending, Search):
            self._answers.searched(pending, reply)
        elif isinstance(pending, Telling):
            self._excess_notices.heard(pending, reply)

    def _ticket(self, request: Request, flow: Flow, tag: str) -> Ticket:
        return Ticket(Answer(request, flow, tag), self._clock(), request if self._tracer.enabled else None)

    def _refuse(self, request: Request, flow: Flow, error: SipError) -> None:
        self._answers.refuse(Answer(request, flow, self._fingerprints.of(request).tag), error)
