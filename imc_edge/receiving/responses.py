"""The responses to requests: counted, traced and sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from imc_common.metrics import Metrics
from imc_common.sip.errors import SipError
from imc_common.sip.message import Request
from imc_common.tracer import Tracer
from imc_edge.flow import Flow
from imc_edge.identity.sender import Sender, sender_of
from imc_edge.identity.trusted_peers import TrustedPeers
from imc_edge.receiving.response_template import ResponseTemplate

MAX_RETRY_AFTER: Final = 10
"""Seconds. Each request gets its own number up to this, so that not all clients return at once."""
DUPLICATE: Final = b"duplicate"
"""Redis's reply for a request that was accepted before."""
ACCEPTED: Final = frozenset({b"accepted", DUPLICATE})


class Responses:
    """Makes what responds to a request, now or when Redis has replied."""

    def __init__(self, metrics: Metrics, tracer: Tracer, clock: Callable[[], float]) -> None:
        self.sender_of: Callable[[Request], Sender] = sender_of
        """Who a request is from, for the trace of its steps."""
        self.trusted: TrustedPeers | frozenset[str] = frozenset()
        """The addresses in `trusted_peers`."""
        self.clock = clock
        self.tracer = tracer
        self.by_status = metrics.counters("imc_responses", "Responses to requests, by status.", "status")
        self.seconds = metrics.histogram("imc_accept_seconds", "From a MESSAGE's arrival to its 202.")

    def to(self, request: Request, flow: Flow, tag: str) -> PendingResponse:
        """The response to a request; ``tag`` is our To tag."""
        template = ResponseTemplate(request, flow, tag, is_trusted=flow.peer[0] in self.trusted)
        return PendingResponse(self, template, self.clock(), request if self.tracer.enabled else None)

    def refuse(self, request: Request, flow: Flow, tag: str, error: SipError) -> None:
        """Respond at once to a request that has a fault."""
        self.by_status[str(error.status)] += 1
        template = ResponseTemplate(request, flow, tag, is_trusted=flow.peer[0] in self.trusted)
        template.send(error.status, error.reason, error.headers)


class PendingResponse:
    """A request that gets its response when Redis has replied to the script that accepts it."""

    __slots__ = ("_responses", "_since", "_template", "_traced")

    def __init__(
        self, responses: Responses, template: ResponseTemplate, since: float, traced: Request | None
    ) -> None:
        """``since``: when the request came; ``traced``: the request, kept only if its steps are traced."""
        self._responses = responses
        self._template = template
        self._since = since
        self._traced = traced

    def on_reply(self, reply: Any) -> None:
        """202 if the request is in Redis, stored now or before: it is accepted or has a number of recipients.

        Everything else is a reason to try again later: overloaded, an error, unreachable.
        """
        if reply in ACCEPTED if isinstance(reply, bytes) else isinstance(reply, int):
            self.send(202)
            responses = self._responses
            responses.seconds.observe(responses.clock() - self._since)
        else:
            self.unavailable()

    def unavailable(self) -> None:
        """503, with a Retry-After (RFC 3261 §21.5.4) that is the same for a retransmission."""
        seconds = 1 + int(self._template.tag, 16) % MAX_RETRY_AFTER
        self.send(503, [("Retry-After", str(seconds))])

    def send(self, status: int, headers: Sequence[tuple[str, str]] = ()) -> None:
        """Send the response."""
        responses = self._responses
        responses.by_status[str(status)] += 1
        traced = self._traced
        if traced is not None and traced.method == "MESSAGE":
            room, sender = traced.to.uri.address(), responses.sender_of(traced).address
            responses.tracer.record("responded", room, (sender,), traced.call_id, status=status)
        self._template.send(status, headers=headers)
