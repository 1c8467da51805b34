"""The INVITE client transaction of RFC 3261 §17.1.1, as RFC 6026 corrects it.

``TRANSITIONS`` is the only place that says how a transaction changes state. After a 2xx it stays, because
each device of a user can send one, and sends it again until it has an ACK. What a response means is decided
by the transaction user, which also acknowledges a 2xx (§13.2.2.4).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice
from typing import Final, Literal, Protocol

from imc_common.errors import ImcError
from imc_common.sip.errors import SipError
from imc_common.sip.limits import DEFAULT
from imc_common.sip.message import Response
from imc_common.sip.parse import parse_message
from imc_edge.delivering.timer_wheel import TimerWheel, ticks
from imc_edge.delivering.transaction import MAX_COOKIES, TransactionTimeoutError, branches_in
from imc_edge.delivering.transaction_states import T1, T2
from imc_edge.flow import Hop, Transports

InviteState = Literal["calling", "proceeding", "cancelling", "accepted", "completed", "terminated"]
InviteInput = Literal["provisional", "success", "refusal", "timeout", "transport error"]
InviteAction = Literal["", "pass up", "acknowledge", "acknowledge and pass up", "cancel", "give up"]

TRANSITIONS: Final[dict[InviteState, dict[InviteInput, tuple[InviteState, InviteAction]]]] = {
    "calling": {
        "provisional": ("proceeding", ""),
        "success": ("accepted", "pass up"),
        "refusal": ("completed", "acknowledge and pass up"),
        "timeout": ("terminated", "give up"),  # Timer B
        "transport error": ("terminated", "give up"),
    },
    "proceeding": {
        "provisional": ("proceeding", ""),
        "success": ("accepted", "pass up"),
        "refusal": ("completed", "acknowledge and pass up"),
        "timeout": ("cancelling", "cancel"),  # §9.1: only after a provisional response
        "transport error": ("terminated", "give up"),
    },
    "cancelling": {
        "success": ("accepted", "pass up"),
        "refusal": ("completed", "acknowledge and pass up"),
        "timeout": ("terminated", "give up"),
        "transport error": ("terminated", "give up"),
    },
    # RFC 6026 §7.2: Timer M
    "accepted": {"success": ("accepted", "pass up"), "timeout": ("terminated", "")},
    # Timer D
    "completed": {"refusal": ("completed", "acknowledge"), "timeout": ("terminated", "")},
    "terminated": {},
}

TIMEOUT_TICKS: Final = ticks(64 * T1)
"""Timers B, D and M; and how long a user may take to accept."""
RINGING_TICKS: Final = ticks(2.0)
"""A client of conferences accepts by itself. One that rings is a telephone, and is left in peace."""
GIVEN_UP_TICKS: Final = ticks(T2)
"""How long a response is waited for to an INVITE that is sent no more."""
INTERVALS: Final = tuple(ticks(min(T1 * 2**n, T2)) for n in range(4))
RINGING: Final = 180


class InviteUser(Protocol):
    """Started a transaction. `rejected` or `failed` is called at most once; `accepted` for every 2xx."""

    def accepted(self, response: Response) -> None:
        """A 2xx came, perhaps one more, or one again: it has to be acknowledged."""
        ...

    def rejected(self, response: Response) -> None:
        """A final response from 300 up came, and was acknowledged."""
        ...

    def failed(self, error: Exception) -> None:
        """No final response: `TransactionTimeoutError`, or the error of the transport."""
        ...

    def broke(self, error: Exception) -> None:
        """An error of ours has ended the transaction; it may have occurred in a method of this class."""
        ...

    def acknowledgement(self, response: Response) -> bytes:
        """The ACK of a final response from 300 up."""
        ...

    def cancellation(self) -> bytes:
        """The CANCEL."""
        ...


class InviteTransaction:
    """One INVITE on its way to one hop."""

    __slots__ = (
        "data",
        "deadline",
        "hop",
        "key",
        "layer",
        "rang",
        "resend_at",
        "sends",
        "state",
        "timer",
        "user",
    )

    def __init__(
        self, layer: InviteTransactions, key: bytes, hop: Hop, data: bytes, user: InviteUser
    ) -> None:
        self.layer = layer
        self.key = key
        self.hop = hop
        self.data = data
        self.user = user
        self.state: InviteState = "calling"
        self.sends = 0
        self.rang = False
        self.deadline = 0
        """Turn of the wheel at which the state ends."""
        self.resend_at = 0
        """Turn at which the request is sent again; 0: never."""
        self.timer = 0
        """Turn at which the latest timer fires; earlier and later ones are ignored."""

    def due(self) -> None:
        """A timer fired."""
        self.layer.due(self)

    def transport_error(self, error: Exception) -> None:
        """`imc_edge.flow.TransportUser`; acts later, because it may be called while we send."""
        asyncio.get_running_loop().call_soon(self.layer.step, self, "transport error", None, error)


class InviteTransactions:
    """All of them in this process, by the branch of their Via (RFC 3261 §17.1.3)."""

    def __init__(self, transports: Transports, wheel: TimerWheel) -> None:
        self._send = transports.send
        self._wheel = wheel
        self._known: dict[bytes, InviteTransaction] = {}
        self.otherwise: Callable[[bytes], bool] | None = None
        """Takes a response that belongs to none of these transactions; False if it is not its own either."""

    def __len__(self) -> int:
        return len(self._known)

    def start(self, key: bytes, hop: Hop, data: bytes, user: InviteUser) -> None:
        """Send ``data``, whose top Via has the branch ``z9hG4bK`` + ``key``."""
        transaction = self._known[key] = InviteTransaction(self, key, hop, data, user)
        transaction.deadline = self._wheel.tick + TIMEOUT_TICKS
        try:
            self._transmit(transaction)
        except Exception as fault:  # whatever it is, it must not end more than this transaction
            self._forget(transaction)
            user.broke(fault)

    def give_up(self, key: bytes) -> None:
        """The INVITE is wanted no more: it is cancelled, or sent no more if nobody has responded (§9.1)."""
        transaction = self._known.get(key)
        if transaction is None:
            return
        if transaction.state == "proceeding":
            self.step(transaction, "timeout", None, TransactionTimeoutError("given up"))
        else:
            self.stop_sending(key)

    def stop_sending(self, key: bytes) -> None:
        """The INVITE is sent no more, if nobody has responded. A response that comes soon still counts."""
        transaction = self._known.get(key)
        if transaction is not None and transaction.state == "calling":
            transaction.resend_at = 0
            transaction.deadline = min(transaction.deadline, self._wheel.tick + GIVEN_UP_TICKS)
            self._wait(transaction)

    def receive(self, data: bytes) -> bool:
        """Take a response, if it belongs to one of these transactions, or was taken otherwise."""
        keys = [match[1] for match in islice(branches_in(data, 0, DEFAULT.head), MAX_COOKIES)]
        if not any(key in self._known for key in keys):
            return self.otherwise is not None and self.otherwise(data)
        try:
            response = parse_message(data)
            if not isinstance(response, Response):
                return False
            vias, method = response.vias, response.cseq.method
        except SipError:
            return False
        transaction = self._known.get((vias[0].branch or "")[len("z9hG4bK") :].encode()) if vias else None
        if len(vias) != 1 or transaction is None:
            return False
        if method != "INVITE":
            return method == "CANCEL"  # which has the branch of its INVITE
        if response.status < 200:
            if response.status == RINGING and not transaction.rang:
                transaction.rang = True
                transaction.deadline = min(transaction.deadline, self._wheel.tick + RINGING_TICKS)
            self.step(transaction, "provisional")
        else:
            self.step(transaction, "success" if response.status < 300 else "refusal", response)
        return True

    def due(self, transaction: InviteTransaction) -> None:
        """A timer of this transaction fired. Never raises."""
        now = self._wheel.tick
        if transaction.state == "terminated" or now < transaction.timer:
            return
        if now >= transaction.deadline:
            self.step(transaction, "timeout", None, TransactionTimeoutError("no final response"))
        elif transaction.resend_at and now >= transaction.resend_at:
            try:
                self._transmit(transaction)
            except Exception as fault:  # whatever it is, other timers are due as well
                self._forget(transaction)
                transaction.user.broke(fault)
        else:
            self._wait(transaction)

    def step(
        self,
        transaction: InviteTransaction,
        happened: InviteInput,
        response: Response | None = None,
        error: Exception | None = None,
    ) -> None:
        """Change the state as the table says, and do what goes with it. Never raises."""
        transition = TRANSITIONS[transaction.state].get(happened)
        if transition is None:
            return
        before, (transaction.state, action) = transaction.state, transition
        try:
            if transaction.state != before:
                self._enter(transaction)
            elif transaction.state != "terminated":
                self._wait(transaction)
            self._act(transaction, action, response, error)
        except Exception as fault:  # whatever it is, other responses were read with this one
            self._forget(transaction)
            transaction.user.broke(fault)

    def _enter(self, transaction: InviteTransaction) -> None:
        """A new state has begun: its deadline, and nothing is sent again but an INVITE and a CANCEL."""
        transaction.resend_at = 0
        transaction.sends = 0
        if transaction.state == "terminated":
            self._forget(transaction)
            return
        if transaction.state != "proceeding":
            transaction.deadline = self._wheel.tick + TIMEOUT_TICKS
        self._wait(transaction)

    def _act(
        self,
        transaction: InviteTransaction,
        action: InviteAction,
        response: Response | None,
        error: Exception | None,
    ) -> None:
        user = transaction.user
        if action == "cancel":
            transaction.data = user.cancellation()
            self._transmit(transaction)
        elif action == "give up":
            user.failed(error or ImcError("the transport failed"))
        elif response is None:
            return
        elif action == "pass up":
            user.accepted(response)
        elif action == "acknowledge and pass up":
            transaction.data = user.acknowledgement(response)
            self._send(transaction.hop, transaction.data, transaction)
            user.rejected(response)
        elif action == "acknowledge":
            self._send(transaction.hop, transaction.data, transaction)

    def _transmit(self, transaction: InviteTransaction) -> None:
        """Timer A, and Timer E of the CANCEL: over UDP, send at growing intervals."""
        if transaction.hop.transport == "udp":
            interval = INTERVALS[min(transaction.sends, len(INTERVALS) - 1)]
            transaction.resend_at = self._wheel.tick + interval
        transaction.sends += 1
        self._wait(transaction)
        self._send(transaction.hop, transaction.data, transaction)

    def _wait(self, transaction: InviteTransaction) -> None:
        now = self._wheel.tick
        at = min(transaction.deadline, transaction.resend_at or transaction.deadline)
        if at != transaction.timer or at <= now:
            transaction.timer = max(at, now + 1)
            self._wheel.add(transaction, transaction.timer - now - 1)

    def _forget(self, transaction: InviteTransaction) -> None:
        transaction.state = "terminated"
        if self._known.get(transaction.key) is transaction:
            del self._known[transaction.key]
