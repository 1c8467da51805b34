"""Requests of a Linphone client, as liblinphone 5.1 sends them."""

from __future__ import annotations

from collections.abc import Sequence

from imc_common.sip import Request, parse_message
from imc_edge.conference.dialog_ids import DialogIds
from imc_edge.identifiers import DeliveryIds
from tests.imc_edge.doubles import SECRET, message

GRUU = "sip:alice@example.org;gr=urn:uuid:fe1a357b"
DEVICE = "alice@example.org;gr=urn:uuid:fe1a357b"
FACTORY = "sip:conference-factory@example.org"
ROOM = "chat-000@example.org"
ROUTES = ["Record-Route: <sip:192.0.2.1;lr>", "Record-Route: <sip:192.0.2.9;lr;ftag=1>"]
LISTS = "application/resource-lists+xml"


def resource_list(*uris: str) -> bytes:
    """A list of users or rooms."""
    entries = "".join(f'<p1:entry uri="{uri}"/>' for uri in uris)
    namespace = 'xmlns:p1="urn:ietf:params:xml:ns:resource-lists"'
    return f"<p1:resource-lists {namespace}><p1:list>{entries}</p1:list></p1:resource-lists>".encode()


def request(
    method: str,
    uri: str = f"sip:{ROOM}",
    body: bytes = b"",
    *,
    lines: Sequence[str] = (),
    without: Sequence[str] = (),
    **headers: str,
) -> bytes:
    """One request of Alice's device. A To tag ``OURS`` stands for the one that edges gave in this dialog."""
    usual = {"From": f"<{GRUU}>;tag=1928", "To": f"<{uri}>", "Contact": f"<{GRUU}>;text"}
    data = message(body, method=method, uri=uri, lines=lines, without=without, **(usual | headers))
    if b";tag=OURS" in data:
        parsed = parse_message(data)
        assert isinstance(parsed, Request)
        data = data.replace(b"OURS", DialogIds(SECRET).tag(parsed).encode())
    return data


def in_dialog_of_room(method: str, by: str = DEVICE, **headers: str) -> bytes:
    """A request of a user or device in the dialog that the room's INVITE to it has begun."""
    ids = DeliveryIds(SECRET)
    name = (ids.recipient_id(by) + ids.message_id(ROOM, "1-0", 0)).decode()
    usual = {"From": f"<sip:{by}>;tag=theirs", "To": f"<sip:{ROOM}>;tag={name}", "Call_ID": name}
    return request(method, **(usual | headers))


def invite(*users: str, uri: str = FACTORY, **headers: str) -> bytes:
    """An INVITE to the factory with a list of these users."""
    usual = {"Require": "recipient-list-invite", "Subject": "Weekly meeting", "Content_Type": LISTS}
    usual |= {"From": "<sip:alice@example.org>;tag=1928"}
    return request("INVITE", uri, resource_list(*users), lines=ROUTES, **(usual | headers))


def subscribe(uri: str = f"sip:{ROOM}", body: bytes = b"", **headers: str) -> bytes:
    """A SUBSCRIBE to the roster of a room, or of a list of rooms."""
    usual = {"Event": "conference", "Expires": "600"}
    if body:
        usual |= {"Require": "recipient-list-subscribe", "Content_Type": LISTS}
    return request("SUBSCRIBE", uri, body, lines=ROUTES, **(usual | headers))
