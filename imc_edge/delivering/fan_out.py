"""An event on its way to many recipients at once.

Nearly every delivery starts alike: the recipient is idle, its one target is known, and the request fits a
datagram. That is done here in one loop, which does for each recipient just what `Recipient.offer` and
`Courier.send` would do; all others go by way of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from imc_edge.delivering.outbound import MAX_DATAGRAM, UnsendableError
from imc_edge.delivering.outcome import UNSENDABLE
from imc_edge.delivering.outgoing import Outgoing
from imc_edge.delivering.recipient import Desk
from imc_edge.delivering.recipients import Recipients
from imc_edge.delivering.timer_wheel import TimerWheel
from imc_edge.delivering.transaction import ClientTransactions
from imc_edge.routing.back_off import HoldOff


class FanOut:
    """Offers events to recipients."""

    def __init__(
        self, desk: Desk, transactions: ClientTransactions, hold_off: HoldOff, wheel: TimerWheel
    ) -> None:
        self._desk = desk
        self._start = transactions.start
        self._held = hold_off.held
        self._wheel = wheel

    def send(self, outgoing: Outgoing, recipients: Recipients, to: Sequence[str]) -> None:
        """Send the event to these recipients now, or when the turn of each comes."""
        _, first, sender, cseq, tail = outgoing.parts[0]
        in_good_times = outgoing.deadline is None and not self._held
        start, load, tick, join = self._start, self._desk.load, self._wheel.tick, b"".join
        for address in to:
            # looked up one by one: one that is idle may be forgotten when another one is made
            recipient = recipients.get(address)
            if recipient is None:
                try:
                    recipient = recipients.add(address)
                except UnsendableError:
                    self._desk.lost(outgoing, address, UNSENDABLE)
                    continue
            hop, targets = recipient.hop, recipient.targets
            if (
                in_good_times
                and recipient.outgoing is None
                and targets is not None
                and targets.fixed is hop
                and hop is not None
                and targets.until is inf
                and not recipient.slow
                and not recipient.held_until
            ):
                share = recipient.share
                request = join((recipient.head, first, recipient.to, sender, share, cseq, tail))
                if len(request) <= MAX_DATAGRAM or hop.transport != "udp":
                    recipient.outgoing = outgoing
                    recipient.started = tick
                    load.quick += 1
                    start(share + first, hop, request, recipient)
                    continue
            recipient.offer(outgoing)
