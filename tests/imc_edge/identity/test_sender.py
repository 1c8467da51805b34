"""Who a request is from, by From or by P-Asserted-Identity (RFC 3325)."""

from __future__ import annotations

import pytest

from imc_common.sip import parse_message
from imc_common.sip.errors import SipError
from imc_common.sip.message import Request
from imc_edge.identity.sender import asserted_sender
from tests.imc_edge.doubles import data_of, edge, message

OUTSIDER = "198.51.100.7"
PAI = "P-Asserted-Identity: "


@pytest.mark.parametrize("header", ["P-Asserted-Identity", "P-Preferred-Identity"])
async def test_identity_headers_are_ignored_unless_identity_is_asserted(header: str) -> None:
    """RFC 3325 §5: also P-Preferred-Identity, which is ignored always."""
    async with edge() as at:
        response = await at.ask_one(message(lines=[f"{header}: <sip:root@example.org>"]))
        assert response.status == 202
        assert at.store.entries[0].sender == "alice@example.org"
        assert data_of(at.store.entries[0]).headers == ()


@pytest.mark.parametrize(
    ("lines", "sender", "name"),
    [
        ([PAI + "<sip:Bob@EXAMPLE.org:5060;user=phone>"], "Bob@example.org", "Alice"),
        ([PAI + '"Bob B." <sips:bob@example.org>'], "bob@example.org", "Bob B."),
        ([PAI + "sip:bob@example.org"], "bob@example.org", "Alice"),
        ([PAI + "tel:+4930123, <sip:bob@example.org>"], "bob@example.org", "Alice"),
        ([PAI + "<tel:+4930123>", PAI + '"B" <sip:bob@example.org>'], "bob@example.org", "B"),
        ([PAI + "<sip:bob@example.org>, <sip:b%6Fb@Example.org>"], "bob@example.org", "Alice"),
        ([PAI + "<sip:bob@example.org>", "Privacy: none"], "bob@example.org", "Alice"),
        (["p-asserted-identity: <sip:bob@example.org>"], "bob@example.org", "Alice"),
    ],
)
async def test_the_asserted_identity_of_a_trusted_peer_is_the_sender(
    lines: list[str], sender: str, name: str
) -> None:
    """RFC 3325 §9.1: one SIP URI, with or without a tel URI. A missing display name comes from From."""
    async with edge(identity="asserted") as at:
        response = await at.ask_one(message(lines=lines))
        assert (response.status, response.reason) == (202, "Accepted")
        (entry,) = at.store.entries
        assert (entry.sender, data_of(entry).display_name) == (sender, name)
        assert data_of(entry).headers == ()


@pytest.mark.parametrize(
    ("lines", "status", "reason"),
    [
        ([], 403, "No Asserted SIP Identity"),
        ([PAI + "<tel:+4930123>"], 403, "No Asserted SIP Identity"),
        ([PAI + "<sip:example.org>"], 403, "Asserted Identity Not Usable"),
        ([PAI + "<sip:bob@example.org>, <sip:example.org>"], 403, "Asserted Identity Not Usable"),
        ([PAI + "<sip:b%0Aob@example.org>, <sip:bob@example.org>"], 403, "Asserted Identity Not Usable"),
        (
            [PAI + f"<sip:{'b' * 300}@example.org>, <sip:bob@example.org>"],
            403,
            "Asserted Identity Not Usable",
        ),
        (
            [PAI + "<sip:bob@example.org>", PAI + "<mailto:bob@example.org>"],
            403,
            "Asserted Identity Not Usable",
        ),
        (["P-Preferred-Identity: <sip:bob@example.org>"], 403, "No Asserted SIP Identity"),
        ([PAI + "<sip:bob@example.org>, <sip:carol@example.org>"], 403, "Asserted Identities Conflict"),
        ([PAI + "<sip:bob@a.org>", PAI + "<sip:bob@b.org>"], 403, "Asserted Identities Conflict"),
        ([PAI + "<sip:bob@example.org"], 400, "Malformed P-Asserted-Identity header"),
        ([PAI + "<sip:bob@example.org>,"], 400, "Malformed P-Asserted-Identity header"),
        ([PAI + "<sip:bob@example.org>", "Privacy: id"], 433, "Anonymity Disallowed"),
        ([PAI + "<sip:bob@example.org>", "Privacy: critical; ID"], 433, "Anonymity Disallowed"),
        ([PAI + "<sip:bob@example.org>", "Privacy: none, id"], 433, "Anonymity Disallowed"),
        ([PAI + "<sip:bob@example.org>", "Privacy: none", "Privacy: ,user"], 400, "Malformed Privacy header"),
        ([PAI + "<sip:bob@example.org>", "Privacy: none id"], 400, "Malformed Privacy header"),
        ([PAI + "<sip:bob@example.org>", 'Privacy: "id"'], 400, "Malformed Privacy header"),
        ([PAI + "<sip:bob@example.org>", "Privacy:"], 400, "Malformed Privacy header"),
    ],
)
async def test_a_missing_or_ambiguous_asserted_identity_is_refused(
    lines: list[str], status: int, reason: str
) -> None:
    """From does not replace it: the proxy did not authenticate it."""
    async with edge(identity="asserted") as at:
        response = await at.ask_one(message(lines=lines))
        assert (response.status, response.reason) == (status, reason)
        assert at.store.entries == []


async def test_an_asserted_identity_from_an_untrusted_peer_is_refused() -> None:
    """RFC 3325 §5."""
    async with edge(identity="asserted") as at:
        response = await at.ask_one(message(lines=[PAI + "<sip:bob@example.org>"]), peer=OUTSIDER)
        assert (response.status, response.reason) == (403, "Peer Not Trusted")


def test_an_asserted_identity_does_not_excuse_a_malformed_from() -> None:
    """The display name comes from From."""
    request = parse_message(message(lines=[PAI + "<sip:bob@example.org>"], From="nonsense"))
    assert isinstance(request, Request)
    with pytest.raises(SipError, match="Malformed From"):
        asserted_sender(request)
