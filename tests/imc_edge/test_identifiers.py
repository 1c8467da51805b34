"""Keyed hashes that are the same on all edges."""

from __future__ import annotations

from base64 import b64decode

import pytest

from imc_common.devices import device_address
from imc_common.sip import Request, parse_message
from imc_edge.identifiers import DeliveryIds, Fingerprints
from tests.imc_edge.conference.requests import FACTORY, invite, request
from tests.imc_edge.doubles import message


@pytest.mark.parametrize("change", [{"Call_ID": "other"}, {"CSeq": "2 MESSAGE"}])
def test_a_fingerprint_has_72_bits_and_depends_on_the_secret(change: dict[str, str]) -> None:
    """In twelve letters."""
    prints = []
    for secret in (b"a", b"b"):
        made = Fingerprints(secret)
        prints += [made.of(parsed(data)).digest for data in (message(), message(**change))]
    assert len(set(prints)) == 4
    assert {len(b64decode(seen, validate=True)) for seen in prints} == {9}


@pytest.mark.parametrize("uri", ["sip:other@example.org", "sip:%6fther@example.org:5062"])
def test_a_request_that_is_forked_to_two_rooms_is_two_requests(uri: str) -> None:
    """Where the Request-URI names the room, and not where To does. Its parameters make no difference."""
    here, there, again = (
        parsed(message(uri=target)) for target in ("sip:room@example.org", uri, uri + ";transport=udp")
    )
    by_target, by_to = Fingerprints(b"a", by_target=True), Fingerprints(b"a")
    assert by_target.of(here) != by_target.of(there)
    assert by_target.of(there) == by_target.of(again)
    assert by_to.of(here) == by_to.of(there)


def test_the_request_uri_names_the_room_of_every_other_method() -> None:
    """A CANCEL has the fingerprint of the request to cancel."""
    prints = Fingerprints(b"a")
    to = f"<{FACTORY}>"
    one, two = (parsed(invite(uri=f"sip:{room}@example.org", To=to)) for room in ("one", "two"))
    alice = "<sip:alice@example.org>;tag=1928"
    cancel = parsed(request("CANCEL", "sip:one@example.org", To=to, From=alice))
    assert prints.of(one).digest != prints.of(two).digest
    assert prints.of(cancel, "INVITE").digest == prints.of(one).digest


def test_a_request_without_an_address_in_its_request_uri_has_a_fingerprint_too() -> None:
    """It is refused, with a tag."""
    assert Fingerprints(b"a", by_target=True).of(parsed(message(uri="tel:+49301234")))


def parsed(data: bytes) -> Request:
    found = parse_message(data)
    assert isinstance(found, Request)
    return found


def test_a_device_has_one_name_in_call_ids_by_whatever_uri_it_was_invited() -> None:
    """So it recognises what it has got before it was invited by another one."""
    ids = DeliveryIds(b"secret")
    device = device_address("bob@example.org", "urn:uuid:1")
    assert (
        ids.recipient_id(device) == ids.recipient_id(f"{device};aor") != ids.recipient_id("bob@example.org")
    )
