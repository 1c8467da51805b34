"""Where the edges of this service listen: no delivery goes there, or a room could write to rooms."""

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
from imc_edge.routing.destinations import reached

TTL: Final = 15.0
"""Seconds for which an edge that says nothing more counts as listening."""
BEAT: Final = 5.0
WILDCARDS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 # compared, not bound
_ROUTES: Final = (
    (socket.AF_INET, ("192.0.2.1", 9)),
    (socket.AF_INET6, ("2001:db8::1", 9)),
)
"""Somewhere outside: the address of ours that routes lead from is what others may know us by."""


class OwnAddresses:
    """Addresses and ports of this edge and, through Redis, of all others. Its `run` has to be kept running.

    The transport does not matter: whoever listens on one of a port is likely to own the others.
    """

    def __init__(self, store: ScriptRunner, listening: Iterable[SocketAddress], advertise: str = "") -> None:
        """``listening`` as it was bound, with real ports; a wildcard stands for every address of the host."""
        self._store = store
        self._listening = frozenset((_plain(host), port) for host, port in listening)
        self._wild_ports = frozenset(port for host, port in self._listening if host in WILDCARDS)
        self._told = sorted({f"{host}|{port}" for host, port in _to_tell(self._listening, advertise)})
        self._others: frozenset[str] = frozenset()

    def __contains__(self, hop: Hop) -> bool:
        host = _plain(hop.host)
        if (host, hop.port) in self._listening or f"{host}|{hop.port}" in self._others:
            return True
        return hop.port in self._wild_ports and is_local(host)

    async def run(self) -> None:
        """Tell the other edges, and hear of theirs, until cancelled."""
        while True:
            with suppress(StoreUnreachable):  # what was heard last goes on to count
                await self.beat()
            await asyncio.sleep(BEAT)

    async def beat(self) -> None:
        """Tell and hear once. Raises StoreUnreachable."""
        ttl_ms = int(TTL * 1000)
        replies = await self._store.run(
            [
                self._store.script("record_heartbeat", [keys.EDGE_ADDRESSES], [told, ttl_ms])
                for told in self._told
            ]
        )
        if replies and isinstance(replies[-1], list):
            self._others = frozenset(address.decode() for address in replies[-1])

    async def forget(self) -> None:
        """Nobody listens here any more. Raises StoreUnreachable."""
        await self._store.run([("ZREM", keys.EDGE_ADDRESSES, *self._told)])


@lru_cache(maxsize=4096)
def is_local(host: str) -> bool:
    """Whether this IP address is one of this host's."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True


def _plain(host: str) -> str:
    """One spelling of an IP address; the IPv4 address where an IPv6 one leads to it."""
    return str(reached(ip_address(host)))


def _to_tell(listening: Iterable[SocketAddress], advertise: str) -> Iterable[SocketAddress]:
    """What others may find us at; for a wildcard, the addresses that routes lead from."""
    for host, port in listening:
        yield from ((source, port) for source in (_sources() if host in WILDCARDS else (host,)))
    yield from _advertised(advertise, {port for _, port in listening})


def _sources() -> Iterable[str]:
    for family, somewhere in _ROUTES:
        with socket.socket(family, socket.SOCK_DGRAM) as probe, suppress(OSError):
            probe.connect(somewhere)  # sends nothing
            yield _plain(probe.getsockname()[0])


def _advertised(advertise: str, ports: Iterable[int]) -> Iterable[SocketAddress]:
    """The setting `advertise`, if it has an address and no name."""
    host, port = advertise, ""
    if advertise.rpartition("]")[2].count(":") == 1:
        host, _, port = advertise.rpartition(":")
    with suppress(ValueError):
        plain = _plain(host.strip("[]"))
        yield from ((plain, each) for each in ([int(port)] if port else ports))
