"""Invites users and devices to rooms by INVITE: the events `invite` (RFC 4579 §5.6).

An INVITE to a user reaches each of the user's devices, and each that accepts is a dialog of its own (RFC 3261
§13.2.2.4). A proxy that knows the devices may redirect the INVITE to their GRUUs: then each gets one of its
own, and knows the room under its GRUU. All are acknowledged, and reported to the worker one by one, in
requests that Redis accepts once: only then is the event settled. A client that has no group chat refuses, or
rings. Its outcome tells the worker to send it plain messages.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import structlog

from imc_common import client_devices, keys
from imc_common.devices import user_of
from imc_common.keys import Keys
from imc_common.rooms.event import Event
from imc_common.rooms.request import RETRANSMISSION_SECONDS
from imc_common.rooms.roles import INVITED
from imc_common.store import Command, ReplyError, StoreUnreachable
from imc_common.store.protocols import DurableScriptRunner
from imc_edge.delivering.absence import Position, parse
from imc_edge.delivering.acceptance import VALID_SECONDS, SessionReport, confirmation
from imc_edge.delivering.credentials import Credentials
from imc_edge.delivering.delivery_context import DeliveryContext
from imc_edge.delivering.dialog_request import DialogRequest
from imc_edge.delivering.failure_log import log_fault
from imc_edge.delivering.former_acceptances import FormerAcceptances
from imc_edge.delivering.invitation import Invitation
from imc_edge.delivering.invitation_order import FAREWELL, InvitationOrder, Place
from imc_edge.delivering.invite_outcome import FarewellOutcome, InviteOutcome
from imc_edge.delivering.invite_transaction import InviteTransactions
from imc_edge.delivering.made_dialog import MadeDialog
from imc_edge.delivering.outgoing import Outgoing
from imc_edge.delivering.stray_acceptances import StrayAcceptances
from imc_edge.delivering.transaction_states import T1, T2
from imc_edge.flow import Transports
from imc_edge.identifiers import DeliveryIds
from imc_edge.routing.next_hop import NextHops

MAX_IN_FLIGHT: Final = 256
"""INVITEs that wait for a final response; further events wait."""
TURN_SECONDS: Final = 0.05
"""It is looked again so often whether an INVITE may be sent that waits."""
FAREWELL_SECONDS: Final = 30.0
"""Until a device may be told again, in a session made for that, that its user is not in a room."""
CONFIRM_SECONDS: Final = 12.0
"""A device that has not repeated its 2xx for so long has its ACK: it does so each 4 s (T2)."""
LOST_SECONDS: Final = 16.0
"""The ACKs of a device do not arrive if it still repeats its 2xx after so long: four copies of T2."""
RETRY_SECONDS: Final = 0.5
"""Pause after Redis was unreachable, or refused a report."""

log = structlog.get_logger()


class Invitations:
    """The INVITEs of this edge. Its `run` has to be kept running."""

    def __init__(  # noqa: PLR0917 # the parts it connects
        self,
        context: DeliveryContext,
        store: DurableScriptRunner,
        transports: Transports,
        next_hops: NextHops,
        transactions: InviteTransactions,
        credentials: Credentials,
        delivery_ids: DeliveryIds,
        *,
        names: Keys,
        hash_size: int,
        request_of: Callable[[Event], DialogRequest | None],
        random: Callable[[], float],
    ) -> None:
        """``request_of`` makes the INVITE of an event; ``random`` gives 0 to 1."""
        self.context = context
        self.transports = transports
        self.next_hops = next_hops
        self.transactions = transactions
        self.credentials = credentials
        self.delivery_ids = delivery_ids
        self.request_of = request_of
        self.random = random
        self._store = store
        self._names = names
        self._in_flight = 0
        self._waiting: deque[Invitation] = deque()
        """INVITEs that are not sent yet, in order."""
        self._order = InvitationOrder(context.clock)
        self.strays = StrayAcceptances(self, store, names, hash_size=hash_size)
        """Acceptances that no transaction here waits for."""
        self._former_acceptances = FormerAcceptances(self, store, names)
        self._reports: deque[SessionReport] = deque()
        self._wake = asyncio.Event()
        self._unconfirmed: deque[tuple[float, MadeDialog, Event]] = deque()
        """Sessions whose device may not have its ACK yet, and when to look at them again."""
        self._unheard_sessions: deque[tuple[float, MadeDialog, Event]] = deque()
        """Sessions by an INVITE of another edge, and when to send their ACK again."""
        self._unheard: set[str] = set()
        """Users with a device that no ACK reaches: its next REGISTER leads to another INVITE."""
        self._farewells: dict[tuple[str, str], float] = {}
        """When room and device were last separated, in the last `FAREWELL_SECONDS`, oldest first."""

    def add(self, outgoing: Outgoing, request: DialogRequest, to: str) -> None:
        """Send the INVITE of an event, now or when others have their response."""
        outcome = InviteOutcome(self.context, outgoing, to)
        self._add(Invitation(self, outcome, outgoing.event, request, to))

    def add_devices(self, outcome: InviteOutcome, event: Event, devices: Sequence[str]) -> bool:
        """The INVITE of an event goes to each of these devices instead of to their user; False if to none."""
        made: list[Invitation] = []
        for device in devices:
            request = self.request_of(replace(event, to=(device,)))
            if request is not None:
                made.append(Invitation(self, outcome, event, request, device))
        if made:
            outcome.named(len(made))  # after all requests could be made
        for each in made:
            self._add(each)
        return bool(made)

    def say_farewell(self, outgoing: Outgoing, event: Event, to: str, *, had_session: bool) -> bool:
        """Send this INVITE to a device, and BYE in the new dialog: it has lost the one in which it got a BYE.

        Linphone forgets its sessions at a restart, but shows the room as before. The event of the BYE is
        settled after that. False: it is not done, because it was just before, to a device that has not
        entered the room since: it has only subscribed.
        """
        if self._said_lately(event.room, to) and not had_session:
            return False
        request = self.request_of(replace(event, to=(to,)))
        if request is None:
            return False
        self._add(Invitation(self, FarewellOutcome(self.context, outgoing, to), event, request, to))
        return True

    def _said_lately(self, room: str, device: str) -> bool:
        """Whether this is a second farewell in a short time; if not, it is noted.

        Linphone asks for all its rosters again when it accepts an INVITE. That brings another BYE, which
        would otherwise come late and end the session of a user who was added again meanwhile.
        """
        now, said = self.context.clock(), self._farewells
        while said and next(iter(said.values())) <= now - FAREWELL_SECONDS:
            del said[next(iter(said))]
        if (room, device) in said:
            return True
        said[room, device] = now
        return False

    def farewell_failed(self, room: str, device: str) -> None:
        """The device did not accept it, or it was not sent."""
        self._farewells.pop((room, device), None)

    def bye_started(self, outgoing: Outgoing, device: str) -> None:
        """A BYE is sent to a device: its user is not invited anew before that has ended."""
        self._order.bye_started(outgoing, device)

    def let_go(self) -> None:
        """Shards were lost: their INVITEs are not sent again from here."""
        for each in self._order.all_started():
            each.let_go()

    def _add(self, invitation: Invitation) -> None:
        self._waiting.append(invitation)
        self._wake.set()

    def ended(self) -> None:
        """An INVITE has its final response, or none will come."""
        self._in_flight -= 1
        self._wake.set()

    def report(self, report: SessionReport) -> None:
        """Have this written into the in-stream."""
        self._reports.append(report)
        self._wake.set()

    def acknowledged(self, made: MadeDialog, event: Event) -> None:
        """The ACK of a session that Redis has was sent. When it has arrived, the worker hears of that."""
        self._unconfirmed.append((made.acknowledged_at + CONFIRM_SECONDS, made, event))

    def acknowledge_unheard(self, made: MadeDialog, event: Event) -> None:
        """Send an ACK whose device repeats its 2xx to another edge, which is gone.

        It is sent as often as the 2xx may be, because nobody hears when the device repeats it no more. A
        session that has not ended after that is confirmed.
        """
        made.acknowledge()
        self._unheard_sessions.append((self.context.clock() + T2, made, event))

    def turn(self) -> None:
        """To be called often: report the sessions whose device has its ACK, and repeat other ACKs."""
        now, unconfirmed, unheard = self.context.clock(), self._unconfirmed, self._unheard_sessions
        while unheard and unheard[0][0] <= now:
            _, made, event = unheard.popleft()
            if made.came_at > now - VALID_SECONDS:
                self.acknowledge_unheard(made, event)
            else:
                self._confirm(made, event)
        while unconfirmed and unconfirmed[0][0] <= now:
            _, made, event = unconfirmed.popleft()
            if made.acknowledged_at + CONFIRM_SECONDS > now:
                self.acknowledged(made, event)
                if made.acknowledged_at > made.came_at + LOST_SECONDS:
                    self._unheard.add(user_of(event.to[0]))
                    self._wake.set()
            else:
                self._confirm(made, event)

    def _confirm(self, made: MadeDialog, event: Event) -> None:
        if made.is_acknowledged:
            self.report(confirmation(event, user_of(event.to[0]), made.dialog, ids=self.delivery_ids))

    async def finish(self) -> None:
        """The process ends: report what it knows. Raises `StoreUnreachable`.

        It knows nothing of a device that would not have repeated its 2xx yet.
        """
        now = self.context.clock()
        while self._unconfirmed:
            _, made, event = self._unconfirmed.popleft()
            if made.acknowledged_at + made.next_copy_after + T1 <= now:
                self._confirm(made, event)
        await self.flush(retries=False)

    async def run(self) -> None:
        """Report, and send what waits, until cancelled."""
        while True:
            if not self._reports and not self._waiting and not self._unheard:
                self._wake.clear()
                await self._wake.wait()
            if self._unheard:
                await self._count_unheard()
            if self._reports:
                await self.flush()
            if self._waiting:
                self._wake.clear()
                if not await self.start_next():
                    await self._woken()

    async def _count_unheard(self) -> None:
        """The room gives up a device that no ACK reaches (`lua/exit_room.lua`): it is offered later again."""
        users, self._unheard = self._unheard, set()
        try:
            await self._store.run([each for user in users for each in client_devices.count(user)])
        except StoreUnreachable:
            self._unheard |= users
            await asyncio.sleep(RETRY_SECONDS)

    async def _woken(self) -> None:
        """Wait until another INVITE has ended, but not long: the end of a BYE wakes nobody."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TURN_SECONDS):
                await self._wake.wait()

    async def start_next(self) -> int:
        """Send the INVITEs that may be sent now, if they are still wanted. Returns how many there were.

        Redis is asked at the last moment: the user may have been removed since the event was written, and
        perhaps was added again, which is another event. An edge that owned the shard before may have sent it,
        and a device accepted it.
        """
        due = self._due()
        if not due:
            return 0
        try:
            replies = await self._store.run([each for one in due for each in self._questions(one)])
            taken_over = [each for each in due if each.was_taken_over]
            replied = await self._former_acceptances.acknowledge(taken_over)
            accepted = dict(zip(taken_over, replied, strict=True))
        except StoreUnreachable:
            self._waiting.extendleft(reversed(due))
            await asyncio.sleep(RETRY_SECONDS)
            return len(due)
        unknown: list[Invitation] = []
        for at, invitation in enumerate(due):
            is_accepted = accepted.get(invitation, False)
            if is_accepted is None or _is_unknown(invitation, replies[2 * at]):
                unknown.append(invitation)
                continue
            self._in_flight += 1
            is_accepted = is_accepted or self._order.is_needless(invitation)
            if not is_accepted and _is_wanted(invitation, *replies[2 * at : 2 * at + 2]):
                self._order.started(invitation)
                invitation.start()
            else:
                invitation.withdraw()
        if unknown:  # a worker has to come to the reports first, or Redis has to be back
            self._waiting.extend(unknown)
            await asyncio.sleep(RETRY_SECONDS)
        return len(due)

    def _due(self) -> list[Invitation]:
        """Take out those that may be sent now: nothing of an earlier stay is under way or waits."""
        due: list[Invitation] = []
        held: dict[Place, Position] = {}
        left: deque[Invitation] = deque()
        latest = {each.place: each.stay for each in sorted(self._waiting, key=lambda each: each.stay)}
        for invitation in self._waiting:
            stay = invitation.stay
            is_first = stay <= held.get(invitation.place, stay)
            is_free = self._in_flight + len(due) < MAX_IN_FLIGHT
            is_latest = stay == latest[invitation.place]
            if is_free and is_first and self._order.may_start(invitation, is_latest=is_latest):
                due.append(invitation)
            else:
                left.append(invitation)
            held.setdefault(invitation.place, stay)
        self._waiting = left
        return due

    def _questions(self, invitation: Invitation) -> list[Command]:
        """Ask whether the user is a member, and for its latest invitation."""
        event, (room, user) = invitation.event, invitation.place
        about = self._names.room(event.shard, room)
        return [
            ("HGET", self._names.members(event.shard, room), user),
            ("HMGET", about, f"invitation:{invitation.invited}", f"joined:{user}"),
        ]

    async def flush(self, *, retries: bool = True) -> None:
        """Write the reports that there are. What fails is kept; then this takes a moment.

        They are as safe as accepted requests: after a failover that loses one, no INVITE would bring another.
        One that is too old is dropped: the session has ended, because there was no ACK.
        """
        now, reports = self.context.clock(), []
        for each in self._reports:
            if each.is_abandoned():
                continue  # the shard's new owner sends the INVITE again
            if each.came_at > now - VALID_SECONDS:
                reports.append(each)
            else:
                _guarded(each, each.too_late)
        self._reports.clear()
        commands = []
        for each in reports:
            shard, fields = each.event.shard, each.fields_at(now)
            args = (RETRANSMISSION_SECONDS * 1000, 0, "", each.digest, len(fields), *fields)
            commands.append(self._store.script("accept_many", keys.accepting(shard), args))
        try:
            replies = await self._store.run(commands, durable=True)
        except StoreUnreachable as error:
            replies = [error] * len(reports)
        failed = [each for each, reply in zip(reports, replies, strict=True) if isinstance(reply, Exception)]
        for each, reply in zip(reports, replies, strict=True):
            if not isinstance(reply, Exception):
                _guarded(each, each.done)
            elif isinstance(reply, ReplyError):
                log.warning("invitation not reported", room=each.event.room, reason=str(reply))
        self._reports.extendleft(reversed(failed))
        if failed and retries:
            await asyncio.sleep(RETRY_SECONDS)


def _guarded(report: SessionReport, act: Callable[[], None]) -> None:
    """An error of ours must not end more than one report."""
    try:
        act()
    except Exception as error:  # whatever it is
        log_fault(error, report.event.to[0], report.event.call_id)


def _is_unknown(invitation: Invitation, value: Any) -> bool:
    """Whether it has to be asked again, because Redis did not say if the user of a farewell is a member."""
    return invitation.stay == FAREWELL and isinstance(value, ReplyError) and value.transient


def _is_wanted(invitation: Invitation, value: Any, about: Any) -> bool:
    """Whether an INVITE may be sent, by the replies to its questions.

    If these are errors, a user is invited, and no farewell is said.
    """
    if isinstance(value, Exception) or isinstance(about, Exception):
        return invitation.stay != FAREWELL
    is_member = value is not None and value != INVITED.encode()
    if invitation.stay == FAREWELL:
        return not is_member
    latest, joined = about
    event_id = invitation.event.entry_id
    if not is_member or latest != event_id.encode():
        return False
    return joined is None or parse(event_id) >= parse(joined.decode())
