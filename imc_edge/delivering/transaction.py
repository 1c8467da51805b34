"""The non-INVITE client transaction of RFC 3261 §17.1.2.

The table of `transaction_states.py` says how a transaction changes state; this file feeds it what happened
and does what it says. Which request goes where, and what a response means for a delivery, is decided by the
transaction user.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from itertools import islice
from typing import Final, Protocol

import structlog

from imc_common.errors import ImcError
from imc_common.sip.errors import SipError
from imc_common.sip.limits import DEFAULT
from imc_common.sip.message import Response
from imc_common.sip.parse import parse_message
from imc_edge.delivering.counts import DeliveryCounts
from imc_edge.delivering.timer_wheel import AT_ONCE, TimerWheel
from imc_edge.delivering.transaction_states import (
    E_TICKS,
    F_TICKS,
    K_TICKS,
    SENT_ONCE_ENDS_AS,
    TRANSITIONS,
    Input,
    State,
)
from imc_edge.flow import Hop, Transports

log = structlog.get_logger()

COOKIE: Final = b"branch=z9hG4bK"
COOKIE_LENGTH: Final = len(COOKIE)
KEY_LENGTH: Final = 34
"""Length of our branches after the magic cookie: always the same, so it is cut out of a response unparsed."""


branches_in: Final = re.compile(rb"z9hG4bK(?=(.{%d}))" % KEY_LENGTH, re.IGNORECASE | re.DOTALL).finditer
METHODS: Final = frozenset(("MESSAGE", "NOTIFY", "BYE"))
"""What has transactions of this kind."""
MAX_COOKIES: Final = 16
"""Magic cookies in a response that are compared with ours: a header before Via may have one, too."""


class TransactionTimeoutError(ImcError):
    """No final response within 64*T1 (Timer F)."""


class TransactionUser(Protocol):
    """Started a transaction. `accepted`, `rejected`, `failed` or `broke` is called at its end, once."""

    def is_wanted(self) -> bool:
        """Whether the request may still be sent again; asked before every retransmission."""
        ...

    def t1_passed(self) -> None:
        """There is no final response yet after T1."""

    def accepted(self) -> None:
        """A 2xx came."""

    def rejected(self, response: Response) -> None:
        """A final response from 300 up came."""

    def failed(self, error: Exception) -> None:
        """No response: `TransactionTimeoutError`, or the error of the transport."""

    def broke(self, error: Exception) -> None:
        """An error of ours has ended the transaction; it may have occurred in a method above."""


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
            try:
                self.layer.retry(self)
            except Exception as error:  # whatever it is, other timers are due as well
                self.layer.broke(self, error)

    def transport_error(self, error: Exception) -> None:
        """`imc_edge.flow.TransportUser`; acts later, because it may be called while we send."""
        asyncio.get_running_loop().call_soon(self.layer.step, self, "transport error", error)


class ClientTransactions:
    """All client transactions of the process, found by the branch of their Via (RFC 3261 §17.1.3).

    Nearly all get a final response before their first timer fires, and never get onto the wheel. They are in
    a dictionary of their own, in the order in which they started, so that those due stand in front. A
    transaction that ends leaves nothing behind.
    """

    def __init__(self, transports: Transports, wheel: TimerWheel, counts: DeliveryCounts) -> None:
        self.wheel = wheel
        self._send = transports.send
        self._counts = counts
        self._untimed: dict[bytes, Transaction] = {}
        """Until their first timer: *trying* or *proceeding*, and sent once."""
        self._timed: dict[bytes, Transaction] = {}
        """The others; each is on the wheel."""
        self.otherwise: Callable[[bytes], bool] | None = None
        """Takes a response that belongs to none of these transactions; False if it is not its own either."""
        self._more_untimed = False
        """Whether T1 has passed for more of `_untimed` than were handled in one go."""

    def __len__(self) -> int:
        return len(self._untimed) + len(self._timed)

    def start(self, key: bytes, hop: Hop, data: bytes, user: TransactionUser) -> None:
        """Send ``data``, whose top Via has the branch ``z9hG4bK`` + ``key``, and see it to its end."""
        # kept only where it may have to be sent again; on other transports it would only fill caches
        again = data if hop.transport == "udp" else b""
        transaction = Transaction(self, key, hop, again, user)
        if self._untimed.setdefault(key, transaction) is not transaction:
            # a lost shard came back, and its events are sent again: responses belong to the later request
            self.wheel.add(self._untimed.pop(key), E_TICKS[0])
            self._untimed[key] = transaction
        try:
            self._send(hop, data, transaction)
        except Exception as error:  # whatever it is, it must not end more than this transaction
            self.broke(transaction, error)

    def advance(self) -> bool:
        """Turn the wheel, and put on it what has waited for its first timer since T1.

        Little is done in one go; True if more is due, see `TimerWheel.advance`.
        """
        before = self.wheel.tick
        more = self.wheel.advance()
        if self.wheel.tick == before and not self._more_untimed:
            return more
        self._more_untimed = False
        due: list[Transaction] = []
        for transaction in self._untimed.values():
            if self.wheel.tick <= transaction.started + E_TICKS[0]:
                break
            if len(due) == AT_ONCE:
                self._more_untimed = True
                break
            due.append(transaction)
        for transaction in due:
            del self._untimed[transaction.key]
            self._timed[transaction.key] = transaction
        for transaction in due:
            transaction.due()
        return more or self._more_untimed

    def receive(self, data: bytes) -> None:
        """A response came in: match it by its branch, as RFC 3261 §17.1.3 says, or drop it.

        A 2xx is matched without being parsed: our branches carry 128 bits that only we and the recipient's
        side know, and nothing else in a 2xx to a request other than INVITE matters to us.
        """
        if data.startswith(b"SIP/2.0 2"):
            start = data.find(COOKIE) + COOKIE_LENGTH
            key = data[start : start + KEY_LENGTH]
            # RFC 3261 §8.1.3.3: a response with a second Via was not for us; the parser finds out
            if data.find(b"branch=", start) < 0:
                transaction = self._untimed.pop(key, None)
                if transaction is not None:
                    transaction.state = SENT_ONCE_ENDS_AS
                    try:
                        transaction.user.accepted()
                    except Exception as error:  # whatever it is, other responses were read with this one
                        self.broke(transaction, error)
                    return
                transaction = self._timed.get(key)
                if transaction is not None:
                    self._finish(transaction, None)
                    return
        self._receive_parsed(data)

    def _receive_parsed(self, data: bytes) -> None:
        """Everything that is not a plain 2xx. A response that matches nothing is dropped unparsed."""
        if not any(self._has(match[1]) for match in islice(branches_in(data, 0, DEFAULT.head), MAX_COOKIES)):
            if self.otherwise is None or not self.otherwise(data):
                self._counts.stray.value += 1
            return
        try:
            response = parse_message(data)
            transaction = self._match(response) if isinstance(response, Response) else None
        except SipError:
            transaction = None
        except Exception:  # whatever it is, other responses were read with this one
            log.exception("response not understood")
            transaction = None
        if transaction is None or not isinstance(response, Response):
            self._counts.stray.value += 1
        elif response.status < 200:
            self.step(transaction, "provisional")
        else:
            self._finish(transaction, response if response.status >= 300 else None)

    def _has(self, key: bytes) -> bool:
        return key in self._untimed or key in self._timed

    def _match(self, response: Response) -> Transaction | None:
        """The same branch (RFC 3261 §17.1.3), and no second Via (RFC 3261 §8.1.3.3).

        Each of our requests has a branch of its own, so the method only has to be one of ours.
        """
        vias = response.vias
        if len(vias) != 1 or response.cseq.method not in METHODS:
            return None
        branch = vias[0].branch or ""
        key = branch[len("z9hG4bK") :].encode()
        return self._untimed.get(key) or self._timed.get(key)

    def _finish(self, transaction: Transaction, rejection: Response | None) -> None:
        """A final response came; ``rejection`` if it is not a 2xx."""
        sent_once = transaction.sends == 1
        self.step(transaction, "final to a request sent once" if sent_once else "final", response=rejection)

    def abandon(self, key: bytes) -> bool:
        """End this transaction without a word to its user; False if there is none that is open."""
        transaction = self._untimed.get(key) or self._timed.get(key)
        if transaction is None or transaction.state == "completed":
            return False
        self.step(transaction, "abandoned")
        return True

    def retry(self, transaction: Transaction) -> None:
        """Timer E: send again where the transport may lose (RFC 3261 §17.1.2.2); either way wait on."""
        if not transaction.user.is_wanted():
            self.step(transaction, "cancelled", TransactionTimeoutError("the request is no longer wanted"))
            return
        if transaction.sends == 1:
            transaction.user.t1_passed()
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
        """Change the state as the table says and do what goes with it. Never raises."""
        try:
            self._step(transaction, happened, error, response)
        except Exception as fault:  # whatever it is, it must not end more than this transaction
            self.broke(transaction, fault)

    def broke(self, transaction: Transaction, error: Exception) -> None:
        """An error of ours ends the transaction."""
        transaction.state = "terminated"
        transaction.data = b""
        self._forget(transaction)
        transaction.user.broke(error)

    def _step(
        self,
        transaction: Transaction,
        happened: Input,
        error: Exception | None,
        response: Response | None,
    ) -> None:
        transition = TRANSITIONS[transaction.state].get(happened)
        if transition is None:
            return
        transaction.state, action = transition
        # first leave nothing behind, then call the user, who may start the next transaction
        if transaction.state == "terminated":
            transaction.data = b""
            self._forget(transaction)
        elif action == "pass up":
            transaction.data = b""
            self.wheel.add(transaction, K_TICKS)
        if action == "pass up":
            if response is None:
                transaction.user.accepted()
            else:
                transaction.user.rejected(response)
        elif action == "give up":
            transaction.user.failed(error or ImcError("the transport failed"))
        elif action == "retransmit":
            transaction.sends += 1
            self._counts.retransmitted.value += 1
            self._send(transaction.hop, transaction.data, transaction)

    def _forget(self, transaction: Transaction) -> None:
        """Free its branch, unless a later transaction has it: a shard that was lost and came back has its
        events sent again, and the first transaction may still be in Timer K."""
        for known in (self._untimed, self._timed):
            if known.get(transaction.key) is transaction:
                del known[transaction.key]
