"""What a worker hears of a device that has accepted an INVITE."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, NamedTuple

from imc_common.address import AddressError
from imc_common.devices import device_address
from imc_common.rooms.event import Event
from imc_common.sip.message import Response
from imc_common.sip.params import find
from imc_common.sip.uri import Uri
from imc_edge.conference.dialog import Dialog, contact_of
from imc_edge.conference.sender_device import is_contact_of
from imc_edge.delivering.transaction_states import T1
from imc_edge.identifiers import DeliveryIds

VALID_SECONDS: Final = 64 * T1
"""How long a device repeats its 2xx without an ACK. Then its session ends (RFC 3261 §13.3.1.4)."""


class SessionReport:
    """What a worker hears of the session of a device, and what is to be done when Redis has it.

    Redis accepts a report once, by its digest.
    """

    __slots__ = ("came_at", "digest", "done", "event", "fields", "is_abandoned", "too_late")

    def __init__(
        self,
        event: Event,
        fields: list[str | bytes],
        digest: str,
        *,
        came_at: float,
        done: Callable[[], None],
        too_late: Callable[[], None],
        is_abandoned: Callable[[], bool],
    ) -> None:
        """``came_at``: by the clock.

        ``too_late`` is called instead of ``done`` if Redis was unreachable for longer than `VALID_SECONDS`.
        ``is_abandoned`` says whether the shard was lost; then neither is called.
        """
        self.event: Final = event
        self.fields: Final = fields
        self.digest: Final = digest
        self.came_at: Final = came_at
        self.done: Final = done
        self.too_late: Final = too_late
        self.is_abandoned: Final = is_abandoned

    def fields_at(self, now: float) -> list[str | bytes]:
        """The fields of the request, with how long ago the device has responded, in ms."""
        return [*self.fields, "detail", str(round(max(0.0, now - self.came_at) * 1000))]


def acceptance(
    event: Event,
    to: str,
    device: str,
    dialog: Dialog,
    *,
    ids: DeliveryIds,
    came_at: float,
    done: Callable[[], None],
    too_late: Callable[[], None],
    is_abandoned: Callable[[], bool] = lambda: False,
) -> SessionReport:
    """A device has accepted an INVITE. ``to``: the recipient of the event, or a device of it.

    The device gets its ACK when this is done. If the edge dies before, the device ends its session by itself,
    and does not stay in a session of which nobody knows.
    """
    fields: list[str | bytes] = ["type", "delivery_report", "from", to, "room", event.room]
    fields += ["event", event.name, "user", event.actor, "status", "200", "of", event.entry_id]
    fields += ["device", device, "dialog", dialog.to_json("accepted"), "data", event.data.pack()]
    digest = ids.message_id(event.room, f"{dialog.call_id} {dialog.remote_tag}", 0).decode()
    return SessionReport(
        event, fields, digest, came_at=came_at, done=done, too_late=too_late, is_abandoned=is_abandoned
    )


def confirmation(event: Event, user: str, dialog: Dialog, *, ids: DeliveryIds) -> SessionReport:
    """The device has its ACK: from now on, a BYE in this session says that the user leaves.

    Before that, it may say that no ACK has come for 32 s (RFC 3261 §13.3.1.4). It is never too late for this.
    """
    fields: list[str | bytes] = ["type", "confirm_dialog", "from", user, "room", event.room]
    fields += ["dialog", dialog.to_json(), "data", event.data.pack()]
    digest = ids.message_id(event.room, f"{dialog.call_id} {dialog.remote_tag}", 1).decode()
    return SessionReport(
        event,
        fields,
        digest,
        came_at=math.inf,
        done=_nothing,
        too_late=_nothing,
        is_abandoned=lambda: False,
    )


def _nothing() -> None:
    """Nobody waits for it."""


class Accepted(NamedTuple):
    """What a 2xx says: the dialog, and the device, which is empty for a client that is no group chat."""

    dialog: Dialog
    device: str
    number: int
    """CSeq of the INVITE."""


def accepted_by(response: Response, user: str) -> Accepted:
    """Read a 2xx to an INVITE to this user, or to a device of this user. Raises SipError.

    The INVITE has no offer, so a telephone that answers by itself makes one in its 2xx (RFC 3264). A client
    without GRUU cannot be told from the user's other ones.
    """
    contact = contact_of(response).uri
    dialog = Dialog.of_response(response, contact)
    device = "" if response.body else device_of(contact, user)
    return Accepted(dialog, device, response.cseq.number)


def device_of(uri: Uri, user: str) -> str:
    """The device that a GRUU names; empty if it is none of this user."""
    gr = find(uri.params, "gr")
    if not gr or not is_contact_of(uri, user):
        return ""
    try:
        return device_address(user, gr)
    except AddressError:
        return ""
