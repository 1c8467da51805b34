"""Peers whose word is taken: the proxies and balancers in front of us, by the source of their packets."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

_MOST_KNOWN = 4096


class TrustedPeers:
    """The networks of `trusted_peers`; asked once per request, so that a known source costs one look-up."""

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network]) -> None:
        self._networks = tuple(networks)
        self._known: dict[str, bool] = {}

    def __contains__(self, host: str) -> bool:
        """Whether a packet's source address (of the socket, never of a header) is in one of the networks."""
        known = self._known.get(host)
        if known is None:
            if len(self._known) >= _MOST_KNOWN:  # spoofed sources must not fill the memory
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
