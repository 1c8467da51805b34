"""Brings one delivery to its end: to which target, and what to do after a response (RFC 3261 §8.1.3).

Nearly every delivery is simple: one known target, one request, a 2xx. All others get a `RetryState`, and go
through three nested searches. The outer one is over URIs: the recipient's, then the contacts of redirections
(RFC 3261 §8.1.3.4). The next is over the targets that are found for a URI (RFC 3263 §4.3). The inner one is
over requests to one target: again with credentials (RFC 3261 §22.2), or over UDP where TCP was refused (RFC
3261 §18.1.1).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Final

from imc_common.sip.message import Response
from imc_edge.delivering.credentials import Credentials
from imc_edge.delivering.outbound import (
    MAX_DATAGRAM,
    MessageTemplate,
    UnsendableError,
    first_request,
    head_to_address,
    later_request,
    request_head,
    via_line,
)
from imc_edge.delivering.outcome import EXPIRED, FORBIDDEN, NO_TARGET, TIMEOUT, TRANSPORT, UNSENDABLE
from imc_edge.delivering.outgoing import Outgoing
from imc_edge.delivering.recipient import Recipient
from imc_edge.delivering.redirection import contacts
from imc_edge.delivering.retry_state import RetryState
from imc_edge.delivering.timer_wheel import TimerWheel, ticks
from imc_edge.delivering.transaction import ClientTransactions, TransactionTimeoutError
from imc_edge.delivering.transaction_states import T1
from imc_edge.flow import Hop, Transports
from imc_edge.routing.back_off import BackOff, retry_after
from imc_edge.routing.next_hop import NextHops
from imc_edge.routing.targets import Targets

MAX_RETRY_SECONDS: Final = 64 * T1
"""A target that refuses connections or asks for a pause gets as long as a silent one (Timer F)."""
REFUSED: Final = (ConnectionRefusedError, ConnectionResetError)
"""Why a connection could not be opened: nobody takes TCP there."""
PAUSE_SECONDS: Final = 1.0
"""Until a hop whose transport failed is tried again."""
MAX_LAST_HOP_SECONDS: Final = 10.0
"""A longer Retry-After counts as this where there is no other hop: it is better to ask too early than to lose
the messages of all."""
MAX_ATTEMPTS: Final = 99
"""Requests of one delivery: the branch has two digits for their number."""
REFUSES_TYPE: Final = frozenset((406, 415, 488))
"""Responses of a client that cannot show a body of this type."""
MAX_CONTACTS: Final = 8
"""Contacts of redirections that one delivery follows."""


class Courier:
    """Sends deliveries, and decides what follows from each response or error."""

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
        back_off: BackOff,
    ) -> None:
        """``clock`` is monotonic, in seconds; ``random`` gives 0 to 1."""
        self._transactions = transactions
        self._transports = transports
        self._next_hops = next_hops
        self._credentials = credentials
        self._wheel = wheel
        self._clock = clock
        self._random = random
        self._back_off = back_off
        self._last_hop: Hop | None = None
        """Of the recipient that was prepared last: most recipients have the same one."""
        self._via_line = b""
        """Of requests to that hop."""

    def close(self) -> None:
        """Resolve no more names."""
        self._next_hops.close()

    def turn(self) -> None:
        """To be called often."""
        self._back_off.turn()

    def prepare(self, recipient: Recipient) -> Targets | None:
        """Set the recipient's targets, if they are known, and its head if there is only one."""
        # RFC 3261 §8.1.2: an outbound proxy is the target of every request; without one the URI decides.
        targets = self._next_hops.proxy_targets
        if targets is None:
            targets = self._next_hops.known(f"sip:{recipient.target}")
        recipient.targets = targets
        recipient.direct_hop = None
        if targets is not None and (hop := targets.fixed) is not None:
            if hop is not recipient.hop:
                if hop is not self._last_hop:
                    self._via_line = via_line(self._transports.via(hop))
                    self._last_hop = hop
                recipient.head = head_to_address(recipient.target, self._via_line, recipient.recipient_id)
                recipient.hop = hop
            # A target found by DNS ends with its records' time-to-live. Only one that never ends may be used
            # without a look at the clock. Not `is inf`: once compiled, a float has no identity.
            if targets.until == inf:
                recipient.direct_hop = hop
        return targets

    def send(self, recipient: Recipient) -> None:
        """Send the current MESSAGE of the recipient's delivery for the first time."""
        outgoing = recipient.outgoing
        if outgoing is None:
            return
        if self._has_expired(outgoing):
            self._give_up(recipient, EXPIRED)
            return
        recipient.started = self._wheel.tick
        if outgoing.in_dialog is not None:  # its dialog says where it goes
            retry = recipient.retry = self._new_retry_state(recipient)
            self._try_uri(recipient, retry)
            return
        # RFC 3263 §4: where to send. Found once per recipient, and again when the DNS records have expired.
        targets = recipient.targets
        if targets is None or (targets.until != inf and targets.until <= self._clock()):
            targets = self.prepare(recipient)
        if targets is not None and (hop := targets.fixed) is not None and not self._back_off.until:
            # One known target, and no hop anywhere that is backed off: there is nothing to choose. No state
            # is needed until a response says otherwise.
            template = outgoing.templates[recipient.template_index]
            request = first_request(recipient.head, recipient.to, recipient.recipient_id, template)
            # RFC 3261 §18.1.1: a request that is too long for a datagram needs TCP, so a choice after all.
            if len(request) <= MAX_DATAGRAM or hop.transport != "udp":
                self._transactions.start(
                    recipient.recipient_id + template.branch_end, hop, request, recipient
                )
                return
        retry = recipient.retry = self._new_retry_state(recipient)
        self._try_uri(recipient, retry)

    def resume(self, recipient: Recipient) -> None:
        """A pause is over: start again with all targets of the current URI."""
        retry = recipient.retry
        if retry is not None and retry.paused:
            retry.paused = False
            if recipient.still_wanted():
                self._try_uri(recipient, retry)

    def send_again(self, recipient: Recipient) -> None:
        """The recipient is back: send its pending delivery again now, unless that was done just before.

        A proxy may hold the first request for a contact that is dead. A request with a new branch starts
        anew; it is the same MESSAGE for the recipient, in case that it gets both. What still comes to the
        first one is dropped.
        """
        outgoing, retry = recipient.outgoing, recipient.retry
        if outgoing is None or self._wheel.tick - recipient.started < ticks(T1):
            return
        attempt = 0
        if retry is not None:
            if retry.paused:
                self.resume(recipient)
                return
            attempt = max(0, retry.attempt - 1)
        branch = outgoing.templates[recipient.template_index].branch(attempt)
        if not self._transactions.abandon(recipient.recipient_id + branch):
            return  # nothing is in flight: a name is being resolved
        retry = self._retry_state(recipient)
        retry.start_over(_first_uri(recipient), self._clock() + MAX_RETRY_SECONDS)
        recipient.started = self._wheel.tick
        if recipient.still_wanted():
            self._try_uri(recipient, retry)

    def rejected(self, recipient: Recipient, response: Response) -> None:
        """A final response from 300 up came."""
        retry = self._retry_state(recipient)
        status = response.status
        outgoing = recipient.outgoing
        if status == 482 and outgoing is not None and (outgoing.resent or retry.attempt > 1):
            # RFC 3261 §8.2.2.2, Loop Detected: this very request, sent before, has reached the recipient by
            # another way. So it has the message.
            recipient.accepted()
        # RFC 3261 §8.1.3.4: a redirection adds contacts, each tried once.
        elif status < 400:
            if outgoing is not None and outgoing.in_dialog is None:  # a dialog has one remote target
                self._add_contacts(retry, contacts(response))
            self._next_contact(recipient, retry, str(status))
        # RFC 3261 §21.4.13, §21.4.7, §21.4.26: the client does not take CPIM. It gets the text at once.
        elif status in REFUSES_TYPE and self._send_text(recipient, retry):
            return
        # RFC 3261 §8.1.3.5: with credentials that match the challenge, the request is sent once more.
        elif status in {401, 407}:
            self._authenticate(recipient, retry, response)
        elif status == 503:
            # RFC 3263 §4.3: the next target. Without Retry-After a 503 counts as a 500 (RFC 3261 §21.5.4), so
            # there is nothing to wait for.
            seconds = retry_after(response.headers.get("Retry-After"))
            if seconds is not None:
                self._heed_retry_after(retry, seconds)
            self._next_target(recipient, retry, str(status), temporary=seconds is not None)
        elif status == 408:
            # A proxy on the way got no response (RFC 3261 §16.8). Our target, the proxy, is alive, so its
            # other addresses do not help. The recipient counts as silent.
            self._next_contact(recipient, retry, TIMEOUT)
        else:
            # RFC 3261 §21.6: a global failure says that no other contact will do better.
            if status >= 600:
                retry.contacts.clear()
            self._next_contact(recipient, retry, str(status))

    def failed(self, recipient: Recipient, error: Exception) -> None:
        """No response until Timer F, or a transport error: the next target (RFC 3263 §4.3)."""
        retry = self._retry_state(recipient)
        # Timer F: one pause more would tell nothing new, so the remaining targets are tried without one.
        if isinstance(error, TransactionTimeoutError):
            self._next_target(recipient, retry, TIMEOUT, temporary=False)
            return
        udp_hop = retry.moved_to_tcp
        if udp_hop is not None:
            # RFC 3261 §18.1.1: a refused connection is the one case in which a request that was moved to TCP
            # for its length may go over UDP after all. Two connections that break count as one. Kamailio ends
            # a connection if a message is longer than its buffer (tcp_rd_buf_size), but takes it over UDP.
            broke = isinstance(error, ConnectionResetError)
            if isinstance(error.__cause__, REFUSED) or (broke and udp_hop in retry.tcp_broken):
                retry.tcp_refused.add(udp_hop)
                self._send_to(recipient, retry, udp_hop)
                return
            if broke:
                retry.tcp_broken.add(udp_hop)
        # RFC 3263 §4.3: a transport error is a failure of this target. A server that restarts refuses
        # connections for a moment, so the whole search may be repeated after a pause.
        if retry.hop is not None:
            self._back_off.start(retry.hop, PAUSE_SECONDS)
        self._next_target(recipient, retry, TRANSPORT, temporary=True)

    def _heed_retry_after(self, retry: RetryState, seconds: int) -> None:
        """RFC 3261 §21.5.4: send no other requests to that server for so long, as far as it is known.

        A stateless proxy passes on what a recipient behind it says, and nothing shows which of them asked for
        the pause. So all deliveries avoid the hop only if they have another. Otherwise this delivery pauses.
        """
        hop = retry.moved_to_tcp or retry.hop
        if hop is None:
            return
        if any(other != hop and not self._back_off.applies_to(other) for other in retry.all_hops):
            self._back_off.start(hop, seconds)
        else:
            retry.not_before = self._clock() + min(seconds, MAX_LAST_HOP_SECONDS)

    def _has_expired(self, outgoing: Outgoing) -> bool:
        """RFC 3428 §7: an expired message is not sent."""
        return outgoing.deadline is not None and self._clock() >= outgoing.deadline

    def _new_retry_state(self, recipient: Recipient) -> RetryState:
        outgoing = recipient.outgoing
        first = outgoing.templates[recipient.template_index].first_cseq if outgoing is not None else 1
        return RetryState(_first_uri(recipient), self._clock() + MAX_RETRY_SECONDS, first)

    def _retry_state(self, recipient: Recipient) -> RetryState:
        """The delivery's state; made now if its first request was sent without one."""
        retry = recipient.retry
        if retry is None:
            retry = recipient.retry = self._new_retry_state(recipient)
            retry.attempt = 1
            retry.hop = recipient.hop
            retry.all_hops = (retry.hop,) if retry.hop else ()
        return retry

    def _try_uri(self, recipient: Recipient, retry: RetryState) -> None:
        """Find the targets of the current URI and try the first."""
        targets = self._next_hops.known(retry.uri)
        if targets is None:
            # A name server may be slow, and no other recipient should wait for it.
            recipient.mark_unresponsive()
            self._next_hops.find(retry.uri, partial(self._found, recipient, retry))
        else:
            self._found(recipient, retry, targets)

    def _found(self, recipient: Recipient, retry: RetryState, targets: Targets | None) -> None:
        if recipient.retry is retry and recipient.still_wanted():  # else the delivery has ended meanwhile
            try:
                self._try_targets(recipient, retry, targets)
            except Exception as error:  # whatever it is, other deliveries wait for the same name
                recipient.broke(error)

    def _try_targets(self, recipient: Recipient, retry: RetryState, targets: Targets | None) -> None:
        if targets is None:
            self._next_contact(recipient, retry, NO_TARGET)
        elif not targets.groups:
            self._next_contact(recipient, retry, FORBIDDEN)
        else:
            # RFC 2782: servers of one priority are drawn by their weights, anew for each search.
            retry.untried_hops = deque(targets.draw(self._random))
            retry.all_hops = tuple(retry.untried_hops)
            self._next_target(recipient, retry, TRANSPORT, temporary=True)

    def _next_target(self, recipient: Recipient, retry: RetryState, outcome: str, *, temporary: bool) -> None:
        """Try the next target that is not backed off; after the last one go on to the next contact.

        ``temporary``: what has happened passes, so after a pause all targets may be tried once more.
        """
        while retry.untried_hops:
            hop = retry.untried_hops.popleft()
            if not self._back_off.applies_to(hop):
                self._send_to(recipient, retry, hop)
                return
        # All targets have failed. A pause helps only if the cause may pass, and comes only when no other
        # contact is left to try.
        if temporary and not retry.contacts and self._pause(recipient, retry):
            return
        self._next_contact(recipient, retry, outcome)

    def _pause(self, recipient: Recipient, retry: RetryState) -> bool:
        """Wait until a target may be tried again, if that is soon enough."""
        now = self._clock()
        # One recipient may have asked for an hour, and all other targets have failed since.
        self._back_off.shorten(retry.all_hops, MAX_LAST_HOP_SECONDS)
        first_free = self._back_off.first_free(retry.all_hops)
        resume_at = max(now + PAUSE_SECONDS, first_free, retry.not_before)
        # Timer F bounds the whole delivery as it bounds one transaction; MAX_ATTEMPTS bounds the branches.
        if resume_at > retry.deadline or retry.attempt >= MAX_ATTEMPTS:
            return False
        retry.paused = True
        recipient.mark_unresponsive()
        self._wheel.add(recipient, ticks(resume_at - now))
        return True

    def _next_contact(self, recipient: Recipient, retry: RetryState, outcome: str) -> None:
        """RFC 3261 §8.1.3.4: try the next contact; after the last one the delivery has failed."""
        if retry.contacts:
            retry.uri = retry.contacts.popleft()
            self._try_uri(recipient, retry)
        else:
            self._give_up(recipient, outcome)

    def _send_to(self, recipient: Recipient, retry: RetryState, hop: Hop) -> None:
        outgoing = recipient.outgoing
        if outgoing is None:
            return
        if self._has_expired(outgoing):
            self._give_up(recipient, EXPIRED)
            return
        if retry.attempt > MAX_ATTEMPTS:
            self._give_up(recipient, TRANSPORT)
            return
        template = (retry.templates or outgoing.templates)[recipient.template_index]
        # RFC 3261 §18.1.1: what is too long for a datagram goes over TCP to the same address and port. The
        # Via names the transport, so the head is built for each.
        for towards in (hop, Hop("tcp", hop.host, hop.port)):
            try:
                request = self._request(recipient, retry, outgoing, template, towards)
            except UnsendableError:
                self._next_contact(recipient, retry, UNSENDABLE)
                return
            if towards.transport != "udp" or len(request) <= MAX_DATAGRAM or hop in retry.tcp_refused:
                retry.moved_to_tcp = hop if towards is not hop else None
                break
        # RFC 3261 §8.1.1.7: another attempt is another transaction, so it needs a branch of its own.
        key = recipient.recipient_id + template.branch(retry.attempt)
        retry.hop = towards
        retry.attempt += 1
        self._transactions.start(key, towards, request, recipient)

    def _request(
        self,
        recipient: Recipient,
        retry: RetryState,
        outgoing: Outgoing,
        template: MessageTemplate,
        towards: Hop,
    ) -> bytes:
        """One more request of a delivery. Raises `UnsendableError`."""
        via, in_dialog = self._transports.via(towards), outgoing.in_dialog
        if in_dialog is not None:
            branch = recipient.recipient_id + template.branch(retry.attempt)
            return in_dialog.to_bytes(via, branch, retry.headers, retry.cseq - 1)
        return later_request(
            request_head(retry.uri, via, recipient.recipient_id),
            recipient.to,
            recipient.recipient_id,
            template,
            attempt=retry.attempt,
            cseq=retry.cseq,
            headers=retry.headers,
        )

    def _add_contacts(self, retry: RetryState, uris: list[str]) -> None:
        """Contacts to try, each once (RFC 3261 §8.1.3.4: "MUST NOT add any given URI … more than once")."""
        for uri in uris:
            if uri not in retry.followed and len(retry.followed) <= MAX_CONTACTS:
                retry.followed.add(uri)
                retry.contacts.append(uri)

    def _send_text(self, recipient: Recipient, retry: RetryState) -> bool:
        """Send the message without CPIM, with the next CSeq; False if it has no such form, or was sent so."""
        outgoing = recipient.outgoing
        if outgoing is None or outgoing.text_form is None or retry.templates or retry.hop is None:
            return False
        retry.templates = outgoing.text_form()
        retry.cseq += 1
        self._send_to(recipient, retry, retry.hop)
        return True

    def _authenticate(self, recipient: Recipient, retry: RetryState, response: Response) -> None:
        """RFC 3261 §22.2: send it once more, with the credentials that are asked for and the next CSeq."""
        in_dialog = recipient.outgoing.in_dialog if recipient.outgoing is not None else None
        uri, method = (in_dialog.uri, in_dialog.method) if in_dialog is not None else (retry.uri, "MESSAGE")
        headers = self._credentials.headers_for(response, uri, retry.realms, method)
        if not headers or retry.hop is None:
            self._next_contact(recipient, retry, str(response.status))
            return
        retry.headers += headers
        retry.cseq += 1
        self._send_to(recipient, retry, retry.hop)

    def _give_up(self, recipient: Recipient, outcome: str) -> None:
        """Fail the delivery, but not now: the caller may be in the middle of the recipient's queue."""
        outgoing = recipient.outgoing

        def give_up() -> None:
            if recipient.outgoing is outgoing:
                try:
                    recipient.end(outcome)
                except Exception as error:  # whatever it is, the delivery must end
                    recipient.broke(error)

        asyncio.get_running_loop().call_soon(give_up)


def _first_uri(recipient: Recipient) -> str:
    """What leads to the first target: the recipient's URI, or the route of a dialog."""
    outgoing = recipient.outgoing
    if outgoing is not None and outgoing.in_dialog is not None:
        return outgoing.in_dialog.next_uri
    return f"sip:{recipient.target}"
