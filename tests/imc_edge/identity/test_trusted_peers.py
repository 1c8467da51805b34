"""Requests are accepted from trusted peers only."""

from __future__ import annotations

from ipaddress import ip_network

from imc_edge.identity.trusted_peers import TrustedPeers
from tests.imc_edge.doubles import edge, message

OUTSIDER = "198.51.100.7"


async def test_by_default_only_loopback_is_trusted() -> None:
    """Anyone can write any From. A proxy that authenticates users has to be configured."""
    async with edge(trusted_peers="127.0.0.0/8,::1/128") as at:
        for peer, status in [("127.0.0.1", 202), ("127.8.9.10", 202), ("::1", 202), ("192.0.2.1", 403)]:
            response = await at.ask_one(message(Call_ID=peer), peer=peer)
            assert (peer, response.status) == (peer, status)
        assert len(at.store.entries) == 3


async def test_the_source_of_the_packet_is_checked_and_not_the_via() -> None:
    """The sender writes the Via."""
    async with edge(trusted_peers="10.0.0.0/8") as at:
        via = "SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK1;received=10.0.0.1"
        response = await at.ask_one(message(Via=via), peer=OUTSIDER)
        assert (response.status, response.reason) == (403, "Peer Not Trusted")
        assert at.store.entries == []


async def test_options_is_accepted_from_untrusted_peers() -> None:
    """Balancers probe with OPTIONS from any address, and it names no user."""
    async with edge(identity="asserted") as at:
        assert (await at.ask_one(message(method="OPTIONS"), peer=OUTSIDER)).status == 200


async def test_a_cancel_from_an_untrusted_peer_asks_redis_nothing() -> None:
    """It would search every shard, and tell strangers whether a request was accepted."""
    async with edge() as at:
        assert (await at.ask_one(message(method="CANCEL"), peer=OUTSIDER)).status == 403
        assert at.store.batches == []


async def test_reload_changes_trusted_peers() -> None:
    """SIGHUP adds a proxy or removes one without a restart."""
    async with edge() as at:
        assert (await at.ask_one(message(), peer=OUTSIDER)).status == 403
        at.acceptor.reload(at.settings.model_copy(update={"trusted_peers": (ip_network(f"{OUTSIDER}/32"),)}))
        assert (await at.ask_one(message(), peer=OUTSIDER)).status == 202
        assert (await at.ask_one(message(Call_ID="2"))).status == 403


def test_an_ipv4_mapped_address_is_the_ipv4_address() -> None:
    """A socket for both families shows IPv4 peers so."""
    peers = TrustedPeers([ip_network("10.0.0.0/8"), ip_network("fe80::/10")])
    assert "::ffff:10.1.2.3" in peers
    assert "::ffff:11.1.2.3" not in peers
    assert "fe80::1%eth0" in peers
    assert "no address" not in peers


def test_forged_peers_do_not_fill_the_memory() -> None:
    """The cache of sources is bounded; results stay right after it was cleared."""
    peers = TrustedPeers([ip_network("10.0.0.0/8")])
    for number in range(10_000):
        assert f"198.51.{number >> 8}.{number & 255}" not in peers
    assert len(peers._known) <= 4096
    assert "10.0.0.1" in peers
