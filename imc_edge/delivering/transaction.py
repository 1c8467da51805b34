"""The non-INVITE client transaction of RFC 3261 §17.1.2.

The table ``TRANSITIONS`` is the only place that says how a transaction changes state; the rest of this file
feeds it what happened and does what it says. Nothing else may live here: which request goes where, and
what an answer means for a delivery, is the transaction user's business.

Timers are those of §17.1.2.2: E (retransmission, unreliable transports only) starts at T1 and doubles up to
T2, in *proceeding* it is T2; F ends the transaction after 64*T1; K keeps a completed one for T4, so that
repeated responses are absorbed.
"""

from __future__ import annotations

import asyncio
from typing import Final, Literal, Protocol

from imc_common.errors import ImcError
from imc_common.sip.errors import SipError
from imc_common.sip.message import Response
from imc_common.sip.parse import parse_message
from imc_edge.delivering.counts import DeliveryCounts
from imc_edge.delivering.timer_wheel import TimerWheel, ticks
from imc_edge.flow import Hop, Transports

T1: Final = 0.5
T2: Final = 4.0
T4: Final = 5.0

State = Literal["trying", "proceeding", "completed", "terminated"]
Input = Literal["provisional", "final", "timer E", "timer F", "timer K", "transport error"]
Action = Literal["", "retransmit", "pass up", "give up"]

TRANSITIONS: Final[dict[State, dict[Input, tuple[State, Action]]]] = {
    "trying": {
        "provisional": ("proceeding", ""),
        "final": ("completed", "pass up"),
        "timer E": ("trying", "retransmit"),
        "timer F": ("terminated", "give up"),
        "transport error": ("terminated", "give up"),
    },
    "proceeding": {
        "provisional": ("proceeding", ""),
        "final": ("completed", "pass up"),
        "timer E": ("proceeding", "retransmit"),
        "timer F": ("terminated", "give up"),
        "transport error": ("terminated", "give up"),
    },
    # "Once the client transaction enters the "Completed" state, it MUST set Timer K"; what comes again
    # while it runs is absorbed.
    "completed": {
        "provisional": ("completed", ""),
        "final": ("completed", ""),
        "transport error": ("completed", ""),
        "timer K": ("terminated", ""),
    },
    "terminated": {},
}

E_TICKS: Final = tuple(ticks(min(T1 * 2**n, T2)) for n in range(4))
"""Timer E before the first, second, … retransmission; the last one goes for all further."""
F_TICKS: Final = ticks(64 * T1)
K_TICKS: Final = ticks(T4)

COOKIE: Final = b"branch=z9hG4bK"
COOKIE_LENGTH: Final = len(COOKIE)
KEY_LENGTH: Final = 34
"""Length of our branches after the magic cookie: always the same, so a response's is cut out blindly."""


class TransactionTimeoutError(ImcError):
    """No final response within 64*T1 (Timer F)."""


class TransactionUser(Protocol):
    """Who started a transaction; exactly one of the last three is called, once."""

    def wanted(self) -> bool:
        """Whether the request may still be sent again; asked at every retransmission."""
        ...

    def unanswered_yet(self) -> None:
        """T1 has passed without a final response."""

    def accepted(self) -> None:
        """A 2xx came."""

    def rejected(self, response: Response) -> None:
        """A final response from 300 up came."""

    def failed(self, error: Exception) -> None:
        """`TransactionTimeoutError`, or what the transport said."""


class Transaction:
    """One request on its way to one hop."""

    __slots__ = ("data", "hop", "key", "layer", "sends", "started", "state", "user")

    def __init__(
        self, layer: ClientTransactions, key: bytes, hop: Hop, data: bytes, user: TransactionUser
    ) -> None:
        self.layer = layer
        self.key = key
        self.hop = hop
        self.data = data
        self.user = user
        self.started = layer.wheel.tick
        self.sends = 1
        self.state: State = "trying"

    def due(self) -> None:
        """A timer fired: which one follows from the state and the deadline."""
        if self.state == "terminated":
            return
        if self.state == "completed":
            self.layer.step(self, "timer K")
        elif self.layer.wheel.tick >= self.started + F_TICKS:
            self.layer.step(self, "timer F", TransactionTimeoutError("no final response within 64*T1"))
        else:
            self.layer.retry(self)

    def transport_error(self, error: Exception) -> None:
        """`imc_edge.flow.Sender`; acts later, for it may be called while we send."""
        asyncio.get_running_loop().call_soon(self.layer.step, self, "transport error", error)


