"""HEP3 packets, read by an independent decoder."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imc_edge.transports.hep import encode
from tests.hep import decode

ADDRESSES = st.sampled_from(["192.0.2.1", "198.51.100.255", "0.0.0.0"])
ADDRESSES_6 = st.sampled_from(["2001:db8::1", "::1"])
PORTS = st.integers(0, 65535)


def packet(payload: bytes = b"x", **more: Any) -> bytes:
    """A packet with everything given."""
    given = {"source": ("192.0.2.1", 5060), "target": ("192.0.2.2", 5062), "reliable": False}
    return encode(payload, **(given | {"at": 12.5, "capture_id": 7} | more))


def test_a_packet_has_every_chunk() -> None:
    """As Homer reads them."""
    assert decode(packet(b"MESSAGE", auth_key="k", call_id="c1@h")) == {
        "family": 2,
        "protocol": 17,
        "source": "192.0.2.1",
        "target": "192.0.2.2",
        "source_port": 5060,
        "target_port": 5062,
        "seconds": 12,
        "microseconds": 500_000,
        "type": 1,
        "capture_id": 7,
        "key": b"k",
        "correlation": b"c1@h",
        "payload": b"MESSAGE",
    }


@given(
    st.binary(max_size=3000),
    st.one_of(st.tuples(ADDRESSES, ADDRESSES), st.tuples(ADDRESSES_6, ADDRESSES_6)),
    PORTS,
    st.booleans(),
    st.text(max_size=20),
)
def test_any_packet_can_be_read(
    payload: bytes, hosts: tuple[str, str], port: int, reliable: bool, call_id: str
) -> None:
    """Both families, any payload; no chunk for an empty value."""
    made = packet(payload, source=(hosts[0], port), target=(hosts[1], 1), reliable=reliable, call_id=call_id)
    chunks = decode(made)
    assert (chunks["source"], chunks["target"], chunks["source_port"]) == (*hosts, port)
    assert chunks["family"] == (10 if ":" in hosts[0] else 2)
    assert chunks["protocol"] == (6 if reliable else 17)
    assert chunks["payload"] == payload
    assert ("correlation" in chunks) == bool(call_id)


@pytest.mark.parametrize(
    "wrong",
    [
        {"source": ("::1", 1)},
        {"source": ("host.example", 1)},
        {"payload": b"x" * 65_600},
        {"payload": b"x" * 65_500},
    ],
)
def test_values_that_do_not_fit_a_packet_are_refused(wrong: dict[str, Any]) -> None:
    """`ValueError` with the reason."""
    with pytest.raises(ValueError, match=r"famil|IPv4|long"):
        packet(**wrong)
