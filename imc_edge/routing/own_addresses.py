"""Where the edges of this service listen: no delivery goes there, because a room must not write to rooms."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from imc_common import keys
from imc_common.store import StoreUnreachable
from imc_common.store.protocols import ScriptRunner
from imc_edge.flow import Hop, SocketAddress
from imc_edge.routing.destinations import effective

TTL: Final = 15.0
"""Seconds until an edge that sends no more heartbeats is forgotten."""
HEARTBEAT_SECONDS: Final = 5.0
WILDCARDS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 # compared, not bound
_ROUTES: Final = (
    (socket.AF_INET, ("192.0.2.1", 9)),
    (socket.AF_INET6, ("2001:db8::1", 9)),
)
"""Addresses outside: the source address of the routes to them is what others may know us by."""


class OwnAddresses:
    """Addresses and ports of this edge and, through Redis, of all others, while `run` is running.

    The transport does not matter: who listens on a port with one of them is likely to own it with all.
    """

    def __init__(self, store: ScriptRunner, listening: Iterable[SocketAddress], advertise: str = "") -> None:
        """``listening``: as bound, with real ports; a wildcard stands for every address of the host.

        ``advertise``: the setting of this name.
        """
        self._store = store
        self._listening = frozenset((_plain(host), port) for host, port in listening)
        self._wild_ports = frozenset(port for host, port in self._listening if host in WILDCARDS)
        self._published = sorted(
            {f"{host}|{port}" for host, port in _publishable(self._listening, advertise)}
        )
        self._others: frozenset[str] = frozenset()

    def __contains__(self, hop: Hop) -> bool:
        host = _plain(hop.host)
        if (host, hop.port) in self._listening or f"{host}|{hop.port}" in self._others:
            return True
        return hop.port in self._wild_ports and is_local(host)

    async def run(self) -> None:
        """Publish our addresses and read those of the others, until cancelled."""
        while True:
            with suppress(StoreUnreachable):  # what was read last stays valid
                await self.heartbeat()
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def heartbeat(self) -> None:
        """Publish and read once. Raises StoreUnreachable."""
        ttl_ms = int(TTL * 1000)
        replies = await self._store.run(
            [
                self._store.script("record_heartbeat", [keys.EDGE_ADDRESSES], [address, ttl_ms])
                for address in self._published
            ]
        )
        if replies and isinstance(replies[-1], list):
            self._others = frozenset(address.decode() for address in replies[-1])

    async def forget(self) -> None:
        """Withdraw our addresses: this edge no longer listens. Raises StoreUnreachable."""
        await self._store.run([("ZREM", keys.EDGE_ADDRESSES, *self._published)])


def is_local(host: str) -> bool:
    """Whether this IP address is one of this host's. False if it cannot be known now."""
    try:
        return _can_be_bound(host)
    except OSError:  # no file descriptor, or a kernel without IPv6: not remembered
        return False


@lru_cache(maxsize=4096)
def _can_be_bound(host: str) -> bool:
    """Raises OSError if there is no socket to try it with."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True


def _plain(host: str) -> str:
    """One spelling of each IP address; the IPv4 address if an IPv6 one contains it."""
    return str(effective(ip_address(host)))


def _publishable(listening: Iterable[SocketAddress], advertise: str) -> Iterable[SocketAddress]:
    """Where others can reach us; for a wildcard, the source addresses of our routes."""
    for host, port in listening:
        yield from ((source, port) for source in (_sources() if host in WILDCARDS else (host,)))
    yield from _advertised(advertise, {port for _, port in listening})


def _sources() -> Iterable[str]:
    for family, somewhere in _ROUTES:
        # suppress comes first, because a kernel without IPv6 makes no socket for it
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(somewhere)  # sends nothing
            yield _plain(probe.getsockname()[0])


def _advertised(advertise: str, ports: Iterable[int]) -> Iterable[SocketAddress]:
    """The setting `advertise`, if it is an IP address and not a name."""
    host, port = advertise, ""
    if advertise.rpartition("]")[2].count(":") == 1:
        host, _, port = advertise.rpartition(":")
    with suppress(ValueError):
        plain = _plain(host.strip("[]"))
        yield from ((plain, each) for each in ([int(port)] if port else ports))
