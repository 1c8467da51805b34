"""Brings one delivery to its end: which target, and what an answer asks to be done next (RFC 3261 §8.1.3).

The usual case is short: one known target, one request, a 2xx. All else takes a `Detour`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Final

from imc_common.sip.message import Response
from imc_edge.delivering.credentials import Credentials
from imc_edge.delivering.outbound import (
    MAX_DATAGRAM,
    UnsendableError,
    end_of_head,
    first_request,
    later_request,
    request_head,
    usual_head,
)
from imc_edge.delivering.outcome import EXPIRED, FORBIDDEN, NO_TARGET, TIMEOUT, TRANSPORT, UNSENDABLE
from imc_edge.delivering.outgoing import Outgoing
from imc_edge.delivering.recipient import Recipient
from imc_edge.delivering.redirection import contacts
from imc_edge.delivering.retry_state import Detour
from imc_edge.delivering.timer_wheel import TimerWheel, ticks
from imc_edge.delivering.transaction import T1, ClientTransactions, TransactionTimeoutError
from imc_edge.flow import Hop, Transports
from imc_edge.routing.back_off import HoldOff, retry_after
from imc_edge.routing.next_hop import NextHops
from imc_edge.routing.targets import Targets

PATIENCE: Final = 64 * T1
"""A target that refuses connections or asks for a pause is given as long as a silent one."""
PAUSE: Final = 1.0
"""Seconds until a hop whose transport failed is tried again."""
MAX_ATTEMPTS: Final = 99
"""Requests of one delivery: the two digits that the branch has for them."""
MAX_CONTACTS: Final = 8
"""Contacts of redirections that one delivery follows."""


class Courier:
    """Sends deliveries and decides, from what comes back, how each goes on."""

    def __init__(
        self,
        *,
        transactions: ClientTransactions,
        transports: Transports,
        next_hops: NextHops,
        credentials: Credentials,
        wheel: TimerWheel,
        clock: Callable[[], float],
        random: Callable[[], float],
        hold_off: HoldOff,
    ) -> None:
        self._transactions = transactions
        self._transports = transports
        self._next_hops = next_hops
        self._credentials = credentials
        self._wheel = wheel
        self._clock = clock
        self._random = random
        self._hold_off = hold_off
        self._last_hop: Hop | None = None
        """Of the recipient that was prepared last: most of them have the same one."""
        self._end_of_head = b""

    def send(self, recipient: Recipient) -> None:
        """Send the recipient's current part for the first time."""
        outgoing = recipient.outgoing
        if outgoing is None:
            return
        if self._has_expired(outgoing):
            self._lose(recipient, EXPIRED)
            return
        recipient.started = self._wheel.tick
        targets = recipient.targets
        if targets is None or (targets.until is not inf and targets.until <= self._clock()):
            targets = self.prepare(recipient)
        if targets is not None and (hop := targets.fixed) is not None and not self._hold_off.held:
            part = outgoing.parts[recipient.part]
            request = first_request(recipient.head, recipient.to, recipient.share, part)
            if len(request) <= MAX_DATAGRAM or hop.transport != "udp":
                self._transactions.start(recipient.share + part.first, hop, request, recipient)
                return
        detour = recipient.detour = self._detour(recipient)
        self._aim(recipient, detour)

    def prepare(self, recipient: Recipient) -> Targets | None:
        """Give it its targets, if nobody has to be asked, and what requests to the only one begin with."""
        targets = self._next_hops.proxy_targets
        if targets is None:
            targets = self._next_hops.known(f"sip:{recipient.address}")
        recipient.targets = targets
        if targets is not None and (hop := targets.fixed) is not None and hop is not recipient.hop:
            if hop is not self._last_hop:
                self._end_of_head = end_of_head(self._transports.via(hop))
                self._last_hop = hop
            recipient.head = usual_head(recipient.address, self._end_of_head, recipient.share)
            recipient.hop = hop
        return targets

    def resume(self, recipient: Recipient) -> None:
        """A pause is over: start again with all targets of the current URI."""
        detour = recipient.detour
        if detour is not None and detour.waiting:
            detour.waiting = False
            if recipient.still_wanted():
                self._aim(recipient, detour)

    def rejected(self, recipient: Recipient, response: Response) -> None:
        """A final response from 300 up."""
        detour = self._detour_so_far(recipient)
        status = response.status
        outgoing = recipient.outgoing
        if status == 482 and outgoing is not None and (outgoing.repeat or detour.attempt > 1):
            # RFC 3261 §8.2.2.2: it has had this very request by another way
            recipient.accepted()
        elif status < 400:
            self._note(detour, contacts(response))
            self._next_contact(recipient, detour, str(status))
        elif status in {401, 407}:
            self._authenticate(recipient, detour, response)
        elif status == 503:
            seconds = retry_after(response.headers.get("Retry-After"))
            if seconds is not None and detour.hop is not None:
                self._hold_off.hold(detour.hop, seconds)
            self._next_target(recipient, detour, str(status), again=seconds is not None)
        elif status == 408:
            self._next_contact(recipient, detour, TIMEOUT)
        else:
            if status >= 600:
                detour.contacts.clear()  # §21.6: no other place will do better
            self._next_contact(recipient, detour, str(status))

    def failed(self, recipient: Recipient, error: Exception) -> None:
        """Silence until Timer F, or a transport error: the next target (RFC 3263 §4.3)."""
        detour = self._detour_so_far(recipient)
        if isinstance(error, TransactionTimeoutError):
            self._next_target(recipient, detour, TIMEOUT, again=False)
            return
        datagram = detour.shrunk
        if datagram is not None and isinstance(
            error.__cause__, ConnectionRefusedError | ConnectionResetError
        ):
            # §18.1.1: a refused connection is the one case in which a request that was moved to TCP for its
            # length may go back
            detour.without_tcp.add(datagram)
            self._send_to(recipient, detour, datagram)
            return
        if detour.hop is not None:
            self._hold_off.hold(detour.hop, PAUSE)
        self._next_target(recipient, detour, TRANSPORT, again=True)

    def _has_expired(self, outgoing: Outgoing) -> bool:
        """RFC 3428 §7: nothing is sent after its time."""
        return outgoing.deadline is not None and self._clock() >= outgoing.deadline

    def _detour(self, recipient: Recipient) -> Detour:
        return Detour(f"sip:{recipient.address}", self._clock() + PATIENCE)

    def _detour_so_far(self, recipient: Recipient) -> Detour:
        """The delivery's detour; begun now if its first request went the short way."""
        detour = recipient.detour
        if detour is None:
            detour = recipient.detour = self._detour(recipient)
            detour.attempt = 1
            detour.hop = recipient.hop
            detour.all_hops = (detour.hop,) if detour.hop else ()
        return detour

    def _aim(self, recipient: Recipient, detour: Detour) -> None:
        """Find the targets of the detour's URI and try the first."""

        def found(targets: Targets | None) -> None:
            if recipient.detour is not detour or not recipient.still_wanted():
                return
            if targets is None:
                self._next_contact(recipient, detour, NO_TARGET)
            elif not targets.groups:
                self._next_contact(recipient, detour, FORBIDDEN)
            else:
                detour.hops = deque(targets.draw(self._random))
                detour.all_hops = tuple(detour.hops)
                self._next_target(recipient, detour, TRANSPORT, again=True)

        targets = self._next_hops.known(detour.uri)
        if targets is None:
            recipient.slower()  # name servers take their time, and nobody else is to wait for them
            self._next_hops.find(detour.uri, found)
        else:
            found(targets)

    def _next_target(self, recipient: Recipient, detour: Detour, outcome: str, *, again: bool) -> None:
        """Try the next target that is not held off; after the last one go on to the next contact.

        ``again``: what has happened passes, so after a pause all targets may be tried once more.
        """
        while detour.hops:
            hop = detour.hops.popleft()
            if not self._hold_off.holds(hop):
                self._send_to(recipient, detour, hop)
                return
        if again and not detour.contacts and self._pause(recipient, detour):
            return
        self._next_contact(recipient, detour, outcome)

    def _pause(self, recipient: Recipient, detour: Detour) -> bool:
        """Wait until a target may be tried again, if that is soon enough."""
        now = self._clock()
        resume_at = max(now + PAUSE, self._hold_off.first_free(detour.all_hops))
        if resume_at > detour.patient_until or detour.attempt >= MAX_ATTEMPTS:
            return False
        detour.waiting = True
        recipient.slower()
        self._wheel.add(recipient, ticks(resume_at - now))
        return True

    def _next_contact(self, recipient: Recipient, detour: Detour, outcome: str) -> None:
        """RFC 3261 §8.1.3.4: the next contact, or the end."""
        if detour.contacts:
            detour.uri = detour.contacts.popleft()
            self._aim(recipient, detour)
        else:
            self._lose(recipient, outcome)

    def _send_to(self, recipient: Recipient, detour: Detour, hop: Hop) -> None:
        outgoing = recipient.outgoing
        if outgoing is None:
            return
        if self._has_expired(outgoing):
            self._lose(recipient, EXPIRED)
            return
        if detour.attempt > MAX_ATTEMPTS:
            self._lose(recipient, TRANSPORT)
            return
        part = outgoing.parts[recipient.part]
        for towards in (hop, Hop("tcp", hop.host, hop.port)):
            try:
                head = request_head(detour.uri, self._transports.via(towards), recipient.share)
            except UnsendableError:
                self._next_contact(recipient, detour, UNSENDABLE)
                return
            request = later_request(
                head,
                recipient.to,
                recipient.share,
                part,
                attempt=detour.attempt,
                cseq=detour.cseq,
                headers=detour.headers,
            )
            if towards.transport != "udp" or len(request) <= MAX_DATAGRAM or hop in detour.without_tcp:
                detour.shrunk = hop if towards is not hop else None
                break
        key = recipient.share + part.token + b"%02d" % detour.attempt
        detour.hop = towards
        detour.attempt += 1
        self._transactions.start(key, towards, request, recipient)

    def _note(self, detour: Detour, uris: list[str]) -> None:
        """Contacts to be followed, each once (RFC 3261 §8.1.3.4)."""
        for uri in uris:
            if uri not in detour.followed and len(detour.followed) <= MAX_CONTACTS:
                detour.followed.add(uri)
                detour.contacts.append(uri)

    def _authenticate(self, recipient: Recipient, detour: Detour, response: Response) -> None:
        """RFC 3261 §22.2: once more, with the credentials that are asked for and the next CSeq."""
        answers = self._credentials.answer(response, detour.uri, detour.realms)
        if not answers or detour.hop is None:
            self._next_contact(recipient, detour, str(response.status))
            return
        detour.headers += answers
        detour.cseq += 1
        self._send_to(recipient, detour, detour.hop)

    def _lose(self, recipient: Recipient, outcome: str) -> None:
        """End the delivery, but not now: whoever called may be in the middle of the recipient's queue."""
        outgoing = recipient.outgoing

        def lose() -> None:
            if recipient.outgoing is outgoing:
                if outcome == TIMEOUT:
                    recipient.give_up(outcome)
                else:
                    recipient.lose(outcome)

        asyncio.get_running_loop().call_soon(lose)
