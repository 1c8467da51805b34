"""No room is a way into an internal network.

Also covers next_hop.py, with `tests/imc_edge/delivering/test_courier.py`.
"""

from __future__ import annotations

import asyncio
from ipaddress import ip_network

import pytest

from imc_common.settings import Settings
from imc_edge.flow import Hop
from imc_edge.routing.destinations import Destinations
from imc_edge.routing.resolver import Destination, Resolver
from imc_edge.routing.targets import SrvTarget, Targets
from tests.imc_edge.sending import Clock, Sending

PUBLIC = ["8.8.8.8", "2001:4860:4860::8888", "64:ff9b::808:808", "2002:808:808::1"]
NOT_PUBLIC = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
    "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "::1", "::",
    "fe80::1", "fc00::1", "ff02::1", "ff0e::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1", "2002:7f00:1::", "2001:db8::1", "2001::1", "::7f00:1", "fec0::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    """Also an IPv4 address inside an IPv6 one."""
    assert Destinations((), (), ()).allows_address(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_other_addresses_are_not_allowed_unless_listed(address: str) -> None:
    """Private, loopback, link-local, multicast, reserved, in any notation."""
    assert not Destinations((), (), ()).allows_address(address)
    everything = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    assert Destinations(everything, (), ()).allows_address(address)


def test_denied_networks_are_denied_even_if_public_or_listed() -> None:
    """The stricter setting wins."""
    destinations = Destinations(
        (ip_network("10.0.0.0/8"),), (ip_network("10.9.0.0/16"), ip_network("8.8.8.0/24")), ()
    )
    assert destinations.allows_address("10.1.0.1")
    assert not destinations.allows_address("10.9.0.1")
    assert not destinations.allows_address("8.8.8.8")
    assert not destinations.allows_address("64:ff9b::808:808")


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("example.org", True), ("sip.example.org", True), ("Example.ORG.", True), ("badexample.org", False),
        ("example.org.evil.example", False), ("8.8.8.8", False),
    ],
)  # fmt: skip
def test_a_listed_domain_includes_the_names_below_it(host: str, allowed: bool) -> None:
    """With any domain listed, all others are refused."""
    assert Destinations((), (), ("example.org",)).allows_host(host) == allowed
    assert Destinations((), (), ()).allows_host(host)


async def sent_to(
    recipient: str, settings: Settings, resolver: Resolver | None = None
) -> tuple[list[str], object]:
    """Where a message to this recipient went, and how it ended if it went nowhere."""
    async with Sending(settings, resolver) as sending:
        await sending.event(to=(recipient,))
        hosts = [sent.hop.host for sent in sending.wires.sent]
        return hosts, sending.redis.of("settle")[0][6] if sending.redis.of("settle") else None


CLOSED = Settings()


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:6379", "[::1]", "169.254.169.254", "[::ffff:10.0.0.1]", "[64:ff9b::7f00:1]", "224.0.0.1",
        "8.8.8.8;maddr=127.0.0.1",
    ],
)  # fmt: skip
async def test_nothing_is_sent_to_an_internal_address_in_any_notation(host: str) -> None:
    """403 by default, and nothing leaves: no MESSAGE and no DNS query."""
    assert await sent_to(f"bob@{host}", CLOSED, Nobody(Clock())) == ([], "403")


class Nobody(Resolver):
    """Must not be used."""

    async def resolve(self, destination: Destination) -> Targets:
        raise AssertionError(destination)


async def test_names_outside_the_listed_domains_are_not_looked_up() -> None:
    """An invitation must not make us query the name server of somebody's choice."""
    elsewhere = Settings(destination_domains=("example.net",))
    assert await sent_to("bob@example.org", elsewhere, Nobody(Clock())) == ([], "403")


class Inside(Resolver):
    """Every name has an internal and a public address."""

    async def resolve(self, destination: Destination) -> Targets:
        await asyncio.sleep(0)
        hops = (Hop("udp", "10.0.0.1", 5060), Hop("udp", "8.8.8.8", 5060))
        return Targets.of([[SrvTarget(0, hops)]])


