"""Where responses go (RFC 3261 §18.2.2, RFC 3581), and what they copy (§8.2.6.2)."""

from __future__ import annotations

import pytest

from imc_common.sip import Request, Response, parse_message
from imc_edge.receiving.response_template import MAX_AMPLIFICATION, PADDING, ResponseTemplate
from tests.imc_edge.doubles import FakeFlow, edge, message

SOURCE = ("192.0.2.1", 40000)


async def refused(
    via: str, transport: str = "udp", peer: tuple[str, int] = SOURCE
) -> tuple[Response, object]:
    """The response to a refused message with this Via, and where it was sent."""
    flow = FakeFlow(transport, peer)
    async with edge() as at:
        at.acceptor.receive(message(Via=via, Max_Forwards="0"), flow)
    ((data, to),) = flow.sent
    response = parse_message(data)
    assert isinstance(response, Response)
    return response, to


@pytest.mark.parametrize(
    ("via", "to", "top"),
    [
        ("192.0.2.1:5062;branch=z9hG4bK1", ("192.0.2.1", 5062), "192.0.2.1:5062;branch=z9hG4bK1"),
        ("192.0.2.1;branch=z9hG4bK1", ("192.0.2.1", 5060), "192.0.2.1;branch=z9hG4bK1"),
        (
            "10.0.0.1:5062;branch=z9hG4bK1",
            ("192.0.2.1", 5062),
            "10.0.0.1:5062;branch=z9hG4bK1;received=192.0.2.1",
        ),
        (
            "host.example:5062;branch=z9hG4bK1",
            ("192.0.2.1", 5062),
            "host.example:5062;branch=z9hG4bK1;received=192.0.2.1",
        ),
        (
            "192.0.2.1:5062;rport;branch=z9hG4bK1",
            SOURCE,
            "192.0.2.1:5062;rport=40000;branch=z9hG4bK1;received=192.0.2.1",
        ),
        (
            "airport.example:5062;branch=z9hG4bK1;RPORT",
            SOURCE,
            "airport.example:5062;branch=z9hG4bK1;received=192.0.2.1;rport=40000",
        ),
        (
            "host.example;branch=z9hG4bK1;rport;x=rport",
            SOURCE,
            "host.example;branch=z9hG4bK1;rport=40000;x=rport;received=192.0.2.1",
        ),
        (
            'host.example;branch=z9hG4bK1;x=";rport;";RPort',
            SOURCE,
            'host.example;branch=z9hG4bK1;x=";rport;";received=192.0.2.1;rport=40000',
        ),
        (
            "host.example ; rport ; branch=z9hG4bK1",
            SOURCE,
            "host.example;branch=z9hG4bK1;received=192.0.2.1;rport=40000",
        ),
        (
            "192.0.2.1:5062;maddr=192.0.2.9;branch=z9hG4bK1",
            ("192.0.2.9", 5062),
            "192.0.2.1:5062;maddr=192.0.2.9;branch=z9hG4bK1",
        ),
        ("192.0.2.1:5062;maddr=127.0.0.1;branch=z9hG4bK1", ("192.0.2.1", 5062), None),
        ("192.0.2.1:5062;maddr=224.0.1.75;branch=z9hG4bK1", ("192.0.2.1", 5062), None),
        ("192.0.2.1:5062;maddr=host.example;branch=z9hG4bK1", ("192.0.2.1", 5062), None),
    ],
)
async def test_a_udp_response_goes_to_the_address_of_top_via_and_source(
    via: str, to: tuple[str, int], top: str | None
) -> None:
    """RFC 3261 §18.2.2. A maddr with our loopback, a group or a name is ignored."""
    response, sent_to = await refused(f"SIP/2.0/UDP {via}")
    assert sent_to == to
    if top is not None:
        assert response.headers.get("Via") == f"SIP/2.0/UDP {top}"


async def test_the_top_via_is_the_address_if_a_connection_is_lost() -> None:
    """RFC 3261 §18.2.2: received, and the port of sent-by; 5061 for TLS without one."""
    assert (await refused("SIP/2.0/TCP 10.0.0.1:5062;branch=z9hG4bK1", "tcp"))[1] == ("192.0.2.1", 5062)
    assert (await refused("SIP/2.0/TLS 10.0.0.1;branch=z9hG4bK1;rport", "tls"))[1] == ("192.0.2.1", 5061)


