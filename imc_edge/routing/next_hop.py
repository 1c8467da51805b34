"""The next hop of a delivery: `outbound_proxy` if it is set, else what the recipient's URI resolves to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from imc_common.settings import Settings
from imc_common.sip.uri import Uri
from imc_edge.flow import Hop
from imc_edge.routing.destinations import Destinations
from imc_edge.routing.own_addresses import OwnAddresses
from imc_edge.routing.resolver import Destination, RefusedError, ResolveError, Resolver
from imc_edge.routing.targets import NOWHERE, SrvTarget, Targets

log = structlog.get_logger()

MAX_CACHED: Final = 10_000
"""Destinations remembered; with more, the oldest are dropped."""
FAILURE_SECONDS: Final = 5.0
"""How long a destination that could not be resolved is not tried again."""

Found = Callable[[Targets | None], None]


class NextHops:
    """Finds the targets of destinations, and remembers them for their time to live."""

    def __init__(
        self,
        resolver: Resolver,
        outbound_proxy: str,
        destinations: Destinations,
        own: OwnAddresses,
        clock: Callable[[], float],
    ) -> None:
        """Targets are only what ``destinations`` allows, and no edge of ours (``own``); those of
        ``outbound_proxy`` are not checked.
        """
        self._resolver = resolver
        self._destinations = destinations
        self._own = own
        self._clock = clock
        self._proxy = Destination.of(Uri.parse(outbound_proxy)) if outbound_proxy else None
        self.proxy_targets = _literal(self._proxy) if self._proxy else None
        """Where all requests go; None without a proxy, and if its name has to be resolved."""
        self._cache: dict[Destination, tuple[float, Targets | None]] = {}
        self._resolving: dict[Destination, list[Found]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def known(self, uri: str) -> Targets | None:
        """The targets of this Request-URI, if no name has to be resolved now; otherwise None, see `find`."""
        if self.proxy_targets is not None:
            return self.proxy_targets
        try:
            destination = self._destination(uri)
        except RefusedError:
            return NOWHERE
        except (ValueError, ResolveError):
            return None
        if destination is not self._proxy and not self._destinations.allows_host(destination.host):
            return NOWHERE
        cached = self._cache.get(destination)
        if cached is not None and self._clock() < cached[0]:
            return cached[1]
        literal = _literal(destination)
        return None if literal is None else self._allowed(destination, literal)

    def find(self, uri: str, found: Found) -> None:
        """Call ``found``, later, with the targets, or with None if there are none.

        However many deliveries wait for one destination, it is resolved once.
        """
        try:
            destination = self._destination(uri)
        except (ValueError, ResolveError):
            asyncio.get_running_loop().call_soon(found, None)
            return
        cached = self._cache.get(destination)
        if cached is not None and self._clock() < cached[0]:
            asyncio.get_running_loop().call_soon(found, cached[1])
            return
        waiting = self._resolving.get(destination)
        if waiting is not None:
            waiting.append(found)
            return
        self._resolving[destination] = [found]
        task = asyncio.get_running_loop().create_task(self._resolve(destination))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Stop resolving."""
        for task in self._tasks:
            task.cancel()

    def _destination(self, uri: str) -> Destination:
        return self._proxy or Destination.of(Uri.parse(uri))

    def _allowed(self, destination: Destination, targets: Targets) -> Targets:
        """The targets that deliveries may go to; of the proxy, all."""
        return targets if destination is self._proxy else targets.only(self._allows)

    def _allows(self, hop: Hop) -> bool:
        return self._destinations.allows_address(hop.host) and hop not in self._own

    async def _resolve(self, destination: Destination) -> None:
        targets: Targets | None = None
        until = self._clock() + FAILURE_SECONDS
        try:
            targets = self._allowed(destination, await self._resolver.resolve(destination))
            until = targets.until
        except (ResolveError, OSError):
            pass  # remembered for a while, too
        except Exception:  # whatever it is, the deliveries that wait must end
            log.exception("name not resolved", name=destination.host)
        finally:
            waiting = self._resolving.pop(destination)
        if len(self._cache) >= MAX_CACHED:
            for oldest in list(self._cache)[: MAX_CACHED // 10]:
                del self._cache[oldest]
        self._cache[destination] = (until, targets)
        for found in waiting:
            try:
                found(targets)
            except Exception:  # whatever it is, other deliveries wait for the same name
                log.exception("delivery not continued", name=destination.host)


def _literal(destination: Destination) -> Targets | None:
    hop = destination.literal
    return None if hop is None else Targets.of([[SrvTarget(0, (hop,))]])


def next_hops_of(
    settings: Settings, resolver: Resolver, own: OwnAddresses, clock: Callable[[], float]
) -> NextHops:
    """The next hops of an edge with these settings. ``clock`` is monotonic, in seconds."""
    destinations = Destinations(
        settings.destination_networks, settings.destination_networks_denied, settings.destination_domains
    )
    return NextHops(resolver, settings.outbound_proxy, destinations, own, clock)