async def test_internal_addresses_of_a_name_are_not_used() -> None:
    """Only its other addresses are, and listed networks."""
    assert await sent_to("bob@example.org", CLOSED, Inside(Clock())) == (["8.8.8.8"], None)
    listed = Settings(destination_networks=("10.0.0.0/8",))
    assert await sent_to("bob@example.org", listed, Inside(Clock())) == (["10.0.0.1"], None)
    denied = Settings(destination_networks_denied=("8.0.0.0/8",))
    assert await sent_to("bob@example.org", denied, Inside(Clock())) == ([], "403")


class Rebinding(Resolver):
    """A name that has a public address the first time, and an internal one from then on."""

    asked = 0

    async def resolve(self, destination: Destination) -> Targets:
        await asyncio.sleep(0)
        self.asked += 1
        address = "8.8.8.8" if self.asked == 1 else "10.0.0.1"
        return Targets.of([[SrvTarget(0, (Hop("tcp", address, 5060),))]], until=1000.0 + self.asked)


async def test_a_name_is_checked_at_every_lookup() -> None:
    """DNS rebinding: a name with a public address may get an internal one later."""
    async with Sending(CLOSED, Rebinding(Clock())) as sending:
        await sending.event(to=("bob@example.org",))
        await sending.reply(sending.wires.sent[0])
        await sending.pass_time(2)
        await sending.event(to=("bob@example.org",))
        assert [sent.hop.host for sent in sending.wires.sent] == ["8.8.8.8"]
        assert [args[5:7] for args in sending.redis.of("settle")] == [("bob@example.org", "403")]


async def test_no_edge_sends_to_itself_nor_to_another_edge() -> None:
    """A room must not write to rooms, though the address would be allowed; other ports of that host are."""
    async with Sending(own=(("127.0.0.1", 5060), ("8.8.8.8", 5070))) as sending:
        await sending.event(to=("bob@127.0.0.1",))
        await sending.event(to=("bob@[::ffff:127.0.0.1]",))
        await sending.event(to=("carol@8.8.8.8:5070",))
        await sending.event(to=("dave@127.0.0.1:5061",))
        assert [sent.recipient for sent in sending.wires.sent] == ["dave@127.0.0.1:5061"]
        assert [args[6] for args in sending.redis.of("settle")] == ["403", "403", "403"]


async def test_a_redirection_to_an_internal_address_is_not_followed() -> None:
    """The contacts of a 3xx are somebody else's choice."""
    settings = Settings(destination_networks=("127.0.0.1/32",))
    async with Sending(settings) as sending:
        await sending.event(to=("bob@127.0.0.1",))
        await sending.reply(sending.wires.sent[0], 302, "Contact: <sip:127.0.0.2:22>")
        assert len(sending.wires.sent) == 1
        assert sending.redis.of("settle")[0][5:] == ("bob@127.0.0.1", "403", "0")


@pytest.mark.parametrize("host", ["127.1", "0x7f000001", "2130706433", "0177.0.0.1"])
async def test_unusual_notations_of_an_address_count_as_names(host: str) -> None:
    """Only the DNS could make addresses of them, and it does not know them."""
    assert Destination(host, None, "", secure=False).literal is None


@pytest.mark.parametrize("host", ["127.1", "0x7f000001", "2130706433", "0177.0.0.1"])
async def test_nothing_is_sent_to_unusual_notations_of_an_address(host: str) -> None:
    """The codec rejects them: the last label of a name begins with a letter (RFC 3261 §25.1)."""
    assert await sent_to(f"bob@{host}", CLOSED, Nobody(Clock())) == ([], "no-target")


async def test_the_outbound_proxy_may_have_any_address() -> None:
    """The operator chooses it."""
    settings = Settings(outbound_proxy="sip:10.0.0.9", destination_domains=("example.net",))
    assert await sent_to("bob@example.org", settings) == (["10.0.0.9"], None)