async def test_received_has_an_ipv6_source_without_brackets() -> None:
    """RFC 5118 §4.5: both forms are accepted; the grammar of RFC 3261 has no brackets."""
    response, to = await refused("SIP/2.0/UDP a.example;rport;branch=z9hG4bK1", peer=("2001:db8::1", 40000))
    assert to == ("2001:db8::1", 40000)
    assert (
        response.headers.get("Via")
        == "SIP/2.0/UDP a.example;rport=40000;branch=z9hG4bK1;received=2001:db8::1"
    )


async def test_all_vias_are_returned_in_order() -> None:
    """RFC 3261 §8.2.6.2, from one header line or several."""
    first = "SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bK1;rport, SIP/2.0/TCP b.example;branch=z9hG4bK2"
    flow = FakeFlow()
    async with edge() as at:
        data = message(Via=first, lines=["v: SIP/2.0/UDP c.example;branch=z9hG4bK3"], Max_Forwards="0")
        at.acceptor.receive(data, flow)
    (response,) = flow.responses
    assert [via.host for via in response.vias] == ["192.0.2.1", "b.example", "c.example"]


async def test_202_responses_have_few_different_lengths() -> None:
    """Legal blanks pad them, so that many go out in one system call."""
    async with edge() as at:
        for number in (1, 22, 33):
            flow = FakeFlow()
            at.acceptor.receive(message(Call_ID="x" * number), flow)
            await at.settle()
            ((data, _),) = flow.sent
            (response,) = flow.responses
            assert (response.status, response.headers.get("Content-Length")) == (202, "0")
            assert len(data) % PADDING == 0


STRANGER = ("198.51.100.7", 40000)


@pytest.mark.parametrize("maddr", ["198.51.100.8", "10.0.0.1", "127.0.0.1", "224.0.1.75", "2001:db8::1"])
@pytest.mark.parametrize(("rport", "port"), [("", 5062), (";rport", 40000)])
async def test_over_udp_a_response_to_an_untrusted_peer_goes_to_its_source(
    maddr: str, rport: str, port: int
) -> None:
    """Whatever maddr says: the packet may be forged."""
    via = f"SIP/2.0/UDP 192.0.2.1:5062;maddr={maddr}{rport};branch=z9hG4bK1"
    assert (await refused(via, peer=STRANGER))[1] == ("198.51.100.7", port)


def shortest(*lines: str) -> bytes:
    """The shortest request with these lines that gets a response."""
    needed = ("v:SIP/2.0/UDP a;rport", "f:<sip:a@b>;tag=1", "t:<sip:r@b>", "i:1", "CSeq:1 MESSAGE", "l:0")
    return "\r\n".join(["MESSAGE sip:r@b SIP/2.0", *needed, *lines, "", ""]).encode()


@pytest.mark.parametrize("identity", ["from", "digest"])
async def test_a_response_to_an_untrusted_source_is_at_most_three_times_as_long(identity: str) -> None:
    """A 401 loses its last challenges; if that is not enough, nothing is sent."""
    algorithms = ("SHA-512-256", "SHA-256", "MD5")
    counts = []
    async with edge(identity=identity, digest_algorithms=algorithms, max_requests_per_source=0) as at:
        for padding in range(0, 400, 10):
            data = shortest("X:" + "x" * padding)
            flow = FakeFlow(peer=STRANGER)
            at.acceptor.receive(data, flow)
            await at.settle()
            counts += [len(response.headers.get_all("WWW-Authenticate")) for response in flow.responses]
            for sent, _ in flow.sent:
                assert len(sent) <= MAX_AMPLIFICATION * len(data)
    if identity == "digest":
        assert (counts[0], counts[-1]) == (1, 3)


def test_a_response_that_cannot_be_short_enough_is_not_sent() -> None:
    """Silence is the only way left."""
    request, flow = parse_message(shortest()), FakeFlow(peer=STRANGER)
    assert isinstance(request, Request)
    template = ResponseTemplate(request, flow, "tag", is_trusted=False)
    template.send(405, headers=[("Allow", "MESSAGE"), ("X", "x" * 300)])
    assert flow.sent == []
    template.send(405, headers=[("Allow", "MESSAGE")])
    assert len(flow.sent) == 1


async def test_a_peer_that_is_trusted_or_connected_gets_long_responses() -> None:
    """Its address is not forged."""
    async with edge(identity="digest", trusted_peers="192.0.2.0/24", digest_algorithms="SHA-256,MD5") as at:
        for flow in (FakeFlow(), FakeFlow("tcp", STRANGER)):
            at.acceptor.take(parse_message(shortest()), flow)
            await at.settle()
            (response,) = flow.responses
            assert len(response.headers.get_all("WWW-Authenticate")) == 2
