"""RFC 3263 against a name server of our own; also covers targets.py, and the default ports
of `imc_common/sip/ports.py`.
"""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from imc_common.sip.uri import Uri
from imc_edge.flow import Hop
from imc_edge.routing.resolver import MAX_LOOKUPS, Destination, ResolveError, Resolver
from imc_edge.routing.targets import SrvTarget, Targets
from tests.imc_edge.name_server import NameServer
from tests.imc_edge.sending import Clock

ZONE = """
$TTL 300
@            SOA   ns hostmaster 1 3600 600 86400 60
@            NAPTR 20 10 "s" "SIP+D2U"  "" _sip._udp
@            NAPTR 10 20 "s" "SIP+D2T"  "" _sip._tcp
@            NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp
@            NAPTR 5  10 "s" "SIP+D2S"  "" _sip._sctp
@            A     192.0.2.1
_sips._tcp   SRV   1 1 5161 a
_sip._tcp    SRV   1 1 5160 a
_sip._udp    SRV   20 1 5260 b
_sip._udp    SRV   10 1 5270 a
a       60   A     192.0.2.10
a            AAAA  2001:db8::10
b            A     192.0.2.20
plain        A     192.0.2.30
plain        AAAA  2001:db8::30
_sip._udp.srvonly   SRV 1 1 5360 a
_sip._tcp.tcponly   SRV 1 1 5460 b
_sips._tcp.tcponly  SRV 1 1 5461 b
_sip._udp.nothere   SRV 0 0 0 .
nothere  A 192.0.2.66
_sip._udp.dangling  SRV 1 1 5060 missing
mixed        NAPTR 1 1 "u" "E2U+sip" "!^.*$!sip:x@y!" .
mixed        NAPTR 2 1 "s" "SIP+D2U" "" _sip._udp.srvonly
short   0    A     192.0.2.40
"""


def hops(targets: Targets) -> list[str]:
    """All hops in the order of priority, as text."""
    return [f"{hop.transport}:{hop.host}:{hop.port}" for hop in targets.draw(lambda: 0.0)]


async def resolve(uri: str) -> tuple[list[str], Counter[str]]:
    """Hops, and the questions that were asked."""
    async with NameServer(ZONE) as server:
        resolver = Resolver(Clock(), server.resolver())
        return hops(await resolver.resolve(Destination.of(Uri.parse(uri)))), server.questions


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("sip:bob@192.0.2.7", "udp:192.0.2.7:5060"),
        ("sip:bob@192.0.2.7:5999", "udp:192.0.2.7:5999"),
        ("sips:bob@192.0.2.7", "tls:192.0.2.7:5061"),
        ("sip:bob@192.0.2.7;transport=tcp", "tcp:192.0.2.7:5060"),
        ("sip:bob@192.0.2.7;transport=tls", "tls:192.0.2.7:5061"),
        ("sips:bob@192.0.2.7;transport=tcp", "tls:192.0.2.7:5061"),
        ("sip:bob@[2001:db8::7]:5070", "udp:2001:db8::7:5070"),
    ],
)
async def test_4_1_a_numeric_address_needs_no_dns(uri: str, expected: str) -> None:
    """UDP for sip, TLS for sips, unless the URI says otherwise."""
    assert await resolve(uri) == ([expected], Counter())


async def test_4_1_naptr_chooses_the_transport() -> None:
    """Lowest order, then lowest preference, of the transports we support."""
    found, questions = await resolve("sip:bob@example.org")
    assert found == ["tls:192.0.2.10:5161", "tls:2001:db8::10:5161"]
    assert questions["example.org. NAPTR"] == 1
    assert questions["_sip._udp.example.org. SRV"] == 0


async def test_4_1_naptr_of_other_services_is_ignored() -> None:
    """ENUM, for example."""
    found, _ = await resolve("sip:bob@mixed.example.org")
    assert found == ["udp:192.0.2.10:5360", "udp:2001:db8::10:5360"]


async def test_4_1_sips_uses_tls_only() -> None:
    """Even if UDP is offered."""
    found, _ = await resolve("sips:bob@tcponly.example.org")
    assert found == ["tls:192.0.2.20:5461"]


async def test_4_1_an_explicit_port_skips_naptr_and_srv() -> None:
    """A and AAAA of the host, UDP."""
    found, questions = await resolve("sip:bob@example.org:5080")
    assert found == ["udp:192.0.2.1:5080"]
    assert set(questions) == {"example.org. A", "example.org. AAAA"}


