"""Lists of URIs (RFC 4826): whom a Linphone user invites, and which rooms its client has."""

from __future__ import annotations

import random
import zlib
from contextlib import nullcontext, suppress

import pytest

from imc_common.bodies.encoding import TooLargeError, inflate
from imc_common.bodies.errors import BodyError
from imc_common.bodies.resource_lists import (
    MAX_ENTRIES,
    HiddenUsersError,
    last_notify,
    listed_uris,
    resource_list,
)
from imc_common.sip.uri import Uri
from tests.imc_common.bodies.test_imdn import BILLION_LAUGHS
from tests.mutator import Mutator

LINPHONE = (
    b'<?xml version="1.0" encoding="UTF-8" standalone="no" ?>\n'
    b'<p1:resource-lists xmlns:p1="urn:ietf:params:xml:ns:resource-lists">\n  <p1:list>\n'
    b'    <p1:entry uri="sip:bob@example.org"/>\n    <p1:entry uri="sip:carol@example.org"/>\n'
    b"  </p1:list>\n</p1:resource-lists>\n"
)
"""As liblinphone 5.1 sends it."""


def test_the_list_of_linphone_is_read() -> None:
    """In its order; it comes with Content-Encoding: deflate."""
    body = inflate(zlib.compress(LINPHONE), ["deflate"], 65_535)
    assert [uri.address() for uri in listed_uris(body)] == ["bob@example.org", "carol@example.org"]


def test_a_list_has_each_uri_once_also_from_lists_in_it() -> None:
    """RFC 4826 §3.1: lists nest, and entries have names."""
    document = LINPHONE.replace(
        b"  </p1:list>",
        b'<p1:list name="x"><p1:entry uri=" sip:dave@example.org "><p1:display-name>D</p1:display-name>'
        b"</p1:entry>"
        b'<p1:entry uri="sip:bob@example.org"/></p1:list></p1:list>',
    )
    assert [uri.user for uri in listed_uris(document)] == ["bob", "carol", "dave"]


@pytest.mark.parametrize(
    ("attribute", "is_hidden"),
    [
        ('copyControl="bcc"', True),
        ('anonymize="1"', True),
        ('copyControl="to"', False),
        ('anonymize="false"', False),
    ],
)
def test_a_list_cannot_hide_users(attribute: str, is_hidden: bool) -> None:
    """RFC 5364 §5: in a room, all see all."""
    given = f' xmlns:cp="urn:ietf:params:xml:ns:copycontrol" cp:{attribute}/>'.encode()
    document = LINPHONE.replace(b"/>", given, 1)
    with pytest.raises(HiddenUsersError) if is_hidden else nullcontext():
        assert len(listed_uris(document)) == 2


def test_an_entry_tells_the_version_that_a_client_has() -> None:
    """A list SUBSCRIBE after a restart has rooms with Last-Notify; anything but a number counts as none."""
    document = LINPHONE.replace(b"carol@example.org", b"room@example.org;Last-Notify=17")
    assert [last_notify(uri) for uri in listed_uris(document)] == [0, 17]
    for wrong in ("", "=", "=-1", "=x", "=\u0663", "=99999999999"):
        with suppress(ValueError):
            assert last_notify(Uri.parse(f"sip:room@example.org;Last-Notify{wrong}")) == 0


def test_what_is_written_is_read() -> None:
    """Also URIs with characters that XML quotes."""
    uris = ["sip:a&b@example.org", "sip:alice@example.org;gr=urn:uuid:1", "sip:o'hara@example.org"]
    assert [str(uri) for uri in listed_uris(resource_list(uris))] == uris
    assert listed_uris(resource_list([])) == []


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"bob",
        b"<resource-lists/>",
        LINPHONE[:-10],
        LINPHONE.replace(b"sip:bob", b"no uri"),
        LINPHONE.replace(b'uri="sip:bob@example.org"', b""),
        LINPHONE.replace(b"<p1:list>", b'<p1:list><p1:external anchor="http://10.0.0.1/"/>'),
        LINPHONE.replace(b"<p1:list>", b'<p1:list><p1:entry-ref ref="x"/>'),
        BILLION_LAUGHS,
    ],
)
def test_what_is_no_list_is_an_error(document: bytes) -> None:
    """References to other documents, too: nothing is fetched."""
    with pytest.raises(BodyError):
        listed_uris(document)


def test_a_list_is_bounded() -> None:
    """A longer one is refused as a whole; 10,000 entries do not even fit."""
    most = [f"sip:{number}@example.org" for number in range(MAX_ENTRIES)]
    assert len(listed_uris(resource_list(most))) == MAX_ENTRIES
    with pytest.raises(TooLargeError):
        listed_uris(resource_list([*most, "sip:one@example.org"]))
    for count in (5_000, 10_000):
        with pytest.raises(TooLargeError):
            listed_uris(resource_list(f"sip:{number}@example.org" for number in range(count)))
    with pytest.raises(TooLargeError):
        inflate(zlib.compress(resource_list(["sip:a@example.org"] * 100_000)), ["deflate"], 65_535)


def test_mutated_lists_are_read_or_refused() -> None:
    """No other error."""
    mutator = Mutator(random.Random(4826))
    for _ in range(1000):
        with suppress(BodyError):
            listed_uris(mutator.mutate([LINPHONE]))
