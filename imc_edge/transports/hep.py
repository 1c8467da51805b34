"""HEP version 3, the capture protocol of Homer: one SIP message as one packet. No I/O."""

from __future__ import annotations

from ipaddress import ip_address
from socket import IPPROTO_TCP, IPPROTO_UDP
from struct import pack

SIP = 1
"""Protocol type of what is captured."""

_IP_FAMILY, _IP_PROTOCOL, _SOURCE_4, _TARGET_4, _SOURCE_6, _TARGET_6 = range(1, 7)
_SOURCE_PORT, _TARGET_PORT, _SECONDS, _MICROSECONDS, _TYPE, _CAPTURE_ID = range(7, 13)
_AUTH_KEY, _PAYLOAD, _CORRELATION = 0x0E, 0x0F, 0x11
_FAMILIES = {
    4: (2, _SOURCE_4, _TARGET_4),
    6: (10, _SOURCE_6, _TARGET_6),
}  # AF_INET, AF_INET6 as Linux has them

Address = tuple[str, int]


def encode(
    payload: bytes,
    *,
    source: Address,
    target: Address,
    reliable: bool,
    at: float,
    capture_id: int,
    auth_key: str = "",
    call_id: str = "",
) -> bytes:
    """The packet for a SIP message that went from `source` to `target` (IP address and port).

    ``reliable``: over TCP or TLS. ``at``: seconds since the epoch. Raises ValueError if an address is not an
    IP address, if the addresses are of two families, or if the packet does not fit its length field.
    """
    here, there = ip_address(source[0]), ip_address(target[0])
    if here.version != there.version:
        raise ValueError(f"{here} and {there} are of two families")
    family, from_chunk, to_chunk = _FAMILIES[here.version]
    microseconds = int(at * 1_000_000)
    chunks = [
        _chunk(_IP_FAMILY, pack("!B", family)),
        _chunk(_IP_PROTOCOL, pack("!B", IPPROTO_TCP if reliable else IPPROTO_UDP)),
        _chunk(from_chunk, here.packed),
        _chunk(to_chunk, there.packed),
        _chunk(_SOURCE_PORT, pack("!H", source[1])),
        _chunk(_TARGET_PORT, pack("!H", target[1])),
        _chunk(_SECONDS, pack("!I", microseconds // 1_000_000)),
        _chunk(_MICROSECONDS, pack("!I", microseconds % 1_000_000)),
        _chunk(_TYPE, pack("!B", SIP)),
        _chunk(_CAPTURE_ID, pack("!I", capture_id)),
    ]
    if auth_key:
        chunks.append(_chunk(_AUTH_KEY, auth_key.encode()))
    if call_id:
        chunks.append(_chunk(_CORRELATION, call_id.encode("utf-8", "surrogateescape")))
    chunks.append(_chunk(_PAYLOAD, payload))
    body = b"".join(chunks)
    if len(body) + 6 > 0xFFFF:
        raise ValueError(f"a packet of {len(body) + 6} bytes is too long")
    return pack("!4sH", b"HEP3", len(body) + 6) + body


def _chunk(kind: int, value: bytes) -> bytes:
    """Vendor 0, type, length with these six bytes, value."""
    if len(value) + 6 > 0xFFFF:
        raise ValueError(f"{len(value)} bytes are too long for a chunk")
    return pack("!HHH", 0, kind, len(value) + 6) + value
