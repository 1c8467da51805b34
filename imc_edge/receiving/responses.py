"""What a request is answered once Redis has spoken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from imc_common.metrics import Metrics
from imc_common.sip.errors import SipError
from imc_common.sip.message import Request
from imc_common.tracer import Tracer
from imc_edge.health import Health
from imc_edge.identity.sender import Sender, sender_of
from imc_edge.receiving.pending import Exceeding, Repeated, Search, Ticket
from imc_edge.receiving.response import Answer

RETRY_AFTER: Final = 10
"""Most seconds of Retry-After; each request gets its own number, so that not all come back at once."""
SEEN: Final = b"duplicate"
"""What Redis says to a request that was taken before."""
UNSEEN: Final = b"unknown"
TAKEN: Final = frozenset({b"accepted", SEEN})


class Answers:
    """Sends answers, and counts them."""

    def __init__(self, metrics: Metrics, health: Health, tracer: Tracer, clock: Callable[[], float]) -> None:
        self.sender_of: Callable[[Request], Sender] = sender_of
        """Who a request is from, for those who follow it."""
        self._health = health
        self._tracer = tracer
        self._clock = clock
        self._statuses = metrics.counters("imc_answers", "Requests answered, by status.", "status")
        self._seconds = metrics.histogram(
            "imc_accept_seconds", "From a MESSAGE's arrival to its final answer."
        )

    def settled(self, ticket: Ticket, reply: Any) -> None:
        """A request that went to Redis: 202 if it is there, now or before; a number says to how many."""
        if reply in TAKEN if isinstance(reply, bytes) else isinstance(reply, int):
            self.send(ticket, 202)
            self._seconds.observe(self._clock() - ticket.since)
        else:
            self.unavailable(ticket)

    def repeated(self, pending: Repeated, reply: Any) -> None:
        """A request that is taken only if it was before."""
        if reply == SEEN:
            self.send(pending.ticket, 202)
        elif reply == UNSEEN and not self._health.draining:
            self.send(pending.ticket, pending.error.status, pending.error.headers)
        else:
            self.unavailable(pending.ticket)

    def excess(self, pending: Exceeding, reply: Any) -> None:
        """A request over a limit; one that was taken before keeps its answer."""
        ticket, excess = pending
        if reply == SEEN:
            self.send(ticket, 202)
        else:
            self.send(ticket, excess.status, [("Retry-After", str(excess.seconds))])

    def searched(self, search: Search, reply: Any) -> None:
        """One shard has said whether it knows the request that a CANCEL is about; the last one answers."""
        search.left -= 1
        search.found = search.found or reply == SEEN
        search.failed = search.failed or isinstance(reply, Exception)
        if search.left == 0:
            if search.failed and not search.found:
                self.unavailable(search.ticket)
            else:
                self.send(search.ticket, 200 if search.found else 481)

    def unavailable(self, ticket: Ticket) -> None:
        """503, with a time to come back (RFC 3261 §21.5.4) that is the same for a retransmission."""
        seconds = 1 + int(ticket.answer.tag, 16) % RETRY_AFTER
        self.send(ticket, 503, [("Retry-After", str(seconds))])

    def send(self, ticket: Ticket, status: int, headers: Sequence[tuple[str, str]] = ()) -> None:
        """Answer a request."""
        self._statuses[str(status)] += 1
        traced = ticket.traced
        if traced is not None and traced.method == "MESSAGE":
            room, sender = traced.to.uri.address(), self.sender_of(traced).address
            self._tracer.record("answered", room, (sender,), traced.call_id, status=status)
        ticket.answer.send(status, headers=headers)

    def refuse(self, answer: Answer, error: SipError) -> None:
        """Answer what may not be a request like this."""
        self._statuses[str(error.status)] += 1
        answer.send(error.status, error.reason, error.headers)
