"""Who is believed, and what of: `identity` and `trusted_peers` (RFC 3325)."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from imc_common.sip import parse_message
from imc_common.sip.errors import SipError
from imc_common.sip.message import Request
from imc_edge.identity.sender import asserted_sender
from imc_edge.identity.trusted_peers import TrustedPeers
from tests.imc_edge.doubles import data_of, edge, message

OUTSIDER = "198.51.100.7"
PAI = "P-Asserted-Identity: "


async def test_by_default_only_this_machine_is_believed() -> None:
    """A From is easily written; without a proxy that knows its users nobody from elsewhere speaks."""
    async with edge(trusted_peers="127.0.0.0/8,::1/128") as at:
        for peer, status in [("127.0.0.1", 202), ("127.8.9.10", 202), ("::1", 202), ("192.0.2.1", 403)]:
            answer = await at.ask_one(message(Call_ID=peer), peer=peer)
            assert (peer, answer.status) == (peer, status)
        assert len(at.store.entries) == 3


async def test_the_packets_source_counts_and_never_what_a_via_says() -> None:
    """Failure case: access by Via, which the sender writes."""
    async with edge(trusted_peers="10.0.0.0/8") as at:
        via = "SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK1;received=10.0.0.1"
        answer = await at.ask_one(message(Via=via), peer=OUTSIDER)
        assert (answer.status, answer.reason) == (403, "Peer Not Trusted")
        assert at.store.entries == []


async def test_anybody_may_ask_whether_the_edge_serves() -> None:
    """Balancers probe with OPTIONS, from wherever they are; nobody is named by it."""
    async with edge(identity="asserted") as at:
        assert (await at.ask_one(message(method="OPTIONS"), peer=OUTSIDER)).status == 200


async def test_a_cancel_from_an_untrusted_peer_costs_no_look_in_redis() -> None:
    """It looks in every shard, and would tell whether a request was taken."""
    async with edge() as at:
        assert (await at.ask_one(message(method="CANCEL"), peer=OUTSIDER)).status == 403
        assert at.store.batches == []


@pytest.mark.parametrize("header", ["P-Asserted-Identity", "P-Preferred-Identity"])
async def test_an_identity_header_means_nothing_where_it_is_not_asked_for(header: str) -> None:
    """RFC 3325 §5: of a node outside the trust domain it is ignored; P-Preferred-Identity always is."""
    async with edge() as at:
        answer = await at.ask_one(message(lines=[f"{header}: <sip:root@example.org>"]))
        assert answer.status == 202
        assert at.store.entries[0].sender == "alice@example.org"
        assert data_of(at.store.entries[0]).headers == ()


@pytest.mark.parametrize(
    ("lines", "sender", "name"),
    [
        ([PAI + "<sip:Bob@EXAMPLE.org:5060;user=phone>"], "Bob@example.org:5060", "Alice"),
        ([PAI + '"Bob B." <sips:bob@example.org>'], "bob@example.org", "Bob B."),
        ([PAI + "sip:bob@example.org"], "bob@example.org", "Alice"),
        ([PAI + "tel:+4930123, <sip:bob@example.org>"], "bob@example.org", "Alice"),
        ([PAI + "<tel:+4930123>", PAI + '"B" <sip:bob@example.org>'], "bob@example.org", "B"),
        ([PAI + "<sip:bob@example.org>, <sip:b%6Fb@Example.org>"], "bob@example.org", "Alice"),
        ([PAI + "<sip:bob@example.org>", "Privacy: none"], "bob@example.org", "Alice"),
        (["p-asserted-identity: <sip:bob@example.org>"], "bob@example.org", "Alice"),
    ],
)
async def test_an_asserted_identity_of_a_trusted_peer_is_the_sender(
    lines: list[str], sender: str, name: str
) -> None:
    """RFC 3325 §9.1: one SIP URI, beside a tel URI or not; From gives the name if there is no other."""
    async with edge(identity="asserted") as at:
        answer = await at.ask_one(message(lines=lines))
        assert (answer.status, answer.reason) == (202, "Accepted")
        (entry,) = at.store.entries
        assert (entry.sender, data_of(entry).display_name) == (sender, name)
        assert data_of(entry).headers == ()


@pytest.mark.parametrize(
    ("lines", "status", "reason"),
    [
        ([], 403, "No Asserted SIP Identity"),
        ([PAI + "<tel:+4930123>"], 403, "No Asserted SIP Identity"),
        ([PAI + "<sip:example.org>"], 403, "No Asserted SIP Identity"),
        (["P-Preferred-Identity: <sip:bob@example.org>"], 403, "No Asserted SIP Identity"),
        ([PAI + "<sip:bob@example.org>, <sip:carol@example.org>"], 403, "Asserted Identities Conflict"),
        ([PAI + "<sip:bob@a.org>", PAI + "<sip:bob@b.org>"], 403, "Asserted Identities Conflict"),
        ([PAI + "<sip:bob@example.org"], 400, "Malformed P-Asserted-Identity header"),
        ([PAI + "<sip:bob@example.org>,"], 400, "Malformed P-Asserted-Identity header"),
        ([PAI + "<sip:bob@example.org>", "Privacy: id"], 433, "Anonymity Disallowed"),
        ([PAI + "<sip:bob@example.org>", "Privacy: critical; ID"], 433, "Anonymity Disallowed"),
    ],
)
async def test_who_is_not_named_without_doubt_does_not_speak(
    lines: list[str], status: int, reason: str
) -> None:
    """No falling back on From, which the proxy let pass unproved."""
    async with edge(identity="asserted") as at:
        answer = await at.ask_one(message(lines=lines))
        assert (answer.status, answer.reason) == (status, reason)
        assert at.store.entries == []


async def test_an_asserted_identity_of_anybody_else_is_refused() -> None:
    """RFC 3325 §5."""
    async with edge(identity="asserted") as at:
        answer = await at.ask_one(message(lines=[PAI + "<sip:bob@example.org>"]), peer=OUTSIDER)
        assert (answer.status, answer.reason) == (403, "Peer Not Trusted")


async def test_identity_and_trusted_peers_change_while_the_edge_runs() -> None:
    """SIGHUP: no restart to take a new proxy in or shut a lost one out."""
    async with edge() as at:
        assert (await at.ask_one(message(), peer=OUTSIDER)).status == 403
        at.acceptor.reload(at.settings.model_copy(update={"trusted_peers": (ip_network(f"{OUTSIDER}/32"),)}))
        assert (await at.ask_one(message(), peer=OUTSIDER)).status == 202
        assert (await at.ask_one(message(Call_ID="2"))).status == 403


def test_a_mapped_address_is_the_ipv4_one() -> None:
    """What a socket for both families shows of an IPv4 peer."""
    peers = TrustedPeers([ip_network("10.0.0.0/8"), ip_network("fe80::/10")])
    assert "::ffff:10.1.2.3" in peers
    assert "::ffff:11.1.2.3" not in peers
    assert "fe80::1%eth0" in peers
    assert "no address" not in peers


def test_spoofed_sources_do_not_fill_the_memory() -> None:
    """What is known of sources is bounded, and right after it was thrown away."""
    peers = TrustedPeers([ip_network("10.0.0.0/8")])
    for number in range(10_000):
        assert f"198.51.{number >> 8}.{number & 255}" not in peers
    assert len(peers._known) <= 4096
    assert "10.0.0.1" in peers


def test_a_missing_from_does_not_hide_behind_an_assertion() -> None:
    """The name shown comes from it."""
    request = parse_message(message(lines=[PAI + "<sip:bob@example.org>"], From="nonsense"))
    assert isinstance(request, Request)
    with pytest.raises(SipError, match="Malformed From"):
        asserted_sender(request)
