"""NOTIFY, BYE, INVITE and ACK in the dialogs of a room, as bytes (RFC 3261 §12.2.1.1, RFC 6665, RFC 4579).

They have the transactions, targets and credentials of deliveries, but neither a queue's text nor its ids: an
event brings the dialog that names them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from imc_common.bodies.essence import RESOURCE_LISTS
from imc_common.bodies.resource_lists import resource_list
from imc_common.devices import request_uri, to_uri
from imc_common.rooms.event import BYE, NOTIFY, Event
from imc_edge.conference.dialog import Dialog
from imc_edge.conference.notification import notification_of
from imc_edge.delivering.outbound import UnsendableError, header_line
from imc_edge.identifiers import DeliveryIds

ALLOW: Final = "INVITE, ACK, BYE, CANCEL, OPTIONS, MESSAGE, SUBSCRIBE, REFER"
MAX_FORWARDS: Final = 70


class DialogRequest(NamedTuple):
    """A request without Via and credentials.

    `next_uri` leads to its next hop. `start` is everything from the end of Via to Call-ID, `tail` everything
    after CSeq.
    """

    method: str
    uri: str
    next_uri: str
    cseq: int
    start: bytes
    tail: bytes

    def to_bytes(
        self, via: str, branch: bytes, headers: Iterable[tuple[str, str]], attempts: int = 0
    ) -> bytes:
        """The request towards a hop.

        ``via`` is protocol and sent-by, ``branch`` comes after the magic cookie. ``attempts`` with other
        credentials count its CSeq up (RFC 3261 §22.2).
        """
        head = f"{self.method} {self.uri} SIP/2.0\r\nVia: {via};branch=z9hG4bK".encode()
        lines = f"CSeq: {self.cseq + attempts} {self.method}\r\n"
        lines += "".join([f"{name}: {value}\r\n" for name, value in headers])
        return b"".join((head, branch, b";rport\r\n", self.start, lines.encode(), self.tail))


def request_in_dialog(
    event: Event,
    extra_headers: tuple[tuple[str, str], ...],
    *,
    next_number: Callable[[str, int], int],
) -> DialogRequest:
    """The NOTIFY or BYE of an event.

    ``next_number`` gives the CSeq for a Call-ID, and by how much it is lifted.

    Raises `EntryError` or `UnsendableError` if the event cannot be read.
    """
    dialog = Dialog.parse(event.dialog)
    headers = list(extra_headers)
    body = b""
    if event.name == NOTIFY:
        notification = notification_of(event, dialog)
        headers += notification.headers
        body = notification.body
    elif event.name != BYE:
        raise UnsendableError(f"no request in a dialog for the event {event.name!r}")
    return in_dialog(dialog, event.name.upper(), next_number(dialog.call_id, dialog.lift), headers, body)


def in_dialog(
    dialog: Dialog, method: str, cseq: int, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
) -> DialogRequest:
    """A request in a dialog. Its route set is taken as one of loose routers, as all are since RFC 3261."""
    identity = [
        *(("Route", route) for route in dialog.routes),
        ("Max-Forwards", str(MAX_FORWARDS)),
        ("From", f"<{dialog.local_uri}>;tag={dialog.local_tag}"),
        ("To", f"<{dialog.remote_uri}>;tag={dialog.remote_tag}"),
        ("Call-ID", dialog.call_id),
    ]
    return DialogRequest(
        method=method,
        uri=dialog.target,
        next_uri=dialog.next_uri,
        cseq=cseq,
        start=_lines(identity),
        tail=_tail(headers, body),
    )


def invite_of(
    event: Event, delivery_ids: DeliveryIds, extra_headers: tuple[tuple[str, str], ...]
) -> DialogRequest:
    """The INVITE of a room to a user or a device (RFC 4579 §5.6). Raises `UnsendableError`.

    The client gets the other members with it, and files the room under its To (`imc_common.devices`). Call-ID
    and tag follow from the event, so an INVITE that is sent again after a takeover is the same.
    """
    (to,) = event.to
    recipient_id = delivery_ids.recipient_id(to)
    ids = (recipient_id + delivery_ids.message_id(event.room, event.entry_id, 0)).decode()
    identity = [
        ("Max-Forwards", str(MAX_FORWARDS)),
        ("From", f"<sip:{event.room}>;tag={ids}"),
        ("To", f"<{to_uri(to)}>"),
        ("Call-ID", ids),
    ]
    headers = [("Contact", f"<sip:{event.room}>;isfocus;text"), ("Allow", ALLOW), *extra_headers]
    headers += event.data.headers
    if event.text:
        headers.append(("Subject", event.text))
    body = b""
    members = event.list.split()
    if members:
        body = resource_list([f"sip:{each}" for each in members])
        # RFC 5366 does not ask for it. It makes a telephone refuse the INVITE (420), or it would ring.
        headers.append(("Require", "recipient-list-invite"))
        headers.append(("Content-Type", RESOURCE_LISTS))
        headers.append(("Content-Disposition", "recipient-list-history"))
    uri = request_uri(to)
    return DialogRequest("INVITE", uri, uri, 1, _lines(identity), _tail(headers, body))


def refusal_acknowledged(invite: DialogRequest, to: str) -> DialogRequest:
    """The ACK of a final response from 300 up (RFC 3261 §17.1.1.3). ``to``: the To of that response."""
    lines = [line for line in invite.start.split(b"\r\n")[:-1] if line[:4] != b"To: "]
    start = b"".join([line + b"\r\n" for line in lines]) + header_line("To", to).encode()
    return invite._replace(method="ACK", start=start, tail=_tail((), b""))


def cancelled(invite: DialogRequest) -> DialogRequest:
    """The CANCEL of an INVITE (RFC 3261 §9.1)."""
    return invite._replace(method="CANCEL", tail=_tail((), b""))


def _tail(headers: Iterable[tuple[str, str]], body: bytes) -> bytes:
    return _lines([*headers, ("Content-Length", str(len(body)))]) + b"\r\n" + body


def _lines(headers: Iterable[tuple[str, str]]) -> bytes:
    return "".join([header_line(name, value) for name, value in headers]).encode()