class ClientTransactions:
    """All client transactions of the process, found by the branch of their Via (§17.1.3).

    Nearly all are answered before their first timer fires, and never get onto the wheel: those are in a
    dictionary of their own, which is in the order in which they were started, so that those which are due
    stand in front. What is answered leaves nothing behind.
    """

    def __init__(self, transports: Transports, wheel: TimerWheel, counts: DeliveryCounts) -> None:
        self.wheel = wheel
        self._send = transports.send
        self._counts = counts
        self._young: dict[bytes, Transaction] = {}
        """Until their first timer."""
        self._old: dict[bytes, Transaction] = {}
        """The others; each is on the wheel."""

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def start(self, key: bytes, hop: Hop, data: bytes, user: TransactionUser) -> None:
        """Send ``data``, whose top Via has the branch ``z9hG4bK`` + ``key``, and see it to its end."""
        # nothing is sent again where the transport sees to that; kept, it would only fill caches
        again = data if hop.transport == "udp" else b""
        transaction = Transaction(self, key, hop, again, user)
        if self._young.setdefault(key, transaction) is not transaction:
            # a shard that was lost came back: answers are the later one's now
            self.wheel.add(self._young.pop(key), E_TICKS[0])
            self._young[key] = transaction
        self._send(hop, data, transaction)

    def advance(self) -> None:
        """Turn the wheel; what waits for its first timer since T1 gets there, too."""
        before = self.wheel.tick
        self.wheel.advance()
        if self.wheel.tick == before:
            return
        due = []
        for transaction in self._young.values():
            if self.wheel.tick <= transaction.started + E_TICKS[0]:
                break
            due.append(transaction)
        for transaction in due:
            del self._young[transaction.key]
            self._old[transaction.key] = transaction
        for transaction in due:
            transaction.due()

    def receive(self, data: bytes) -> None:
        """A response came in: match it by its branch, as §17.1.3 says, or drop it.

        A 2xx is matched without being parsed: our branches carry 128 bits that only we and the recipient's
        side know, all of our requests are MESSAGE, and nothing else in a 2xx matters to us.
        """
        if data.startswith(b"SIP/2.0 2"):
            start = data.find(COOKIE) + COOKIE_LENGTH
            key = data[start : start + KEY_LENGTH]
            # a second Via means it was not for us (§8.1.3.3): left to the parser
            if data.find(b"branch=", start) < 0:
                young = self._young.pop(key, None)
                if young is not None:
                    # the usual case: what `step` comes to, and `_complete` for a request that was sent once
                    young.state = "terminated"
                    young.user.accepted()
                    return
                old = self._old.get(key)
                if old is not None:
                    self.step(old, "final")
                    return
        self._receive_parsed(data)

    def _receive_parsed(self, data: bytes) -> None:
        """The thorough way, for all that is not a plain 2xx."""
        try:
            response = parse_message(data)
            transaction = self._match(response) if isinstance(response, Response) else None
        except SipError:
            transaction = None
        if transaction is None or not isinstance(response, Response):
            self._counts.stray.value += 1
        elif response.status < 200:
            self.step(transaction, "provisional")
        else:
            self.step(transaction, "final", response=response if response.status >= 300 else None)

    def _match(self, response: Response) -> Transaction | None:
        """§17.1.3: the same branch in the top Via, and the same method in CSeq; §8.1.3.3: one Via only."""
        vias = response.vias
        if len(vias) != 1 or response.cseq.method != "MESSAGE":
            return None
        branch = vias[0].branch or ""
        key = branch[len("z9hG4bK") :].encode()
        return self._young.get(key) or self._old.get(key)

    def retry(self, transaction: Transaction) -> None:
        """Timer E: send again where the transport may lose (§17.1.2.2); either way wait on."""
        if not transaction.user.wanted():
            self.step(transaction, "timer F", TransactionTimeoutError("nobody waits for it any more"))
            return
        if transaction.sends == 1:
            transaction.user.unanswered_yet()
        if transaction.hop.transport == "udp":
            self.step(transaction, "timer E")
            wait = (
                E_TICKS[-1] if transaction.state == "proceeding" else E_TICKS[min(transaction.sends - 1, 3)]
            )
        else:
            wait = F_TICKS
        # counted from a turn of the wheel, so without the part of a tick that `add` puts on top
        left = transaction.started + F_TICKS - self.wheel.tick
        self.wheel.add(transaction, max(1, min(wait, left)) - 1)

    def step(
        self,
        transaction: Transaction,
        happened: Input,
        error: Exception | None = None,
        response: Response | None = None,
    ) -> None:
        """Change the state as the table says and do what goes with it."""
        transition = TRANSITIONS[transaction.state].get(happened)
        if transition is None:
            return
        transaction.state, action = transition
        if action == "pass up":
            self._complete(transaction)
            if response is None:
                transaction.user.accepted()
            else:
                transaction.user.rejected(response)
        elif action == "retransmit":
            transaction.sends += 1
            self._counts.retransmitted.value += 1
            self._send(transaction.hop, transaction.data, transaction)
        elif transaction.state == "terminated":
            self._forget(transaction)
            if action == "give up":
                transaction.user.failed(error or ImcError("the transport failed"))

    def _forget(self, transaction: Transaction) -> None:
        """Free its branch, unless a later one has it: a shard that was lost and came back has its events
        sent again, and the first transaction may still be in Timer K."""
        for known in (self._young, self._old):
            if known.get(transaction.key) is transaction:
                del known[transaction.key]

    def _complete(self, transaction: Transaction) -> None:
        """Set Timer K, or end at once where its time would be spent for nothing.

        §17.1.2.2 gives reliable transports a Timer K of zero. The same is done for a request that was sent
        once and answered: nobody was asked to answer again, so there is nothing to absorb, and should the
        network double the answer, it is dropped as a stray one, which comes to the same.
        """
        transaction.data = b""
        if transaction.sends == 1:
            transaction.state = "terminated"
            self._forget(transaction)
        else:
            self.wheel.add(transaction, K_TICKS)