async def test_4_1_an_explicit_transport_skips_naptr() -> None:
    """SRV of that transport, by priority."""
    found, questions = await resolve("sip:bob@example.org;transport=udp")
    assert found == ["udp:192.0.2.10:5270", "udp:2001:db8::10:5270", "udp:192.0.2.20:5260"]
    assert questions["example.org. NAPTR"] == 0


async def test_4_1_without_naptr_the_srv_records_of_each_transport_are_looked_up() -> None:
    """UDP first, then TCP."""
    assert (await resolve("sip:bob@srvonly.example.org"))[0][0] == "udp:192.0.2.10:5360"
    assert (await resolve("sip:bob@tcponly.example.org"))[0] == ["tcp:192.0.2.20:5460"]


async def test_rfc_5922_4_a_certificate_has_to_be_for_the_domain_of_the_uri() -> None:
    """Not for the host that the SRV record names; hops of other transports have no name."""
    async with NameServer(ZONE) as server:
        resolver = Resolver(Clock(), server.resolver())
        for uri, name in (("sips:bob@example.org", "example.org"), ("sip:bob@srvonly.example.org", "")):
            targets = await resolver.resolve(Destination.of(Uri.parse(uri)))
            assert {hop.server_name for hop in targets.draw(lambda: 0.0)} == {name}


async def test_4_2_without_srv_the_addresses_of_the_host_are_used() -> None:
    """A before AAAA, default port, UDP."""
    found, _ = await resolve("sip:bob@plain.example.org")
    assert found == ["udp:192.0.2.30:5060", "udp:2001:db8::30:5060"]


@pytest.mark.parametrize("host", ["missing", "nothere", "dangling", "silent"])
async def test_a_destination_that_cannot_be_resolved_is_an_error(host: str) -> None:
    """No such name, a service that is not there, a target without address, no response."""
    with pytest.raises(ResolveError):
        await resolve(f"sip:bob@{host}.example.org")


async def test_targets_are_valid_as_long_as_the_shortest_ttl() -> None:
    """Of all records that were looked up; a TTL of 0 still lasts a second."""
    async with NameServer(ZONE) as server:
        clock = Clock()
        resolver = Resolver(clock, server.resolver())
        for uri, ttl in (
            ("sip:b@plain.example.org:1", 300),
            ("sip:b@a.example.org:1", 60),
            ("sip:b@short.example.org:1", 1),
        ):
            targets = await resolver.resolve(Destination.of(Uri.parse(uri)))
            assert targets.until == clock.now + ttl


@pytest.mark.parametrize(
    "uri",
    [
        "sip:bob@192.0.2.7;maddr=10.0.0.1",
        "sip:bob@192.0.2.7;transport=sctp",
        "sips:bob@192.0.2.7;transport=udp",
        "tel:+1",
    ],
)
def test_no_request_is_sent_to_such_uris(uri: str) -> None:
    """maddr hides where a request goes; other transports and schemes are not supported."""
    with pytest.raises(ResolveError):
        Destination.of(Uri.parse(uri))


def test_rfc_2782_weights_share_the_load() -> None:
    """Three to one within a priority; the lower priority comes last; weight 0 is hardly ever first."""
    heavy, light, zero, spare = (Hop("udp", f"192.0.2.{n}", 5060) for n in range(4))
    targets = Targets.of(
        [[SrvTarget(30, (heavy,)), SrvTarget(10, (light,)), SrvTarget(0, (zero,))], [SrvTarget(9, (spare,))]]
    )
    random = Random(5)
    orders = [targets.draw(random.random) for _ in range(4000)]
    first = Counter(order[0] for order in orders)
    assert 2800 < first[heavy] < 3200
    assert first[zero] < 10
    assert all(order[3] == spare and len(set(order)) == 4 for order in orders)


async def test_a_name_server_cannot_make_us_ask_hundreds_of_questions() -> None:
    """16 services of 16 hosts each would be 528."""
    lines = ["$TTL 300", "@ SOA ns hostmaster 1 3600 600 86400 60"]
    for service in range(16):
        lines.append(f'many NAPTR {service} 1 "s" "SIP+D2U" "" _sip._udp.s{service}')
        lines += [f"_sip._udp.s{service} SRV {host} 1 5060 h{service}x{host}" for host in range(16)]
    async with NameServer("\n".join(["", *lines, ""])) as server:
        with pytest.raises(ResolveError, match="has no address"):
            await Resolver(Clock(), server.resolver()).resolve(
                Destination.of(Uri.parse("sip:many.example.org"))
            )
        assert sum(server.questions.values()) <= MAX_LOOKUPS
