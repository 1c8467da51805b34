"""The sent-by of our own requests (RFC 3261 §18.1.1)."""

from __future__ import annotations

import pytest

from imc_edge.flow import Hop
from tests.imc_edge.sockets import network


@pytest.mark.parametrize(
    ("advertise", "listen", "hop", "expected"),
    [
        ("", "udp:127.0.0.1:0", Hop("udp", "127.0.0.1", 9), "SIP/2.0/UDP 127.0.0.1:{port}"),
        ("", "udp:0.0.0.0:0", Hop("udp", "127.0.0.1", 9), "SIP/2.0/UDP 127.0.0.1:{port}"),
        ("", "udp:[::1]:0", Hop("udp", "::1", 9), "SIP/2.0/UDP [::1]:{port}"),
        ("", "tcp:127.0.0.1:0", Hop("tcp", "127.0.0.1", 9), "SIP/2.0/TCP 127.0.0.1:{port}"),
        ("", "udp:127.0.0.1:0", Hop("tls", "127.0.0.1", 9), "SIP/2.0/TLS 127.0.0.1:5061"),
        (
            "sip.example.org",
            "udp:0.0.0.0:0",
            Hop("udp", "127.0.0.1", 9),
            "SIP/2.0/UDP sip.example.org:{port}",
        ),
        ("[2001:db8::1]", "udp:[::]:0", Hop("udp", "::1", 9), "SIP/2.0/UDP [2001:db8::1]:{port}"),
        ("192.0.2.7:5070", "udp:0.0.0.0:0", Hop("udp", "127.0.0.1", 9), "SIP/2.0/UDP 192.0.2.7:5070"),
        ("[2001:db8::1]:5070", "udp:[::]:0", Hop("udp", "::1", 9), "SIP/2.0/UDP [2001:db8::1]:5070"),
    ],
)
async def test_sent_by_is_the_advertised_address_or_the_one_that_the_peer_sees(
    advertise: str, listen: str, hop: Hop, expected: str
) -> None:
    """`advertise` gives the address put into Via; without it the socket's own, never a wildcard."""
    edge = network(listen, advertise=advertise)
    assert edge.via(hop) == expected.format(port=edge.addresses[0].port)
    await edge.close()
