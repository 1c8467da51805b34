"""Case 41: no room is a way into somebody's network."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network

import pytest

from imc_common.settings import Settings
from imc_edge.flow import Hop
from imc_edge.routing.destinations import Destinations
from imc_edge.routing.resolver import Destination, Resolver
from imc_edge.routing.targets import Targets, Weighted
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
    """Also where an IPv4 address stands in an IPv6 one."""
    assert Destinations((), (), ()).allows_address(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_others_are_not_unless_listed(address: str) -> None:
    """Private, loopback, link-local, multicast, reserved, however they are written."""
    assert not Destinations((), (), ()).allows_address(address)
    everything = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    assert Destinations(everything, (), ()).allows_address(address)


def test_denied_networks_are_denied_whatever_else_is_said() -> None:
    """Public or listed."""
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
def test_domains_stand_for_themselves_and_what_is_below_them(host: str, allowed: bool) -> None:
    """And nothing else, once there is one."""
    assert Destinations((), (), ("example.org",)).allows_host(host) == allowed
    assert Destinations((), (), ()).allows_host(host)


async def sent_to(
    recipient: str, settings: Settings, resolver: Resolver | None = None
) -> tuple[list[str], object]:
    """Where a message to this recipient went, and how it ended if it went nowhere."""
    async with Sending(settings, resolver) as sending:
        await sending.event(to=(recipient,))
        hosts = [sent.hop.host for sent in sending.wires.sent]
        return hosts, sending.redis.of("settle")[0][5] if sending.redis.of("settle") else None


CLOSED = Settings()


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:6379", "[::1]", "169.254.169.254", "[::ffff:10.0.0.1]", "[64:ff9b::7f00:1]", "224.0.0.1",
        "8.8.8.8;maddr=127.0.0.1",
    ],
)  # fmt: skip
async def test_an_address_inside_is_not_sent_to_however_it_is_written(host: str) -> None:
    """403, and nothing leaves: no MESSAGE and no question to a name server. So it is by default."""
    assert await sent_to(f"bob@{host}", CLOSED, Nobody(Clock())) == ([], "403")


class Nobody(Resolver):
    """Must not be asked."""

    async def resolve(self, destination: Destination) -> Targets:
        raise AssertionError(destination)


async def test_names_outside_the_listed_domains_are_not_even_asked_for() -> None:
    """Somebody's name server is not to hear of us for everybody's invitation."""
    elsewhere = Settings(destination_domains=("example.net",))
    assert await sent_to("bob@example.org", elsewhere, Nobody(Clock())) == ([], "403")


class Inside(Resolver):
    """Every name has one address inside and one outside."""

    async def resolve(self, destination: Destination) -> Targets:
        await asyncio.sleep(0)
        hops = (Hop("udp", "10.0.0.1", 5060), Hop("udp", "8.8.8.8", 5060))
        return Targets.of([[Weighted(0, hops)]])


async def test_a_name_that_leads_inside_is_not_followed_there() -> None:
    """Only its other addresses are used; listed networks are."""
    assert await sent_to("bob@example.org", CLOSED, Inside(Clock())) == (["8.8.8.8"], None)
    listed = Settings(destination_networks=("10.0.0.0/8",))
    assert await sent_to("bob@example.org", listed, Inside(Clock())) == (["10.0.0.1"], None)
    denied = Settings(destination_networks_denied=("8.0.0.0/8",))
    assert await sent_to("bob@example.org", denied, Inside(Clock())) == ([], "403")


class Rebinding(Resolver):
    """A name that has a public address the first time, and one inside from then on."""

    asked = 0

    async def resolve(self, destination: Destination) -> Targets:
        await asyncio.sleep(0)
        self.asked += 1
        address = "8.8.8.8" if self.asked == 1 else "10.0.0.1"
        return Targets.of([[Weighted(0, (Hop("tcp", address, 5060),))]], until=1000.0 + self.asked)


async def test_a_name_is_judged_each_time_it_is_looked_up() -> None:
    """Rebinding: what was public once may lead inside the next time."""
    async with Sending(CLOSED, Rebinding(Clock())) as sending:
        await sending.event(to=("bob@example.org",))
        await sending.reply(sending.wires.sent[0])
        await sending.pass_time(2)
        await sending.event(to=("bob@example.org",))
        assert [sent.hop.host for sent in sending.wires.sent] == ["8.8.8.8"]
        assert [args[4:6] for args in sending.redis.of("settle")] == [("bob@example.org", "403")]


async def test_no_edge_sends_to_itself_nor_to_another_edge() -> None:
    """A room cannot speak to rooms, though the address would be allowed; the same host's other ports are."""
    async with Sending(own=(("127.0.0.1", 5060), ("8.8.8.8", 5070))) as sending:
        await sending.event(to=("bob@127.0.0.1",))
        await sending.event(to=("bob@[::ffff:127.0.0.1]",))
        await sending.event(to=("carol@8.8.8.8:5070",))
        await sending.event(to=("dave@127.0.0.1:5061",))
        assert [sent.recipient for sent in sending.wires.sent] == ["dave@127.0.0.1:5061"]
        assert [args[5] for args in sending.redis.of("settle")] == ["403", "403", "403"]


async def test_a_redirection_inside_is_not_followed() -> None:
    """A 3xx is somebody else's word."""
    settings = Settings(destination_networks=("127.0.0.1/32",))
    async with Sending(settings) as sending:
        await sending.event(to=("bob@127.0.0.1",))
        await sending.reply(sending.wires.sent[0], 302, "Contact: <sip:127.0.0.2:22>")
        assert len(sending.wires.sent) == 1
        assert sending.redis.of("settle")[0][4:] == ("bob@127.0.0.1", "403", "0")


@pytest.mark.parametrize("host", ["127.1", "0x7f000001", "2130706433", "0177.0.0.1"])
async def test_other_spellings_of_addresses_are_names(host: str) -> None:
    """Nobody makes an address of them but the DNS, which does not know them."""
    assert Destination(host, None, "", secure=False).literal is None


@pytest.mark.parametrize("host", ["127.1", "0x7f000001", "2130706433", "0177.0.0.1"])
async def test_other_spellings_of_addresses_are_sent_nowhere(host: str) -> None:
    """The codec has them as malformed: the last label of a name begins with a letter (RFC 3261 §25.1)."""
    assert await sent_to(f"bob@{host}", CLOSED, Nobody(Clock())) == ([], "no-target")


async def test_the_outbound_proxy_may_be_anywhere() -> None:
    """It is the operator's word."""
    settings = Settings(outbound_proxy="sip:10.0.0.9", destination_domains=("example.net",))
    assert await sent_to("bob@example.org", settings) == (["10.0.0.9"], None)
