"""One INVITE: to which hop, and what follows from each response (RFC 4579 §5.6, RFC 3261 §13.2.2)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from imc_common.devices import BY_AOR, is_device, user_of
from imc_common.rooms.delivery_reports import AWAY
from imc_common.rooms.event import Event
from imc_common.sip.errors import SipError
from imc_common.sip.message import Response
from imc_common.sip.uri import Uri
from imc_edge.conference.dialog import Dialog
from imc_edge.delivering.absence import parse
from imc_edge.delivering.acceptance import acceptance, accepted_by, device_of
from imc_edge.delivering.courier import MAX_CONTACTS, REFUSED
from imc_edge.delivering.dialog_request import DialogRequest, cancelled, refusal_acknowledged
from imc_edge.delivering.failure_log import log_fault
from imc_edge.delivering.invitation_order import FAREWELL
from imc_edge.delivering.invite_outcome import NO_GROUP_CHAT, InviteOutcome
from imc_edge.delivering.made_dialog import MadeDialog
from imc_edge.delivering.outbound import MAX_DATAGRAM
from imc_edge.delivering.outcome import ERROR, FORBIDDEN, NO_TARGET, TIMEOUT, TRANSPORT, WITHDRAWN
from imc_edge.delivering.redirection import contacts
from imc_edge.delivering.transaction import TransactionTimeoutError
from imc_edge.delivering.transaction_states import T1
from imc_edge.flow import Hop
from imc_edge.routing.targets import Targets

if TYPE_CHECKING:  # the invitations know each of theirs
    from imc_edge.delivering.invitations import Invitations

FORKED_SECONDS: Final = 64 * T1
"""How long a proxy sends an INVITE to a device that does not respond."""
MAX_ACCEPTING: Final = 16
"""Devices whose 2xx to one INVITE counts; a user has fewer in a room (`lua/include/admit_device.lua`)."""


class Invitation:
    """One INVITE: to which hop, and what follows from each response."""

    __slots__ = (
        "_attempt",
        "_attempts_with_credentials",
        "_dialogs",
        "_had_final",
        "_headers",
        "_hop",
        "_hops",
        "_invitations",
        "_is_settled",
        "_moved_to_tcp",
        "_outcome",
        "_realms",
        "_request",
        "_started_at",
        "_stay_is_over",
        "_to",
        "_unreported",
        "_was_cancelled",
        "accepted_at",
        "event",
        "made_at",
        "place",
        "reported_at",
        "stay",
    )

    def __init__(  # what it is made of
        self,
        invitations: Invitations,
        outcome: InviteOutcome,
        event: Event,
        request: DialogRequest,
        to: str,
    ) -> None:
        self._invitations = invitations
        self._outcome = outcome
        self._request = request
        self._to = to
        self.event = event
        self.place = event.room, user_of(to)
        """Room and user: what `InvitationOrder` keeps apart."""
        self.stay = FAREWELL if outcome.is_farewell else parse(event.joined or event.entry_id)
        """When the user became a member, by which the INVITEs of one stay are known."""
        self._stay_is_over = False
        self.made_at = invitations.context.clock()
        """When it was asked for."""
        self.accepted_at: dict[str, float] = {}
        """When each device has accepted."""
        self.reported_at: dict[str, float] = {}
        """When Redis got the report of that."""
        self._started_at = 0.0
        self._hops: deque[Hop] = deque()
        self._hop: Hop | None = None
        self._moved_to_tcp: Hop | None = None
        """The UDP hop that the last request left for TCP because it is too long for a datagram."""
        self._attempt = 0
        """Number of the next request: a part of the branch."""
        self._attempts_with_credentials = 0
        self._headers: list[tuple[str, str]] = []
        self._realms: set[str] = set()
        self._dialogs: dict[str, MadeDialog] = {}
        """By tag of the device that has accepted."""
        self._unreported: dict[str, str] = {}
        """Tags and devices of those that get their ACK when Redis has the report."""
        self._had_final = False
        self._was_cancelled = False
        self._is_settled = False

    @property
    def invited(self) -> str:
        """The user or device of the event; a redirection has led to a device of this user."""
        return self._outcome.to

    @property
    def recipient(self) -> str:
        """The user or device that this INVITE goes to."""
        return self._to

    @property
    def outcome(self) -> InviteOutcome:
        """What becomes of the event."""
        return self._outcome

    @property
    def was_taken_over(self) -> bool:
        """Whether an edge that owned the shard before may have sent it."""
        return self._outcome.outgoing.resent and not self._outcome.is_farewell

    def may_reach(self, device: str) -> bool:
        """Whether it has no final response, and goes to this device, or to its user: a proxy may fork it.

        Or the device has accepted, and Redis has no report yet. One of a shard that was lost holds up
        nothing: the shard's next owner knows nothing of it.
        """
        is_under_way = not self._had_final and self._to in {device, user_of(device)}
        is_reported = device not in self._unreported.values()
        return (is_under_way or not is_reported) and not self._outcome.outgoing.abandoned

    def is_forked_to(self, device: str) -> bool:
        """Whether another device has accepted it, and a proxy may still bring it to this one.

        RFC 3261 §16.7: the proxy cancels its other branches. One without a response cannot be cancelled, and
        may reach a device that comes back, until Timer B (§17.1.1.2).
        """
        if device == self._to or user_of(device) != self._to or device in self.accepted_at:
            return False
        last = max(self.accepted_at.values(), default=-FORKED_SECONDS)
        return (
            self._invitations.context.clock() < last + FORKED_SECONDS and not self._outcome.outgoing.abandoned
        )

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is under way, as far as is known."""
        return self._had_final and not any(each.is_ending for each in self._dialogs.values())

    def is_remembered(self, since: float) -> bool:
        """Whether it was started after this, or is not over."""
        return self._started_at > since or not self.is_over

    def start(self) -> None:
        """Find the targets and send the INVITE to the first."""
        self._started_at = self._invitations.context.clock()
        self._guarded(self._start)

    def _guarded(self, go_on: Callable[[], None]) -> None:
        """An error of ours must not end more than this invitation, wherever it is continued from."""
        try:
            go_on()
        except Exception as error:  # whatever it is
            self.broke(error)

    def _start(self) -> None:
        if not self._invitations.context.may_send(self._outcome.outgoing):
            self._final()  # the shard's new owner sends it
            return
        targets = self._invitations.next_hops.known(self._request.next_uri)
        if targets is None:
            self._invitations.next_hops.find(self._request.next_uri, self._found)
        else:
            self._found(targets)

    def _found(self, targets: Targets | None) -> None:
        self._guarded(partial(self._use, targets))

    def _use(self, targets: Targets | None) -> None:
        if targets is None:
            self._fail(NO_TARGET)
        elif not targets.groups:
            self._fail(FORBIDDEN)
        else:
            self._hops.extend(targets.draw(self._invitations.random))
            self._next_hop(TRANSPORT)

    def _next_hop(self, outcome: str) -> None:
        if self._hops:
            self._send_to(self._hops.popleft())
        else:
            self._fail(outcome)

    def _send_to(self, hop: Hop, *, tcp_refused: bool = False) -> None:
        request = self._bytes(self._request, hop, self._headers)
        # RFC 3261 §18.1.1: what is too long for a datagram goes over TCP to the same address and port.
        self._moved_to_tcp = None
        if hop.transport == "udp" and len(request) > MAX_DATAGRAM and not tcp_refused:
            self._moved_to_tcp, hop = hop, Hop("tcp", hop.host, hop.port)
            request = self._bytes(self._request, hop, self._headers)
        self._hop = hop
        self._invitations.transactions.start(self._branch(), hop, request, self)

    def _bytes(self, request: DialogRequest, hop: Hop, headers: list[tuple[str, str]]) -> bytes:
        via = self._invitations.transports.via(hop)
        return request.to_bytes(via, self._branch(), headers, self._attempts_with_credentials)

    def _branch(self) -> bytes:
        ids = self._invitations.delivery_ids
        event_id = ids.message_id(self.event.room, self.event.entry_id, 0)
        return ids.recipient_id(self._to) + event_id + b"%02d" % (self._attempt % 100)

    # --- what the transaction reports: `InviteUser`

    def accepted(self, response: Response) -> None:
        """A device has accepted. The first 2xx of each is reported, and each is acknowledged after that."""
        self._final()
        try:
            dialog, device, _ = accepted_by(response, user_of(self._to))
        except SipError:
            self._fail(NO_GROUP_CHAT)  # it gets no ACK, and ends by itself
            return
        tag = dialog.remote_tag
        if tag in self._dialogs and tag not in self._unreported:
            self._dialogs[tag].acknowledge()
            return
        if self._outcome.outgoing.abandoned and not (self._outcome.is_farewell or self._stay_is_over):
            # The shard's new owner does not send it again if another device has accepted it.
            self._invitations.strays.take(response)
            return
        if tag in self._dialogs:
            return
        if len(self._dialogs) >= MAX_ACCEPTING:
            return  # no user has so many devices: each new tag would cost memory and a request to the worker
        number = self._request.cseq + self._attempts_with_credentials
        made = self._dialogs[tag] = MadeDialog(self._invitations, self.event.room, self._to, dialog, number)
        if self._outcome.is_farewell or self._stay_is_over:
            made.end(self._bye_ended)
        elif device:
            self.accepted_at[device] = self._invitations.context.clock()
            self._report(made, device)
        else:  # a client that is no group chat: its user gets texts, unless a device has accepted, too
            made.end()
            if not self._unreported:
                self._fail(NO_GROUP_CHAT)

    def rejected(self, response: Response) -> None:
        """Nobody has accepted."""
        status = response.status
        if self._stay_is_over:
            self._fail(WITHDRAWN)
            return
        if status in {401, 407} and self._send_with_credentials(response):
            return
        if status < 400 and self._redirect(response):
            return
        self._attempt += 1
        if status == 503 and self._hops:
            self._next_hop(str(status))
        else:
            self._fail(NO_GROUP_CHAT if self._was_cancelled and status == 487 else str(status))

    def failed(self, error: Exception) -> None:
        """No response, or none that is final."""
        self._attempt += 1
        udp_hop = self._moved_to_tcp
        if self._outcome.outgoing.abandoned:
            self._final()  # the shard's new owner has an outcome
        elif self._stay_is_over:
            self._fail(WITHDRAWN)
        elif udp_hop is not None and isinstance(error.__cause__ or error, REFUSED):
            # RFC 3261 §18.1.1: the one case in which a long request may go over UDP after all. A connection
            # that breaks counts as well: the message may be longer than the peer's buffer for TCP.
            self._send_to(udp_hop, tcp_refused=True)
        elif self._was_cancelled:
            self._fail(NO_GROUP_CHAT)
        elif isinstance(error, TransactionTimeoutError):
            self._next_hop(TIMEOUT)
        else:
            self._next_hop(TRANSPORT)

    def broke(self, error: Exception) -> None:
        """An error of ours: this invitation fails, and all others go on."""
        log_fault(error, self._to, self.event.call_id)
        self._fail(ERROR)

    def acknowledgement(self, response: Response) -> bytes:
        """The ACK of a refusal: in the same transaction, so with the same branch."""
        to = response.headers.get("To") or ""
        ack = refusal_acknowledged(self._request, to)
        return self._bytes(ack, self._hop or Hop("udp", "", 0), [])

    def cancellation(self) -> bytes:
        """It rings, or nobody accepts it for long."""
        self._was_cancelled = True
        return self._bytes(cancelled(self._request), self._hop or Hop("udp", "", 0), [])

    # --- what follows

    def _send_with_credentials(self, response: Response) -> bool:
        """RFC 3261 §22.2: once more, with the next CSeq; False if there are no credentials for it."""
        request = self._request
        headers = self._invitations.credentials.headers_for(
            response, request.uri, self._realms, request.method
        )
        if not headers or self._hop is None:
            return False
        self._headers += headers
        self._attempts_with_credentials += 1
        self._attempt += 1
        self._send_to(self._hop)
        return True

    def _redirect(self, response: Response) -> bool:
        """RFC 3261 §8.1.3.4: invite the user's devices that a 3xx names; False if it names none."""
        outcome = self._outcome
        if outcome.is_farewell or is_device(self._to):
            return False
        uris = [Uri.parse(text) for text in contacts(response)[:MAX_CONTACTS]]
        devices = list(
            dict.fromkeys([device for uri in uris if (device := device_of(uri, user_of(self._to)))])
        )
        # A device that is in the room would end its session with it, which is how a user leaves.
        known = outcome.accepted.union(self.event.detail.split())
        asked = [device for device in devices if device not in known]
        if asked and self._invitations.add_devices(outcome, self.event, asked):
            self._final()
            self._is_settled = True  # by the outcomes of these
        elif devices:
            self._fail(NO_GROUP_CHAT)
        return bool(devices)

    def _report(self, made: MadeDialog, device: str) -> None:
        ids, now = self._invitations.delivery_ids, self._invitations.context.clock()

        def done() -> None:
            self._unreported.pop(made.dialog.remote_tag, None)
            made.acknowledge()
            self.reported_at[device] = self._invitations.context.clock()
            if not self._is_settled:
                self._is_settled = True
                self._outcome.delivered(device)
            self._invitations.acknowledged(made, self.event)

        def too_late() -> None:
            self._unreported.pop(made.dialog.remote_tag, None)
            self.accepted_at.pop(device, None)
            made.has_ended = True
            if not self._unreported:
                self._fail(TIMEOUT)

        self._unreported[made.dialog.remote_tag] = device
        self._invitations.report(
            acceptance(
                self.event,
                self._to,
                device,
                made.dialog,
                ids=ids,
                came_at=now,
                done=done,
                too_late=too_late,
                is_abandoned=lambda: self._outcome.outgoing.abandoned,
            )
        )

    def _bye_ended(self) -> None:
        """Only now the event is settled. If this edge dies before, the next one sends the INVITE again.

        If a farewell's BYE finds nobody, as when the phone is switched off after its 2xx, the device still
        shows the room after a restart: the farewell is said again when it is back.
        """
        dialogs = self._dialogs.values()
        if any(each.is_ending for each in dialogs):
            return
        away = [each.bye_outcome for each in dialogs if each.bye_outcome in AWAY]
        if away and self._outcome.is_farewell:
            self._invitations.farewell_failed(self.event.room, self._to)
            self._fail(away[0])
        else:
            self._fail(NO_GROUP_CHAT)

    # --- how it ends

    def end_stay(self) -> None:
        """The user was removed since, and is invited anew: end what there is of this INVITE."""
        if self._stay_is_over or self._outcome.is_farewell:  # which ends by itself
            return
        self._stay_is_over = True
        for made in self._dialogs.values():
            made.end()
        if not self._had_final:
            self._invitations.transactions.give_up(self._branch())

    def let_go(self) -> None:
        """If its shard was lost, it is not sent again from here. Its new owner does that.

        Otherwise it could reach a device after the next INVITE of the room, and end the session of that.
        """
        if not self._had_final and not self._invitations.context.may_send(self._outcome.outgoing):
            self._invitations.transactions.stop_sending(self._branch())

    def left(self, dialog: str, device: str) -> None:
        """The worker has a dialog of a device ended by BYE, which may be one of these.

        Then the device has accepted no longer: it may be invited again at once.
        """
        ended = Dialog.parse(dialog)
        made = self._dialogs.get(ended.remote_tag)
        if made is not None and made.dialog.call_id == ended.call_id:
            del self._dialogs[ended.remote_tag]
            self.accepted_at.pop(device.removesuffix(BY_AOR), None)
            self.reported_at.pop(device.removesuffix(BY_AOR), None)

    def withdraw(self) -> None:
        """It is not sent: the user is no member any more, or was invited anew."""
        self._final()
        self._forget_farewell()
        if not self._is_settled:
            self._is_settled = True
            self._outcome.failed(WITHDRAWN, self._to)

    def _forget_farewell(self) -> None:
        """Nobody has heard it, so it may be said again."""
        if self._outcome.is_farewell and not self._dialogs:
            self._invitations.farewell_failed(self.event.room, self._to)

    def _final(self) -> None:
        if not self._had_final:
            self._had_final = True
            self._invitations.ended()

    def _fail(self, outcome: str) -> None:
        self._final()
        self._forget_farewell()
        if not self._is_settled:
            self._is_settled = True
            self._outcome.failed(outcome, self._to)
            self._invitations.context.failure_log.note(outcome, self._hop, self._to)
