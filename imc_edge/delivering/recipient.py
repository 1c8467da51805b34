"""One recipient: its queue, with one MESSAGE in flight at a time (RFC 3428 §8).

Recipients are the same for all shards: two events of different rooms that go to one user wait for each
other here. The queue holds references only, so that a dead member costs little while Timer F runs.

A recipient is in one of three conditions, which decide what happens to the next delivery offered to it:

*responsive*
    It responds within T1. Its deliveries are never refused; if they get too many, the edge reads no more
    events until some have ended.
*unresponsive*
    It let T1 pass, or its target has to be resolved or waited for, or it has a long queue and takes its time.
    Its deliveries do not stop the reading of events, so that a room of such members delays nobody else. In
    return they are limited, for the recipient, the sender and the room (`places.py`): what is too much to be
    in flight waits, what is too much to wait fails. The next response makes it responsive again.
    A recipient that is not known yet can be on trial: it counts as unresponsive, but is sent to at once, and
    only for as long as nothing waits for it, because it may well respond.
*backed off*
    It was silent until Timer F. For `unreachable_ttl` seconds every delivery fails at once, unless the
    recipient sends something itself. Then it counts as unresponsive, until it responds.

Besides, it may be away: then messages that the room keeps end unsent (`absence.py`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from imc_common.rooms.delivery_reports import AWAY
from imc_common.rooms.event import BYE, PROBE
from imc_common.sip.message import Response
from imc_edge.delivering.absence import Absence
from imc_edge.delivering.away_rules import arrived_before, note_failure, note_response, withholds
from imc_edge.delivering.failure_log import log_fault
from imc_edge.delivering.outcome import AS_TEXT, ERROR, NOT_SENT, SURPLUS, TIMEOUT
from imc_edge.delivering.outgoing import Outgoing
from imc_edge.delivering.retry_state import RetryState
from imc_edge.flow import Hop
from imc_edge.routing.targets import Targets

if TYPE_CHECKING:  # the context holds the courier, which sends for recipients
    from imc_edge.delivering.delivery_context import DeliveryContext

GONE: Final = "481"
"""The outcome of a request in a dialog that the recipient does not know (RFC 3261 §12.2.2)."""

LONG_QUEUE: Final = 100
"""Deliveries waiting from which on a recipient has to respond promptly to go on counting as responsive."""
PROMPT_TURNS: Final = 2
"""Turns of the timer wheel that a prompt response takes at most: 50 to 100 ms."""


class Recipient:
    """The queue of one recipient and its current delivery; the user of that delivery's transactions."""

    __slots__ = (
        "absence",
        "address",
        "backed_off_until",
        "context",
        "direct_hop",
        "head",
        "hop",
        "on_trial",
        "outgoing",
        "queue",
        "ready_hop",
        "recipient_id",
        "retry",
        "started",
        "target",
        "targets",
        "template_index",
        "to",
        "unresponsive",
        "waits_for_place",
    )

    def __init__(self, address: str, recipient_id: bytes, to: bytes, context: DeliveryContext) -> None:
        self.address = address
        self.target = address
        """The address in the Request-URI: another one only for some devices (`imc_common.devices`)."""
        self.recipient_id = recipient_id
        """Keyed hash of the address: a part of branch, Call-ID and From tag."""
        self.to = to
        """`outbound.to_lines` of the address."""
        self.context = context
        self.head = b""
        """Start line and Via of requests to `hop`."""
        self.hop: Hop | None = None
        """The only target, when there was only one at the last look."""
        self.targets: Targets | None = None
        self.direct_hop: Hop | None = None
        """The only target, if it is so for good: an IP address, or a proxy at one."""
        self.ready_hop: Hop | None = None
        """`direct_hop`, exactly while the recipient is idle, responsive and not backed off: its next request
        can be sent there without any further look."""
        self.outgoing: Outgoing | None = None
        """The event of the current delivery; None if there is none."""
        self.template_index = 0
        """Which of the event's MESSAGEs is in flight."""
        self.queue: deque[Outgoing] | None = None
        self.started = 0
        """Turn of the timer wheel at which the current delivery began."""
        self.unresponsive = False
        self.on_trial = False
        """It counts as unresponsive only because it is new; see the module's docstring."""
        self.waits_for_place = False
        """The current delivery is not in flight yet: its sender has too many of them to unresponsive ones."""
        self.backed_off_until = 0.0
        """Monotonic time; 0 if it is not backed off. A recipient backed off is unresponsive, too."""
        self.absence: Absence | None = None
        """Set while it is away, and some time after (`absence.py`)."""
        self.retry: RetryState | None = None
        """Set when the current delivery needs more than one request."""

    @property
    def disposable(self) -> bool:
        """Nothing to send and nothing to remember."""
        return self.outgoing is None and not self.is_remembered

    @property
    def is_remembered(self) -> bool:
        """Whether something is known of it that the next delivery depends on."""
        return self.backed_off_until > 0.0 or self.absence is not None

    def offer(self, outgoing: Outgoing) -> None:
        """Send it now, or when its turn comes; or fail it, if it cannot come."""
        context = self.context
        if self.absence is not None and withholds(self, outgoing):
            return
        # Backed off after Timer F: whatever is offered meanwhile fails at once, as RFC 3261 §8.1.3.1 treats
        # silence (408). Waiting for 32 s with each of them would tell nothing new.
        if self.backed_off_until:
            is_tried = outgoing.event.catch_up or outgoing.event.name == BYE  # an INVITE may wait for its end
            if context.clock() < self.backed_off_until and not is_tried:
                self.fail(outgoing, TIMEOUT)
                return
            self.backed_off_until = 0.0  # but unresponsive still: the next delivery is a probe
        # RFC 3428 §8: one MESSAGE per recipient at a time.
        if self.outgoing is not None:
            if outgoing.event.catch_up == PROBE:  # what is in flight finds out as well
                self.fail(outgoing, NOT_SENT)
            else:
                self._wait(outgoing)
            return
        # Idle: it goes out now, and the short way is closed until this delivery has ended.
        if self.unresponsive:
            if self.on_trial:
                self.outgoing = outgoing
                context.places.add(outgoing)
                context.places.begin_trial(outgoing)
                self._send()
            elif context.places.allows(outgoing):
                context.places.add(outgoing)
                self._take_place(outgoing)
            else:
                self.fail(outgoing, SURPLUS)
            return
        self.outgoing = outgoing
        self.ready_hop = None
        context.load.responsive += 1
        self._send()

    def _take_place(self, outgoing: Outgoing) -> None:
        """Send the next delivery to this unresponsive recipient, or wait until its sender has a place."""
        self.outgoing = outgoing
        if self.context.places.take(outgoing):
            self._send()
        else:
            self.waits_for_place = True
            self.context.places.line_up(self, outgoing)

    def _send(self) -> None:
        try:
            self.context.courier.send(self)
        except Exception as error:  # whatever it is, it must not end more than this delivery
            self.broke(error)

    def start(self) -> None:
        """The current delivery, which waited for a place, has one."""
        self.waits_for_place = False
        if self.still_wanted():
            self._send()

    def _wait(self, outgoing: Outgoing) -> None:
        """Another delivery is in flight: RFC 3428 §8 allows no second one beside it."""
        queue = self.queue
        if queue is None:
            queue = self.queue = deque()
        context, places = self.context, self.context.places
        # On trial: like any recipient that is not known to be silent, it gets until T1.
        if self.on_trial:
            self._mark_responsive()
        if not self.unresponsive:
            # It responds, so its queue will shrink: accept whatever the length. If there is too much for all
            # responsive recipients together, the edge reads no more events.
            queue.append(outgoing)
            context.load.responsive += 1
            # A long queue whose head got no prompt response shrinks too slowly. Reading would stop for all
            # rooms because of this recipient, so it counts as unresponsive before T1.
            if len(queue) >= LONG_QUEUE and context.wheel.tick - self.started >= PROMPT_TURNS:
                self.mark_unresponsive()
        # An unresponsive recipient must not fill memory: its own queue and those of all like it have limits.
        elif len(queue) < context.queue_limit and places.allows(outgoing):
            queue.append(outgoing)
            places.add(outgoing)
        else:
            self.fail(outgoing, SURPLUS)

    # --- what the transactions of the current delivery report

    def accepted(self) -> None:
        """The current MESSAGE got a 2xx."""
        outgoing = self.outgoing
        if outgoing is None:
            return
        if self.unresponsive:
            self._mark_responsive()
        # A list in several MESSAGEs: the next one follows only after the 2xx, so their order holds.
        if self.template_index + 1 < len(outgoing.templates):
            self.template_index += 1
            self.retry = None
            self._send()
            return
        if self.retry is not None and self.retry.templates is not None:
            self.context.events.failed(outgoing, self.address, AS_TEXT)  # not a failure, but to be reported
        else:
            self.context.events.delivered(outgoing, self.address)
        if self.absence is not None:
            note_response(self, outgoing)
        self._next()

    def rejected(self, response: Response) -> None:
        """The current MESSAGE got a final response from 300 up."""
        # RFC 3261 §17.1.2.2: any final response ends the transaction. A refusal shows, as a 2xx does, that
        # the recipient is there. What to do about it depends on the status.
        if self.unresponsive and self.outgoing is not None:
            self._mark_responsive()
        if self.still_wanted():
            self.context.courier.rejected(self, response)

    def failed(self, error: Exception) -> None:
        """The current MESSAGE got no response, or could not be sent."""
        if self.still_wanted():
            self.context.courier.failed(self, error)

    def is_wanted(self) -> bool:
        """Whether the current delivery is still ours."""
        return self.outgoing is not None and self.context.may_send(self.outgoing)

    def t1_passed(self) -> None:
        """There is no final response yet after T1."""
        self.mark_unresponsive()

    def due(self) -> None:
        """The pause of the current delivery is over."""
        try:
            self.context.courier.resume(self)
        except Exception as error:  # whatever it is, other timers are due as well
            self.broke(error)

    def broke(self, error: Exception) -> None:
        """An error of ours occurred in handling the current delivery: it fails, and all others go on.

        It ends a moment later, because the caller may be in the middle of the queue.
        """
        outgoing = self.outgoing
        if outgoing is not None:
            log_fault(error, self.address, outgoing.event.call_id)
            asyncio.get_running_loop().call_soon(self._end_broken, outgoing)

    def _end_broken(self, outgoing: Outgoing) -> None:
        if self.outgoing is outgoing:
            self.give_up(ERROR)

    # --- how the current delivery ends

    def still_wanted(self) -> bool:
        """Whether the current delivery is still ours to send; if not, the next that is takes its place."""
        if self.is_wanted():
            return True
        if self.outgoing is not None:
            self._next()
        return False

    def give_up(self, outcome: str) -> None:
        """Fail the current delivery and go on with the next."""
        if self.outgoing is not None:
            self.fail(self.outgoing, outcome)
            self._next()

    def end(self, outcome: str) -> None:
        """The current delivery has failed with this outcome: what waits goes on, or fails too."""
        if outcome == TIMEOUT:
            # RFC 3261 §17.1.2.2: Timer F ended the transaction after 64*T1 without a final response, or a
            # proxy says so (§16.7). Each delivery that waits would take 32 s more and end in the same way.
            self.mark_unresponsive()
            self.backed_off_until = self.context.clock() + self.context.unreachable_ttl
            self._give_up_all(outcome)
        elif outcome in AWAY and self.outgoing is not None and self.context.is_stored(self.outgoing.event):
            # Stored messages must not overtake the one that has failed: they follow from the history.
            self._give_up_all(outcome)
        else:
            self.give_up(outcome)

    def _give_up_all(self, outcome: str) -> None:
        """Fail the current delivery and all that wait, in order."""
        # Taken away first: giving up the current delivery would start the next in the queue.
        queue, self.queue = self.queue, None
        context = self.context
        self.give_up(outcome)
        for outgoing in queue or ():
            if self.unresponsive:
                context.places.remove(outgoing)
            else:
                context.load.responsive -= 1
            # Not the failures of shards that this edge has lost: their new owner sends, and may be luckier.
            if context.may_send(outgoing):
                self.fail(outgoing, NOT_SENT if context.is_stored(outgoing.event) else outcome)

    def fail(self, outgoing: Outgoing, outcome: str) -> None:
        """One delivery has failed, started or not."""
        context, retry = self.context, self.retry
        request, lost = outgoing.in_dialog, context.lost_dialog
        if request is not None and lost is not None and outcome == GONE and request.method == "BYE":
            if not lost(outgoing, self.address):
                context.events.failed(outgoing, self.address, outcome)
        else:
            context.events.failed(outgoing, self.address, outcome)
        if context.keeps_history:
            note_failure(self, outgoing, outcome)
            if outcome == NOT_SENT:
                return
        # an outcome that says that nothing was sent has no next hop either
        hop = retry.hop if retry is not None else self.hop
        context.failure_log.note(outcome, hop, self.address)

    def _next(self) -> None:
        """The current delivery has ended: start the first that waits and is still ours, or become idle."""
        context = self.context
        ended = self.outgoing
        self.retry = None
        self.template_index = 0
        self.outgoing = None
        if ended is not None:
            if self.on_trial:
                self._end_trial(ended)
            if self.unresponsive:
                context.places.release(ended)
                context.places.remove(ended)
            else:
                context.load.responsive -= 1
        # Events of shards that this edge has lost meanwhile are skipped: their new owner sends them.
        queue = self.queue
        while queue:
            outgoing = queue.popleft()
            has_arrived = self.absence is not None and arrived_before(self, outgoing)
            if not has_arrived and context.may_send(outgoing):
                if self.unresponsive:
                    self._take_place(outgoing)
                else:
                    self.outgoing = outgoing
                    self._send()
                return
            if self.unresponsive:
                context.places.remove(outgoing)
            else:
                context.load.responsive -= 1
        # Idle. The short way of `fan_out.py` opens again only for a responsive recipient, which is never
        # backed off.
        self.queue = None
        if not self.unresponsive and self.absence is None:
            self.ready_hop = self.direct_hop

    # --- the recipient's condition

    def has_sent(self) -> None:
        """The recipient sent something itself, so it is there: back off no longer."""
        self.backed_off_until = 0.0
        if self.absence is not None:
            self.absence.is_back()

    def came_online(self) -> None:
        """The recipient has registered or given another sign: what is pending is sent again at once."""
        self.has_sent()
        if self.outgoing is not None and not self.waits_for_place:
            try:
                self.context.courier.send_again(self)
            except Exception as error:  # whatever it is, it must not end more than this delivery
                self.broke(error)

    def went_offline(self) -> None:
        """The recipient says that it leaves: stored messages wait for its return."""
        if self.context.keeps_history:
            self.close_short_way().left(self.context.clock())

    def close_short_way(self) -> Absence:
        """What is known of its absence; from now on, each delivery is compared with it."""
        self.ready_hop = None
        if self.absence is None:
            self.absence = Absence()
        return self.absence

    def forget_absence(self) -> None:
        """It was long ago."""
        self.absence = None
        if self.outgoing is None and not self.unresponsive:
            self.ready_hop = self.direct_hop

    def distrust(self, *, on_trial: bool) -> None:
        """Count it as unresponsive, perhaps on trial only. Called before its first delivery."""
        self.unresponsive = True
        self.on_trial = on_trial
        self.ready_hop = None

    def _end_trial(self, outgoing: Outgoing) -> None:
        self.on_trial = False
        self.context.places.end_trial(outgoing)

    def mark_unresponsive(self) -> None:
        """From now on its deliveries count apart. Called only while one is in flight."""
        outgoing = self.outgoing
        if outgoing is None:
            return
        if self.on_trial:
            self._end_trial(outgoing)
        if self.unresponsive:
            return
        self.unresponsive = True
        load, places = self.context.load, self.context.places
        load.responsive -= 1
        places.add(outgoing)
        places.occupy(outgoing)
        for waiting in self.queue or ():
            load.responsive -= 1
            places.add(waiting)

    def _mark_responsive(self) -> None:
        """It has responded; with a queue still long its deliveries go on counting apart."""
        # Half of LONG_QUEUE: at the limit itself the condition would change with every response.
        outgoing = self.outgoing
        if outgoing is None or (self.queue is not None and len(self.queue) >= LONG_QUEUE // 2):
            return
        if self.on_trial:
            self._end_trial(outgoing)
        self.unresponsive = False
        load, places = self.context.load, self.context.places
        load.responsive += 1
        places.release(outgoing)
        places.remove(outgoing)
        for waiting in self.queue or ():
            load.responsive += 1
            places.remove(waiting)
