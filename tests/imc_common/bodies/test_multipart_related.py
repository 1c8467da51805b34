"""The NOTIFY of a list subscription (RFC 4662): a list of rooms and a part for each. Covers rlmi.py."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest

from imc_common.bodies.errors import BodyError
from imc_common.bodies.essence import CONFERENCE_INFO, RLMI
from imc_common.bodies.multipart import parts_of
from imc_common.bodies.multipart_related import multipart_related, related_part
from imc_common.bodies.rlmi import Resource, Rlmi
from tests.mutator import Mutator

LIST = Rlmi(
    "sip:conference-factory@conf.example.org",
    (
        Resource("sip:room-1@conf.example.org", "part1"),
        Resource("sip:room-2@conf.example.org", "part2", "pending"),
    ),
)


def test_a_list_survives_a_round_trip() -> None:
    """The id of an instance is the Content-ID of its part: liblinphone finds the part by it."""
    assert Rlmi.parse(LIST.to_bytes()) == LIST
    assert b'<instance id="part1" state="active" cid="part1"/>' in LIST.to_bytes()
    assert Rlmi.parse(LIST._replace(version=7, is_full=False).to_bytes()).version == 7


def test_a_room_without_a_part_says_why() -> None:
    """RFC 4662 §5.5: a subscription that has ended, as in RFC 6665 §4.1.3."""
    gone = LIST._replace(resources=(Resource("sip:room@conf.example.org", "", "terminated", "noresource"),))
    assert Rlmi.parse(gone.to_bytes()) == gone
    assert b'<instance id="0" state="terminated" reason="noresource"/>' in gone.to_bytes()


def test_the_boundary_comes_last_and_is_in_no_part() -> None:
    """liblinphone 5.1 crashed on a Content-Type with another parameter after it."""
    parts = [related_part(RLMI, "list", LIST.to_bytes())]
    parts += [related_part(CONFERENCE_INFO, each.content_id, b"<x/>") for each in LIST.resources]
    content_type, body = multipart_related(parts)
    assert content_type.startswith('multipart/related;type="application/rlmi+xml";boundary=')
    assert ";" not in content_type.rpartition("boundary=")[2]
    assert parts_of(content_type, body) == parts
    assert [part.get("content-id") for part in parts_of(content_type, body)] == ["list", "part1", "part2"]
    assert multipart_related(parts) == (content_type, body)


@pytest.mark.parametrize("document", [b"", b"<list/>", LIST.to_bytes()[:-2], b'<list version="0"/>'])
def test_what_is_no_list_of_rooms_is_an_error(document: bytes) -> None:
    """Read by tests only."""
    with pytest.raises(BodyError):
        Rlmi.parse(document)


def test_mutated_lists_of_rooms_are_read_or_refused() -> None:
    """No other error."""
    mutator = Mutator(random.Random(4662))
    for _ in range(1000):
        with suppress(BodyError):
            Rlmi.parse(mutator.mutate([LIST.to_bytes()]))
