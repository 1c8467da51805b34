"""Sends one event to many recipients.

Nearly every recipient is *ready*: idle, responsive, with a single known target (`Recipient.ready_hop`). Its
request is built and sent here, in one loop; all others are offered the event, and decide themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

from imc_edge.delivering.delivery_context import DeliveryContext
from imc_edge.delivering.failure_log import log_fault
from imc_edge.delivering.outbound import MAX_DATAGRAM, UnsendableError
from imc_edge.delivering.outcome import ERROR, UNSENDABLE
from imc_edge.delivering.outgoing import Outgoing
from imc_edge.delivering.recipient import Recipient
from imc_edge.delivering.recipients import Recipients
from imc_edge.routing.back_off import BackOff


class FanOut:
    """Sends or offers events to recipients."""

    def __init__(self, context: DeliveryContext, recipients: Recipients, back_off: BackOff) -> None:
        self.recipients = recipients
        self._context = context
        self._transactions = context.transactions
        self._back_off = back_off

    def send(self, outgoing: Outgoing, to: Sequence[str]) -> None:
        """Send the event to these recipients now, or when the turn of each comes."""
        template = outgoing.templates[0]
        branch_end, from_, cseq, tail = template.branch_end, template.from_, template.cseq, template.tail
        transactions, recipients = self._transactions, self.recipients
        load, tick = self._context.load, self._context.wheel.tick
        condition_of_new = self._context.condition_of_new(outgoing)
        # `Recipient.offer` and `Courier.send` make three checks that the loop skips. Two hold for all
        # recipients alike: the message has no expiry (RFC 3428 §7), and no hop is backed off (RFC 3261
        # §21.5.4). The third, one idle and responsive recipient with one lasting target, is `ready_hop`.
        any_ready = outgoing.deadline is None and not self._back_off.until
        for address in to:
            # Looked up one by one: an idle recipient may be forgotten when another one is made.
            recipient = recipients.get(address)
            if recipient is None:
                recipient = self._added(outgoing, address)
                if recipient is None:
                    continue
                if condition_of_new != "responsive":
                    recipient.distrust(on_trial=condition_of_new == "on trial")
            hop = recipient.ready_hop
            if hop is not None and any_ready:
                recipient_id = recipient.recipient_id
                pieces = (recipient.head, branch_end, recipient.to, from_, recipient_id, cseq, tail)
                request = b"".join(pieces)
                # RFC 3261 §18.1.1: longer requests need TCP, which the courier decides.
                if len(request) <= MAX_DATAGRAM or hop.transport != "udp":
                    # RFC 3428 §8: one MESSAGE at a time. Until this one has ended, what follows is offered,
                    # and so waits in the recipient's queue.
                    recipient.ready_hop = None
                    recipient.outgoing = outgoing
                    recipient.started = tick
                    load.responsive += 1
                    transactions.start(recipient_id + branch_end, hop, request, recipient)
                    continue
            recipient.offer(outgoing)

    def offer(self, outgoing: Outgoing, address: str) -> None:
        """Send the request of a dialog to its device, when its turn comes."""
        recipient = self.recipients.get(address) or self._added(outgoing, address)
        if recipient is not None:
            recipient.offer(outgoing)

    def _added(self, outgoing: Outgoing, address: str) -> Recipient | None:
        """A recipient that is not known yet; None if there can be none: then the delivery has failed."""
        try:
            return self.recipients.add(address)
        except UnsendableError:
            # The address cannot be written into a request, so no attempt is needed to know the end.
            self._context.events.failed(outgoing, address, UNSENDABLE)
            self._context.failure_log.note(UNSENDABLE, None, address)
        except Exception as error:  # whatever it is, it must not end more than this delivery
            self._broke(outgoing, address, error)
        return None

    def _broke(self, outgoing: Outgoing, address: str, error: Exception) -> None:
        """An error of ours: the delivery to this address fails."""
        log_fault(error, address, outgoing.event.call_id)
        self._context.events.failed(outgoing, address, ERROR)
