"""The next hop of a delivery: `outbound_proxy` if there is one, else where the recipient's URI leads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from imc_common.sip.uri import Uri
from imc_edge.flow import Hop
from imc_edge.routing.destinations import Destinations
from imc_edge.routing.own_addresses import OwnAddresses
from imc_edge.routing.resolver import Destination, RefusedError, ResolveError, Resolver
from imc_edge.routing.targets import NOWHERE, Targets, Weighted

MAX_CACHED: Final = 10_000
"""Destinations kept; past it the oldest go."""
FAILURE_SECONDS: Final = 5.0
"""For so long a destination that led nowhere is not asked for again."""

Found = Callable[[Targets | None], None]


class NextHops:
    """Finds and keeps the targets of destinations for their time to live."""

    def __init__(
        self,
        resolver: Resolver,
        outbound_proxy: str,
        destinations: Destinations,
        own: OwnAddresses,
        clock: Callable[[], float],
    ) -> None:
        """Nothing but what comes of ``outbound_proxy`` leads elsewhere than ``destinations`` allow, or to an
        edge of ours.
        """
        self._resolver = resolver
        self._destinations = destinations
        self._own = own
        self._clock = clock
        self._proxy = Destination.of(Uri.parse(outbound_proxy)) if outbound_proxy else None
        self.proxy_targets = _literal(self._proxy) if self._proxy else None
        """Where all requests go; None if that needs to be asked for, or differs."""
        self._cache: dict[Destination, tuple[float, Targets | None]] = {}
        self._asking: dict[Destination, list[Found]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def known(self, uri: str) -> Targets | None:
        """The targets of this Request-URI, if nobody has to be asked now; `find` gives the others."""
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

        However many deliveries wait for one destination, it is asked for once.
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
        waiting = self._asking.get(destination)
        if waiting is not None:
            waiting.append(found)
            return
        self._asking[destination] = [found]
        task = asyncio.get_running_loop().create_task(self._ask(destination))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Stop asking."""
        for task in self._tasks:
            task.cancel()

    def _destination(self, uri: str) -> Destination:
        return self._proxy or Destination.of(Uri.parse(uri))

    def _allowed(self, destination: Destination, targets: Targets) -> Targets:
        """The targets that deliveries may go to; all of them, if they are the proxy's."""
        return targets if destination is self._proxy else targets.only(self._allows)

    def _allows(self, hop: Hop) -> bool:
        return self._destinations.allows_address(hop.host) and hop not in self._own

    async def _ask(self, destination: Destination) -> None:
        targets: Targets | None = None
        until = self._clock() + FAILURE_SECONDS
        try:
            targets = self._allowed(destination, await self._resolver.resolve(destination))
            until = targets.until
        except ResolveError:
            pass  # kept as leading nowhere for a while
        finally:
            waiting = self._asking.pop(destination)
        if len(self._cache) >= MAX_CACHED:
            for oldest in list(self._cache)[: MAX_CACHED // 10]:
                del self._cache[oldest]
        self._cache[destination] = (until, targets)
        for found in waiting:
            found(targets)


def _literal(destination: Destination) -> Targets | None:
    hop = destination.literal
    return None if hop is None else Targets.of([[Weighted(0, (hop,))]])
