"""Keyed hashes that are the same on all edges."""

from __future__ import annotations

from base64 import b64decode

import pytest

from imc_common.sip import Request, parse_message
from imc_edge.identifiers import Fingerprints
from tests.imc_edge.doubles import message


@pytest.mark.parametrize("change", [{"Call_ID": "other"}, {"CSeq": "2 MESSAGE"}])
def test_a_fingerprint_has_72_bits_and_depends_on_the_secret(change: dict[str, str]) -> None:
    """In twelve letters."""
    prints = []
    for secret in (b"a", b"b"):
        for data in (message(), message(**change)):
            request = parse_message(data)
            assert isinstance(request, Request)
            prints.append(Fingerprints(secret).of(request).digest)
    assert len(set(prints)) == 4
    assert {len(b64decode(seen, validate=True)) for seen in prints} == {9}
