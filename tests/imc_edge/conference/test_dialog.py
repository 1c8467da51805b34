"""A dialog as it was made by a request or a response (RFC 3261 §12.1), and as Redis keeps it."""

from __future__ import annotations

import pytest

from imc_common.rooms.request import EntryError
from imc_common.sip import Request, Response, parse_message
from imc_common.sip.errors import SipError
from imc_common.sip.uri import Uri
from imc_edge.conference.dialog import Dialog, contact_of, record_routes
from tests.imc_edge.conference.requests import FACTORY, GRUU, invite, subscribe

TARGET = Uri.parse(GRUU)


def parsed(data: bytes) -> Request:
    found = parse_message(data)
    assert isinstance(found, Request)
    return found


def response(*lines: str, to: str = "<sip:bob@example.org>;tag=b1") -> Response:
    head = ["SIP/2.0 200 OK", "Via: SIP/2.0/UDP x;branch=z9hG4bK1", "From: <sip:r@example.org>;tag=r1"]
    head += [f"To: {to}", "Call-ID: c1", "CSeq: 1 INVITE", *lines, "Content-Length: 0"]
    found = parse_message("\r\n".join(head).encode() + b"\r\n\r\n")
    assert isinstance(found, Response)
    return found


def test_a_servers_route_set_is_in_the_order_of_record_route() -> None:
    """RFC 3261 §12.1.1; what Redis gives back is the same."""
    request = parsed(invite())
    dialog = Dialog.of_request(request, "ours", TARGET, trusts_routes=True)
    assert dialog.routes == ("<sip:192.0.2.1;lr>", "<sip:192.0.2.9;lr;ftag=1>")
    assert dialog.next_uri == "sip:192.0.2.1;lr"
    assert (dialog.local_uri, dialog.target, dialog.remote_tag) == (FACTORY, GRUU, "1928")
    assert Dialog.parse(dialog.to_json("early")) == dialog
    assert [value for _, value in record_routes(request)] == list(dialog.routes)
    listed = Dialog.of_request(parsed(subscribe()), "ours", TARGET, trusts_routes=False)._replace(
        is_list=True
    )
    assert (listed.routes, listed.next_uri) == ((), GRUU)
    assert Dialog.parse(listed.to_json()) == listed


def test_a_clients_route_set_is_reversed() -> None:
    """RFC 3261 §12.1.2."""
    made = response("Record-Route: <sip:one;lr>, <sip:two;lr>", "Record-Route: <sip:three;lr>")
    dialog = Dialog.of_response(made, TARGET)
    assert dialog.routes == ("<sip:three;lr>", "<sip:two;lr>", "<sip:one;lr>")
    assert (dialog.call_id, dialog.local_tag, dialog.remote_tag) == ("c1", "r1", "b1")
    assert (dialog.local_uri, dialog.remote_uri) == ("sip:r@example.org", "sip:bob@example.org")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"From": "<sip:alice@example.org>"}, "Unusable Dialog Identifiers"),
        ({"Call_ID": "x" * 300}, "Unusable Dialog Identifiers"),
        ({"From": f"<sip:{'a' * 600}@example.org>;tag=1"}, "Unusable URI For A Dialog"),
        ({"Record_Route": "<sip"}, "Malformed Record-Route header"),
        ({"Record_Route": ", ".join(["<sip:x;lr>"] * 20)}, "Too Many Record-Route Values"),
        ({"Record_Route": "<tel:+1>"}, "Unusable URI For A Dialog"),
    ],
)
def test_what_could_not_stand_in_our_requests_is_refused(changed: dict[str, str], reason: str) -> None:
    """The dialog would be of no use."""
    with pytest.raises(SipError, match=reason):
        Dialog.of_request(parsed(invite(**changed)), "ours", TARGET, trusts_routes=True)


def test_a_2xx_without_tag_makes_no_dialog() -> None:
    """RFC 3261 §12.1.2 asks for one."""
    with pytest.raises(SipError, match="Unusable Dialog Identifiers"):
        Dialog.of_response(response(to="<sip:bob@example.org>"), TARGET)


def test_headers_in_uris_are_left_out() -> None:
    """They would become headers of our requests (RFC 3261 §19.1.1)."""
    dialog = Dialog.of_response(response(), Uri.parse("sip:bob@example.org?Route=%3Csip:evil%3E"))
    assert dialog.target == "sip:bob@example.org"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"call_id":"x"}', '{"routes":1}'])
def test_a_dialog_that_cannot_be_read_is_an_error(text: str) -> None:
    """The event becomes a dead letter."""
    with pytest.raises(EntryError, match="dialog"):
        Dialog.parse(text)


@pytest.mark.parametrize(
    "lines",
    [[], ["Contact: *"], ["Contact: <sip:a@x>, <sip:b@x>"], ["Contact: <tel:+1>"], ["Contact: <sip:a@x>b"]],
)
def test_a_dialog_needs_one_contact(lines: list[str]) -> None:
    """RFC 3261 §8.1.1.8."""
    with pytest.raises(SipError):
        contact_of(response(*lines))
