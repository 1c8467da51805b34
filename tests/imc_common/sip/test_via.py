"""Via headers."""

from __future__ import annotations

import pytest
from hypothesis import given

from imc_common.sip import Via
from tests.imc_common.sip.strategies import unhurried, vias


@unhurried
@given(vias())
def test_a_via_survives_printing_and_parsing(text: str) -> None:
    """Only the case of the transport changes."""
    via = Via.parse(text)
    assert Via.parse(str(via)) == via


def test_all_parts_of_a_via_are_parsed() -> None:
    """RFC 3261 §20.42, with all blanks that the grammar allows."""
    via = Via.parse("sip / 2.0 / udp  [2001:DB8::9:1] : 6050 ; branch=z9hG4bK1;rport ;Maddr=224.0.0.1")
    assert (via.transport, via.host, via.port, via.branch) == ("UDP", "[2001:DB8::9:1]", 6050, "z9hG4bK1")
    assert via.params == (("branch", "z9hG4bK1"), ("rport", None), ("maddr", "224.0.0.1"))


def test_a_container_id_is_a_valid_sent_by() -> None:
    """A name that is not valid in a URI is accepted, because it is not resolved."""
    assert Via.parse("SIP/2.0/UDP 3f2a9c1b2d3e:5060;branch=z9hG4bK1").host == "3f2a9c1b2d3e"
    assert Via.parse("SIP/2.0/UDP a").branch is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SIP/2.0/UDP",
        "SIP/2.0/UDP ",
        "SIP/3.0/UDP a.example",
        "HTTP/2.0/UDP a.example",
        "SIP/2.0 UDP a.example",
        "SIP/2.0/UDP a.example:",
        "SIP/2.0/UDP a.example:0",
        "SIP/2.0/UDP a.example:65536",
        "SIP/2.0/UDP a.example;",
        "SIP/2.0/UDP a.example;;branch=1",
        "SIP/2.0/UDP a.example;branch=1;branch=2",
        "SIP/2.0/UDP a.example;branch=",
        "SIP/2.0/UDP a.example;branch=a b",
        "SIP/2.0/UDP [::1;branch=1",
        "SIP/2.0/UDP [::g];branch=1",
        "SIP/2.0/UDP a.example, SIP/2.0/UDP b.example",
    ],
)
def test_malformed_vias_are_refused(text: str) -> None:
    """Everything outside the grammar of RFC 3261 §25.1."""
    with pytest.raises(ValueError, match=r"malformed|repeated|range"):
        Via.parse(text)


@pytest.mark.parametrize(
    ("text", "source", "expected"),
    [
        ("SIP/2.0/UDP 192.0.2.1;branch=b", ("192.0.2.1", 5070), "SIP/2.0/UDP 192.0.2.1;branch=b"),
        (
            "SIP/2.0/UDP 10.0.0.1;branch=b",
            ("192.0.2.1", 5070),
            "SIP/2.0/UDP 10.0.0.1;branch=b;received=192.0.2.1",
        ),
        ("SIP/2.0/UDP a.example;branch=b", ("::1", 5070), "SIP/2.0/UDP a.example;branch=b;received=::1"),
        (
            "SIP/2.0/UDP 192.0.2.1;rport;branch=b",
            ("192.0.2.1", 5070),
            "SIP/2.0/UDP 192.0.2.1;branch=b;received=192.0.2.1;rport=5070",
        ),
        (
            "SIP/2.0/UDP 192.0.2.1;received=203.0.113.9;branch=b",
            ("192.0.2.1", 5070),
            "SIP/2.0/UDP 192.0.2.1;branch=b;received=192.0.2.1",
        ),
        ("SIP/2.0/UDP [::1];branch=b", ("::1", 5070), "SIP/2.0/UDP [::1];branch=b"),
    ],
)
def test_the_source_of_a_packet_is_added(text: str, source: tuple[str, int], expected: str) -> None:
    """RFC 3261 §18.2.1 and RFC 3581 §4. A ``received`` from the sender is replaced."""
    assert str(Via.parse(text).seen_from(*source)) == expected


def test_sent_by_is_parsed_from_a_malformed_via() -> None:
    """Enough to send a 400 or 505."""
    assert Via.parse_sent_by("SIP/2.0/UDP 192.0.2.15:5070;;,;,,") == Via("UDP", "192.0.2.15", 5070)
    assert Via.parse_sent_by("SIP/7.0/TLS c.example.com;branch=x") == Via("TLS", "c.example.com")
    with pytest.raises(ValueError, match="malformed"):
        Via.parse_sent_by("nonsense")
