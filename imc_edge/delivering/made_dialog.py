"""A dialog that a 2xx to an INVITE of ours has made (RFC 3261 §13.2.2.4): its ACK, and perhaps its BYE."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from imc_common.sip.message import Response
from imc_edge.conference.dialog import Dialog
from imc_edge.delivering.dialog_request import DialogRequest, in_dialog
from imc_edge.delivering.outcome import ERROR, NO_TARGET, TIMEOUT, TRANSPORT
from imc_edge.delivering.transaction import TransactionTimeoutError
from imc_edge.delivering.transaction_states import T1, T2
from imc_edge.flow import Hop
from imc_edge.routing.targets import Targets

if TYPE_CHECKING:  # whose dialogs these are
    from imc_edge.delivering.invitations import Invitations


class MadeDialog:
    """One of them. An INVITE to a user may have been forked, so it can make several."""

    __slots__ = (
        "_ack",
        "_invitations",
        "_is_asked",
        "_is_ended",
        "_number",
        "_on_end",
        "_room",
        "_to",
        "acknowledged_at",
        "bye_outcome",
        "came_at",
        "dialog",
        "has_ended",
    )

    def __init__(  # what its requests are made of
        self, invitations: Invitations, room: str, to: str, dialog: Dialog, number: int
    ) -> None:
        """``to``: who was invited. ``number``: CSeq of the INVITE, which its ACK has, too."""
        self._invitations = invitations
        self._room = room
        self._to = to
        self._number = number
        self._ack: tuple[Hop, bytes] | None = None
        self._is_asked = False
        """Whether the way of the ACK was looked for."""
        self._is_ended = False
        self._on_end: Callable[[], None] | None = None
        self.came_at = invitations.context.clock()
        self.acknowledged_at = 0.0
        """When its last ACK was asked for, by the clock: the device repeats its 2xx until one arrives."""
        self.dialog = dialog
        self.has_ended = False
        """Whether there is nothing to wait for after `end`."""
        self.bye_outcome = ""
        """Of its BYE, once it has ended: the status of the response, or why there is none."""

    @property
    def is_acknowledged(self) -> bool:
        """Whether its ACK was sent."""
        return self._ack is not None

    @property
    def next_copy_after(self) -> float:
        """Seconds from the last ACK to the next copy of the 2xx, if it was lost (RFC 3261 §13.3.1.4)."""
        return min(T1 + self.acknowledged_at - self.came_at, T2)

    def acknowledge(self) -> None:
        """Send the ACK: once for each copy of the 2xx."""
        self.acknowledged_at = self._invitations.context.clock()
        if self._ack is not None:
            self._invitations.transports.send(*self._ack, _Ignored())
        elif not self._is_asked:
            self._is_asked = True
            self._reach(self._acknowledge)

    def end(self, on_end: Callable[[], None] | None = None) -> None:
        """Send a BYE, unless that was done. ``on_end`` is called when it has a response or failed."""
        self._on_end = on_end or self._on_end
        if not self._is_ended:
            self._is_ended = True
            if not self._is_asked:
                self.acknowledge()  # a session is confirmed before it ends (RFC 3261 §15)
            self._reach(self._end)

    @property
    def is_ending(self) -> bool:
        """Whether a BYE was asked for, and has no response yet."""
        return self._is_ended and not self.has_ended

    def ended(self, outcome: str) -> None:
        """The BYE has its response, or none will come."""
        self.bye_outcome = outcome
        self.has_ended = True
        if self._on_end is not None:
            self._on_end()

    def _reach(self, send: Callable[[Targets | None], None]) -> None:
        """Find where requests of the dialog go."""
        next_hops, uri = self._invitations.next_hops, self.dialog.next_uri
        targets = next_hops.known(uri)
        if targets is None:
            next_hops.find(uri, send)
        else:
            send(targets)

    def _acknowledge(self, targets: Targets | None) -> None:
        hops = targets.draw(self._invitations.random) if targets is not None else []
        if not hops:
            self._is_asked = False  # the next copy of the 2xx asks again
            return
        ack = in_dialog(self.dialog, "ACK", self._number)
        # RFC 3261 §8.1.1.7: the ACK of a 2xx is a transaction of its own
        self._ack = hops[0], self._bytes(ack, hops[0], self._key(f"ack {self.dialog.remote_tag}", 0))
        self.acknowledge()

    def _end(self, targets: Targets | None) -> None:
        hops = targets.draw(self._invitations.random) if targets is not None else []
        if not hops:
            self.ended(NO_TARGET)
            return
        bye = in_dialog(self.dialog, "BYE", self._number + 1)
        key = self._key(bye.start.hex(), 1)
        data = self._bytes(bye, hops[0], key)
        self._invitations.context.transactions.start(key, hops[0], data, _Bye(self))

    def _key(self, what: str, number: int) -> bytes:
        ids = self._invitations.delivery_ids
        return ids.recipient_id(self._to) + ids.message_id(self._room, what, number) + b"00"

    def _bytes(self, request: DialogRequest, hop: Hop, key: bytes) -> bytes:
        return request.to_bytes(self._invitations.transports.via(hop), key, ())


class _Ignored:
    """Nobody waits for what becomes of an ACK."""

    def transport_error(self, error: Exception) -> None: ...


class _Bye:
    """Whatever the outcome of a BYE, that is the end (RFC 3261 §15.1.1)."""

    __slots__ = ("_made",)

    def __init__(self, made: MadeDialog) -> None:
        self._made = made

    def is_wanted(self) -> bool:
        return True

    def t1_passed(self) -> None: ...

    def accepted(self) -> None:
        self._made.ended("200")

    def rejected(self, response: Response) -> None:
        self._made.ended(str(response.status))

    def failed(self, error: Exception) -> None:
        self._made.ended(TIMEOUT if isinstance(error, TransactionTimeoutError) else TRANSPORT)

    def broke(self, error: Exception) -> None:
        self._made.ended(ERROR)
