"""The server side: bytes in, one response out, and a MESSAGE into Redis before its 202.

No state outlives a request (RFC 3261 §8.2.7). Redis recognises a retransmission, whichever edge gets it, and
it gets the same response. Whatever a peer sends ends here in a response or in silence, never in an exception.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from imc_common.metrics import Metrics
from imc_common.settings import Settings
from imc_common.sip.errors import SipError, SipParseError
from imc_common.sip.fast_message import parse_fast
from imc_common.sip.lenient import tolerate
from imc_common.sip.limits import Limits
from imc_common.sip.message import Request, Response
from imc_common.sip.parse import parse_message
from imc_common.sip.validate import validate_request
from imc_common.store import Command, ReplyError, Store, StoreUnreachable
from imc_common.tracer import Tracer
from imc_edge.commit import GroupCommit
from imc_edge.flow import Flow
from imc_edge.health import Health
from imc_edge.identifiers import Fingerprint, Fingerprints
from imc_edge.identity.authenticator import Authenticator
from imc_edge.identity.client_source import client_source
from imc_edge.identity.nonces import NonceKeys
from imc_edge.identity.trusted_peers import TrustedPeers
from imc_edge.receiving.accept_pipeline import Accept, AcceptPipeline
from imc_edge.receiving.admission import Admission
from imc_edge.receiving.conferences import Conferences
from imc_edge.receiving.device_offers import DeviceOffers
from imc_edge.receiving.message_rules import check_require
from imc_edge.receiving.options import Capabilities
from imc_edge.receiving.pending import CancelSearch
from imc_edge.receiving.registration import registration_of
from imc_edge.receiving.responses import Responses
from imc_edge.receiving.source_limit import SourceLimit
from imc_edge.receiving.unhurried import Unhurried
from imc_edge.receiving.wake_ups import WakeUps

MAX_WAITING: Final = 10_000
"""Requests that may wait for Redis in this process. Further ones get 503 at once."""
CANCELS_PER_SECOND: Final = 5.0
"""CANCELs of one client that all shards are asked about. Nobody authenticates them."""
_SHORTEST: Final = 16
"""Bytes. Shorter datagrams are keep-alives (CRLF CRLF, a null byte) and noise."""

_log = structlog.get_logger()


class ResponseReceiver(Protocol):
    """Takes the responses to our own requests (the client side)."""

    def response(self, data: bytes) -> None:
        """One response as it came. Does not raise, whatever it is."""
        ...


class Acceptor:
    """Responds to every request; implements :class:`imc_edge.flow.Receiver`."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        health: Health,
        client_side: ResponseReceiver,
        metrics: Metrics,
        *,
        tracer: Tracer,
        nonce_keys: NonceKeys,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """``clock`` is monotonic, ``wall_clock`` counts from the epoch, both in seconds."""
        self._health = health
        self.response = client_side.response
        """Takes one response."""
        self._clock = clock
        self._limits = Limits(body=settings.max_body)
        self._shards = 1 << settings.hash_size
        self._secret = store.secret
        self._pipeline = AcceptPipeline(store, settings)
        self.commit: GroupCommit[Command | Accept] = GroupCommit(self._pipeline.run, MAX_WAITING)
        """Its ``run()`` has to be kept running."""
        self.authenticator = Authenticator(store, settings, nonce_keys)
        self._tracer = tracer
        self._responses = Responses(metrics, tracer, clock)
        self._ignored = metrics.counters("imc_ignored", "Received and not responded to, by reason.", "reason")
        self.unhurried = Unhurried(self._drop)
        self._tolerated = metrics.counters("imc_tolerated", "Faults of requests that were accepted.", "fault")
        self.wake_ups = WakeUps(settings, self.commit.submit, metrics, clock=clock, wall_clock=wall_clock)
        self.device_offers = DeviceOffers(
            settings, store, self.commit.submit, metrics, clock=clock, wall_clock=wall_clock
        )
        self._admission = Admission(
            settings,
            store,
            self.commit,
            self._responses,
            health,
            wake_ups=self.wake_ups,
            metrics=metrics,
            ignored=self._ignored,
            tracer=tracer,
            clock=clock,
            wall_clock=wall_clock,
        )
        self.conferences = Conferences(
            settings,
            store,
            self.commit,
            self._responses,
            health,
            self._admission.budgets,
            has_sent=self.wake_ups.has_sent,
            wall_clock=wall_clock,
        )
        """Requests of clients that show rooms as conferences."""
        self._use(settings)

    def reload(self, settings: Settings) -> None:
        """Go on with these settings."""
        self._pipeline.reload(settings)
        self.authenticator.reload(settings)
        self.wake_ups.reload(settings)
        self.device_offers.reload(settings)
        self._admission.reload(settings)
        self.conferences.reload(settings)
        self._use(settings)

    def _use(self, settings: Settings) -> None:
        self._capabilities = Capabilities(
            settings.accept_types, conferences=bool(settings.conference_factory)
        )
        self._sources = SourceLimit(settings.max_requests_per_source, self._clock)
        self._cancels = SourceLimit(CANCELS_PER_SECOND, self._clock)
        self._trusted = self._responses.trusted = TrustedPeers(settings.trusted_peers)
        self._is_digest = settings.identity == "digest"
        self._strict = settings.strict
        self._ignores_case = not settings.case_sensitive_users
        self._fingerprints = Fingerprints(
            self._secret,
            by_asserted=settings.identity == "asserted",
            by_target=settings.room_from == "request-uri",
        )

    # --- imc_edge.flow.Receiver

    def admits(self, host: str) -> bool:
        """Count one more; False if its source sends too many. A trusted peer sends for many users."""
        return host in self._trusted or self._sources.allows(host)

    def receive(self, data: bytes, flow: Flow) -> None:
        """Take one datagram that is not a response."""
        if len(data) < _SHORTEST:
            self._ignored["keep-alive"] += 1
            return
        # A flood gets no response: to send 503 to each request would cost as much as to accept it, and the
        # source may be forged.
        if not self.admits(flow.peer[0]):
            self._ignored["flood"] += 1
            return
        # Nearly every MESSAGE has a usual form, which is parsed in a few steps. None leaves it to the full
        # parser.
        fast = parse_fast(data, self._limits)
        if fast is not None:
            self._act(self._message, fast, flow)
        elif data.startswith(b"REGISTER ") and flow.peer[0] in self._trusted:
            self.unhurried.take(self._parse, data, flow)
        else:
            self._parse(data, flow)

    def _parse(self, data: bytes, flow: Flow) -> None:
        try:
            message = parse_message(data, limits=self._limits)
        except SipParseError as error:
            self._malformed(error, flow)
        else:
            self._well_formed(message, flow)

    def take(self, message: Request | Response, flow: Flow) -> None:
        """Take one framed message."""
        if isinstance(message, Request) and message.method == "REGISTER" and flow.peer[0] in self._trusted:
            self.unhurried.take(self._well_formed, message, flow)
        else:
            self._well_formed(message, flow)

    def refuse(self, error: SipParseError, flow: Flow) -> None:
        """Respond to a framed message that is malformed, if enough of it could be read."""
        self._malformed(error, flow)

    def _well_formed(self, message: Request | Response, flow: Flow) -> None:
        if isinstance(message, Response):
            self.response(message.to_bytes())
        else:
            self._act(self._request, message, flow)

    def _malformed(self, error: SipParseError, flow: Flow) -> None:
        # RFC 3261 §8.2.6: a response copies Via, From, To, Call-ID and CSeq. If these could not be read,
        # there is none.
        if error.request is None:
            self._ignored["not sip"] += 1
        else:
            self._refuse(error.request, flow, error)

    def _act(self, handle: Callable[[Request, Flow], None], request: Request, flow: Flow) -> None:
        try:
            handle(request, flow)
        except SipError as error:
            self._refuse(request, flow, error)
        except Exception as error:  # logged; no request may end the edge
            self._fail(request, flow, error)

    def _refuse(self, request: Request, flow: Flow, error: SipError) -> None:
        self._responses.refuse(request, flow, self._fingerprints.of(request).tag, error)

    def _drop(self) -> None:
        self._ignored["overload"] += 1

    def _fail(self, request: Request, flow: Flow, error: Exception) -> None:
        """A fault of ours: 500, and the log says where it is."""
        _log.error("request failed", call_id=request.headers.get("Call-ID"), exc_info=error)
        self._refuse(request, flow, SipError(500, "Server Internal Error"))

    # --- by method

    def _request(self, request: Request, flow: Flow) -> None:
        method = request.method
        if method == "ACK":  # RFC 3261 §8.2.7, §17: no response to an ACK
            if not self.conferences.acknowledge(request, self._fingerprints.of(request)):
                self._ignored["ack"] += 1
            return
        # RFC 3261 §8.2: a malformed request gets 400. Unless the setting `strict` is on, harmless faults are
        # tolerated. What is not supported (416, 483, 505, 513) gets its status in any case.
        try:
            validate_request(request)
        except SipError as error:
            if self._strict or error.status != 400:
                raise
            self._tolerate(request)
        if method == "MESSAGE":
            self._message(request, flow)
        elif method in self.conferences.methods:
            self._conference(request, flow)
        elif method == "OPTIONS":
            self._options(request, flow)
        elif method == "CANCEL":
            self._cancel(request, flow)
        elif method == "REGISTER" and flow.peer[0] in self._trusted:
            self._register(request, flow)
        else:
            # RFC 3261 §8.2.1: 405, and Allow lists the methods that we support.
            is_trusted, known = flow.peer[0] in self._trusted, self._capabilities
            allow = known.allow_of_trusted if is_trusted else known.allow
            raise SipError(405, "Method Not Allowed", [allow])

    def _tolerate(self, request: Request) -> None:
        """Go on with a request whose faults are harmless, and count them. Raises SipError for others."""
        found = tolerate(request)
        validate_request(request)
        if "contact" in found and request.method == "REGISTER":  # it says what a MESSAGE leaves open
            raise SipError(400, "Malformed Contact header")
        for what in found:
            self._tolerated[what] += 1

    def _message(self, request: Request, flow: Flow) -> None:
        fingerprint = self._fingerprints.of(request)
        # With digest the user authenticates. Otherwise the peer vouches for the user, so it has to be a
        # trusted one (RFC 3325 §5).
        if self._is_digest:
            self.authenticator.lookups.start(self._authenticate(request, flow, fingerprint))
        else:
            self._check_peer(flow)
            self._admission.accept(request, flow, fingerprint)

    def _conference(self, request: Request, flow: Flow) -> None:
        """INVITE, SUBSCRIBE, REFER or BYE: its sender is found as that of a MESSAGE."""
        fingerprint = self._fingerprints.of(request)
        if self._is_digest:
            self.authenticator.lookups.start(self._authenticate(request, flow, fingerprint))
        else:
            self._check_peer(flow)
            self.conferences.accept(request, flow, fingerprint)

    async def _authenticate(self, request: Request, flow: Flow, fingerprint: Fingerprint) -> None:
        """Accept a request if its sender has the password (RFC 3261 §22)."""
        try:
            verified = await self.authenticator.verify(
                request, client_source(request, flow.peer[0], self._trusted), fingerprint
            )
            # The second case: a copy that came after Redis may have forgotten the first. If it has not, the
            # copy gets the same 202. Otherwise the sender has to authenticate anew, because it may be a
            # replay.
            is_message, otherwise = request.method == "MESSAGE", verified.unless_duplicate
            if otherwise is None and is_message:
                self._admission.accept(request, flow, fingerprint)
            elif otherwise is None:
                self.conferences.accept(request, flow, fingerprint)
            elif not is_message:
                self._refuse(request, flow, otherwise)
            else:
                self._admission.accept_duplicate(request, flow, fingerprint, otherwise)
        except SipError as error:
            self._refuse(request, flow, error)
        except (StoreUnreachable, ReplyError):
            # Redis does not tell whose password it is. A 401 or 403 would tell the client that it is wrong.
            self._responses.to(request, flow, fingerprint.tag).unavailable()
        except Exception as error:  # logged; no request may end the edge
            self._fail(request, flow, error)

    def _check_peer(self, flow: Flow) -> None:
        """Requests from untrusted peers are rejected: nothing else says that From is true."""
        if flow.peer[0] not in self._trusted:
            raise SipError(403, "Peer Not Trusted")

    def _options(self, request: Request, flow: Flow) -> None:
        """RFC 3261 §11: the response that a balancer's probe looks at, whatever address the request has."""
        check_require(request)
        self.conferences.check_dialog(request)
        response = self._responses.to(request, flow, self._fingerprints.of(request).tag)
        if self._health.trouble:
            response.unavailable()
        else:
            capabilities = self._capabilities.options(
                is_trusted=flow.peer[0] in self._trusted, is_factory=self.conferences.is_factory(request)
            )
            response.send(200, [*self.conferences.focus(request), *capabilities])

    def _register(self, request: Request, flow: Flow) -> None:
        """RFC 3261 §10.3, as far as it applies to an element that keeps no bindings (`registration`)."""
        registration = registration_of(request, ignores_case=self._ignores_case)
        if self._tracer.enabled:
            users = (registration.user,)
            self._tracer.record("registered", "", users, request.call_id, meaning=registration.meaning)
        response = self._responses.to(request, flow, self._fingerprints.of(request).tag)
        self.device_offers.registered(registration)
        self.wake_ups.registered(registration, response)

    def _cancel(self, request: Request, flow: Flow) -> None:
        """RFC 3261 §9.2: 200 if we know the request to cancel, else 481. It changes nothing either way."""
        self._check_peer(flow)
        if not self._cancels.allows_source(client_source(request, flow.peer[0], self._trusted)):
            raise SipError(481, "Call/Transaction Does Not Exist")
        methods = ("MESSAGE", "INVITE") if self.conferences.methods else ("MESSAGE",)
        fingerprints = [self._fingerprints.of(request, method) for method in methods]
        response = self._responses.to(request, flow, fingerprints[0].tag)
        # A CANCEL has no body, so its room and thus its shard are unknown: each shard is asked.
        search = CancelSearch(response, self._shards * len(fingerprints))
        for shard in range(self._shards):
            for each in fingerprints:
                if not self.commit.submit(self._admission.find_duplicate(shard, each.digest), search):
                    response.unavailable()
                    return
