"""What a worker hears of a device that has accepted an INVITE."""

from __future__ import annotations

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
from imc_edge.identifiers import DeliveryIds


class Acceptance:
    """A report of a 2xx, and what is to be done when Redis has it. Redis accepts a report once."""

    __slots__ = ("digest", "done", "event", "fields")

    def __init__(
        self,
        event: Event,
        to: str,
        device: str,
        dialog: Dialog,
        *,
        ids: DeliveryIds,
        done: Callable[[], None],
    ) -> None:
        """``to``: who was invited by this event, its recipient or a device of it."""
        fields: list[str | bytes] = ["type", "delivery_report", "from", to, "room", event.room]
        fields += ["event", event.name, "user", event.actor, "status", "200", "of", event.entry_id]
        fields += ["device", device, "dialog", dialog.to_json("confirmed"), "data", event.data.pack()]
        self.event: Final = event
        self.fields: Final = fields
        self.digest: Final = ids.message_id(event.room, f"{dialog.call_id} {dialog.remote_tag}", 0).decode()
        self.done: Final = done


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
