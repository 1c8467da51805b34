"""A HEP3 decoder, written from the specification's table of chunks and independent of our encoder."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import Any

_NAMES = {
    1: ("family", "!B"),
    2: ("protocol", "!B"),
    7: ("source_port", "!H"),
    8: ("target_port", "!H"),
    9: ("seconds", "!I"),
    10: ("microseconds", "!I"),
    11: ("type", "!B"),
    12: ("capture_id", "!I"),
}


def decode(packet: bytes) -> dict[str, Any]:
    """The chunks of a packet by name. Raises AssertionError for a wrong magic number or length."""
    magic, length = struct.unpack("!4sH", packet[:6])
    assert magic == b"HEP3"
    assert length == len(packet)
    chunks: dict[str, Any] = {}
    rest = packet[6:]
    while rest:
        vendor, kind, size = struct.unpack("!HHH", rest[:6])
        assert vendor == 0
        assert 6 <= size <= len(rest)
        value, rest = rest[6:size], rest[size:]
        if kind in {3, 5}:
            chunks["source"] = str(ip_address(value))
        elif kind in {4, 6}:
            chunks["target"] = str(ip_address(value))
        elif kind in _NAMES:
            name, form = _NAMES[kind]
            (chunks[name],) = struct.unpack(form, value)
        else:
            chunks[{0x0E: "key", 0x0F: "payload", 0x11: "correlation"}[kind]] = value
    return chunks
