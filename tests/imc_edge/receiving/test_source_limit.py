"""How many requests of one source are read."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from imc_common.sip.errors import SipParseError
from imc_common.sip.parse import parse_message
from imc_edge.receiving.source_limit import SourceLimit
from tests.imc_edge.doubles import Edge, FakeFlow, edge, message
from tests.imc_edge.sending import Clock


def passed(limit: SourceLimit, count: int, host: str = "192.0.2.1") -> int:
    """How many of so many requests."""
    return sum(limit.allows(host) for _ in range(count))


def test_the_limit_of_a_source_counts_within_two_seconds() -> None:
    """As pike's 30 in 2 s; other sources are not concerned."""
    clock = Clock()
    limit = SourceLimit(15, clock)
    assert passed(limit, 1000) == 30
    assert passed(limit, 30, "192.0.2.2") == 30
    clock.now += 2.1
    assert passed(limit, 1000) == 30


def test_a_flood_is_logged_once_per_source_and_window() -> None:
    """It may be a balancer that is missing in `trusted_peers`."""
    clock = Clock()
    limit = SourceLimit(1, clock)
    with capture_logs() as lines:
        passed(limit, 50)
        clock.now += 2.1
        passed(limit, 50)
    assert [line["source"] for line in lines] == ["192.0.2.1"] * 2


def test_an_ipv6_64_is_one_source() -> None:
    """Its 2**64 addresses are one source; another network is another."""
    limit = SourceLimit(1, Clock())
    hosts = [f"2001:db8:1:2::{number:x}" for number in range(1, 100)]
    assert sum(limit.allows(host) for host in hosts) == 2
    assert limit.allows("2001:db8:1:3::1")
    assert limit.allows("fe80::1%lo")


def test_0_is_no_limit() -> None:
    """Nothing is counted."""
    assert passed(SourceLimit(0, Clock()), 1000) == 1000


def test_forged_sources_do_not_fill_the_memory() -> None:
    """A new window starts."""
    limit = SourceLimit(1, Clock(), max_sources=100)
    for number in range(1000):
        limit.allows(f"192.0.{number // 250}.{number % 250}")
    assert len(limit._counts) <= 100


def hand_up(at: Edge, data: bytes, flow: FakeFlow) -> None:
    """As the transport does."""
    if flow.transport == "udp":
        at.acceptor.receive(data, flow)
        return
    if not at.acceptor.admits(flow.peer[0]):
        return
    try:
        at.acceptor.take(parse_message(data, stream=True), flow)
    except SipParseError as error:
        at.acceptor.refuse(error, flow)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_flood_is_dropped_unless_the_peer_is_trusted(transport: str) -> None:
    """It gets no response, malformed or not; a trusted peer sends for many users."""
    async with edge(max_requests_per_source=1, trusted_peers=("192.0.2.1/32",)) as at:
        stranger = FakeFlow(transport, ("192.0.2.9", 5060))
        proxy = FakeFlow(transport, ("192.0.2.1", 5060))
        for number in range(5):
            for flow in (stranger, proxy):
                hand_up(at, message(Call_ID=f"{flow.peer[0]}-{number}"), flow)
                hand_up(at, message(Call_ID=f"b{number}", Content_Length="x"), flow)
        await at.settle()
        assert [response.status for response in stranger.responses] == [403, 400]
        assert sorted(response.status for response in proxy.responses) == [202] * 5 + [400] * 5
        if transport == "udp":
            assert b'imc_ignored_total{reason="flood"} 8.0' in at.metrics.page()


async def test_few_cancels_of_one_client_make_redis_search() -> None:
    """Each asks every shard, and nobody authenticates it. Behind a proxy, the client is counted."""
    async with edge() as at:
        for number in range(40):
            proxy, client = "SIP/2.0/UDP 192.0.2.9", "SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKx"
            via = f"{proxy};branch=z9hG4bK{number}\r\nVia: {client}"
            cancel = message(Via=via, CSeq=f"{number} CANCEL").replace(b"MESSAGE sip:", b"CANCEL sip:")
            assert [response.status for response in await at.ask(cancel)] == [481]
        asked = sum(map(len, at.store.batches))
        assert asked == 10 * 16 * 2, "two seconds' worth of methods and shards"
