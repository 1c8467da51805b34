"""Rosters of rooms (RFC 4575)."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imc_common.bodies.conference_info import ConferenceInfo, RosterUser
from imc_common.bodies.errors import BodyError
from tests.imc_common.bodies.test_imdn import BILLION_LAUGHS
from tests.mutator import Mutator

GRUU = "sip:alice@example.org;gr=urn:uuid:1"
FULL = ConferenceInfo(
    "sip:room@conf.example.org",
    3,
    is_full=True,
    users=(
        RosterUser("sip:alice@example.org", is_admin=True, devices=(GRUU, GRUU + "2")),
        RosterUser("sip:bob@example.org"),
    ),
    subject="Tea & <cake>",
    created_at=1764401234,
)


def test_a_full_roster_has_the_whole_room() -> None:
    """In the order of the schema of RFC 4575 §7: the description, then the users."""
    document = FULL.to_bytes().decode()
    assert ConferenceInfo.parse(document.encode()) == FULL
    assert 'state="full" version="3"' in document
    assert "<subject>Tea &amp; &lt;cake&gt;</subject><free-text>1764401234</free-text>" in document
    assert document.index("<conference-description>") < document.index('<users state="full">')
    assert "<roles><entry>participant</entry></roles></user>" in document


def test_a_partial_roster_has_only_what_has_changed() -> None:
    """A new device, one that is gone, a user who is gone; or the subject alone."""
    changed = RosterUser(FULL.users[0].uri, devices=(GRUU,), gone_devices=(GRUU + "2",))
    gone = RosterUser("sip:bob@example.org", is_deleted=True)
    for info in (
        FULL._replace(is_full=False, users=(changed, gone), subject=None),
        FULL._replace(is_full=False, users=(), created_at=None),
        FULL._replace(is_full=False, users=(gone,), created_at=None, subject=None),
    ):
        document = info.to_bytes()
        assert ConferenceInfo.parse(document) == info
        assert b'state="partial"' in document
        assert (b"<users" in document) == bool(info.users)
        assert (b"<conference-description>" in document) == (
            info.created_at is not None or info.subject is not None
        )


def test_a_full_roster_without_members_still_says_so() -> None:
    """Otherwise a client would keep those it knows."""
    assert b'<users state="full"></users>' in FULL._replace(users=()).to_bytes()


@given(st.text(max_size=40))
def test_any_subject_makes_a_document(subject: str) -> None:
    """Characters that XML does not have are left out."""
    parsed = ConferenceInfo.parse(FULL._replace(subject=subject).to_bytes())
    assert parsed.users == FULL.users
    assert parsed.subject is not None
    assert set(parsed.subject) <= {*subject, "\n"}


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<conference-info/>",
        FULL.to_bytes()[:-3],
        FULL.to_bytes().replace(b'"3"', b'"x"'),
        BILLION_LAUGHS,
    ],
)
def test_what_is_no_roster_is_an_error(document: bytes) -> None:
    """With a document type, too."""
    with pytest.raises(BodyError):
        ConferenceInfo.parse(document)


def test_mutated_rosters_are_read_or_refused() -> None:
    """No other error."""
    mutator = Mutator(random.Random(4575))
    for _ in range(1000):
        with suppress(BodyError):
            ConferenceInfo.parse(mutator.mutate([FULL.to_bytes()]))
