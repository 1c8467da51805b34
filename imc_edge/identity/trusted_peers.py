"""Peers that are trusted: the proxies and balancers in front of us, by the source of their packets."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

_MAX_KNOWN: Final = 4096
"""Cached sources: forged ones must not fill the memory."""


class TrustedPeers:
    """The networks of `trusted_peers`. Looked up for each request, so the result is cached by source."""

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network]) -> None:
        self._networks = tuple(networks)
        self._known: dict[str, bool] = {}

    def __contains__(self, host: str) -> bool:
        """Whether a packet's source address is in one of the networks. It is the socket's, never a
        header's."""
        known = self._known.get(host)
        if known is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            known = self._known[host] = self._is_in_one(host)
        return known

    def _is_in_one(self, host: str) -> bool:
        try:
            source = ip_address(host)
        except ValueError:
            return False
        if isinstance(source, IPv6Address) and source.ipv4_mapped is not None:
            source = source.ipv4_mapped
        return any(source in network for network in self._networks)
