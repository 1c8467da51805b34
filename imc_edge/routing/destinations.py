"""Where deliveries may go: a member can be any URI, but must not open the way into internal networks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network

_UNICAST = IPv6Network("2000::/3")
"""Everything that IANA allocates for the public IPv6 internet."""
_NAT64 = IPv6Network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are the IPv4 address that packets are sent to."""


class Destinations:
    """The settings `destination_networks`, `destination_networks_denied` and `destination_domains`.

    Addresses are checked after resolution, and requests go to exactly the address that was checked.
    """

    def __init__(self, allowed: Sequence[Network], denied: Sequence[Network], domains: Sequence[str]) -> None:
        self._allowed = tuple(allowed)
        self._denied = tuple(denied)
        self._domains = frozenset(domains)
        self.allows_address = lru_cache(maxsize=4096)(self._allows_address)
        """Whether a request may go to this IP address."""

    def allows_host(self, host: str) -> bool:
        """Whether a request may go to this host: one of the domains or below one; any if none is set."""
        if not self._domains:
            return True
        labels = host.lower().rstrip(".").split(".")
        return any(".".join(labels[start:]) in self._domains for start in range(len(labels)))

    def _allows_address(self, text: str) -> bool:
        address = effective(ip_address(text))
        if any(address in network for network in self._denied):
            return False
        return is_public(address) or any(address in network for network in self._allowed)


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is one of the public internet.

    `is_global` alone is not enough: it is true for multicast addresses.
    """
    if isinstance(address, IPv6Address) and address not in _UNICAST:
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def effective(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 address contains and packets to it reach; else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
