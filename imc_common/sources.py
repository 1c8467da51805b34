"""What counts as one source of packets, wherever a limit counts sources."""

from __future__ import annotations

from functools import lru_cache
from socket import AF_INET6, inet_ntop, inet_pton
from typing import Final

_PREFIX: Final = 8
"""Bytes of an IPv6 address that name its /64."""
_MAPPED: Final = b"\0" * 10 + b"\xff\xff"


def source_of(host: str) -> str:
    """The source that an IP address belongs to: an IPv4 address is one, and so is an IPv6 /64.

    One host may own a whole /64 (RFC 7421), and can send from 2^64 addresses.
    """
    return _network_of(host) if ":" in host else host


@lru_cache(maxsize=4096)
def _network_of(host: str) -> str:
    address = inet_pton(AF_INET6, host.partition("%")[0])
    if address.startswith(_MAPPED):
        return ".".join(str(byte) for byte in address[12:])
    return inet_ntop(AF_INET6, address[:_PREFIX] + bytes(16 - _PREFIX)) + "/64"
