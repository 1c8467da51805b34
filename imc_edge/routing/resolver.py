"""RFC 3263: from the host of a SIP URI to transports, addresses and ports."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver

from imc_common.errors import ImcError
from imc_common.sip.ports import DEFAULT_PORTS
from imc_common.sip.uri import Uri
from imc_edge.flow import Hop
from imc_edge.routing.targets import SrvTarget, Targets

MAX_RECORDS: Final = 16
"""Records of one DNS response that are used."""
MAX_LOOKUPS: Final = 40
"""DNS questions for one destination: NAPTR, SRV, and the addresses of `MAX_RECORDS` hosts. Without a limit
there could be hundreds, because each NAPTR record names a service, and each service has many hosts."""
MIN_TTL: Final = 1.0
MAX_TTL: Final = 3600.0
_PREFIXES = {"udp": "_sip._udp", "tcp": "_sip._tcp", "tls": "_sips._tcp"}
_SERVICES = {"SIP+D2U": "udp", "SIP+D2T": "tcp", "SIPS+D2T": "tls"}


class ResolveError(ImcError):
    """A destination that cannot be resolved; says why."""


class RefusedError(ResolveError):
    """A URI that no request is sent to, whatever it resolves to."""


class Destination(NamedTuple):
    """The parts of a URI that decide where a request goes; `transport` is empty if the URI leaves it open."""

    host: str
    port: int | None
    transport: str
    secure: bool

    @classmethod
    def of(cls, uri: Uri) -> Destination:
        """The destination of a SIP or SIPS URI. Raises `ResolveError` if no request is sent there.

        `maddr` is refused: it sends a request to another place than the host in the URI.
        """
        params = dict(uri.params)
        if not uri.is_sip or "maddr" in params:
            raise RefusedError(f"no request is sent to {uri}")
        transport = (params.get("transport") or "").lower()
        secure = uri.scheme == "sips"
        if transport not in {"", *DEFAULT_PORTS} or (secure and transport == "udp"):
            raise ResolveError(f"transport {transport} is not supported")
        if secure and transport:
            transport = "tls"  # RFC 3261 §26.2.2: sips over tcp is TLS
        return cls(uri.host, uri.port, transport, secure)

    @property
    def literal(self) -> Hop | None:
        """The hop, if the host is an IP address: no DNS is needed (RFC 3263 §4.1, §4.2)."""
        try:
            address = str(ipaddress.ip_address(self.host.strip("[]")))
        except ValueError:
            return None
        return _hop(self.usual_transport, address, self.usual_port, address)

    @property
    def usual_transport(self) -> str:
        """The one in the URI; without one UDP, or TLS for sips (RFC 3263 §4.1)."""
        return self.transport or ("tls" if self.secure else "udp")

    @property
    def usual_port(self) -> int:
        """The one in the URI; without one the transport's default."""
        return self.port or DEFAULT_PORTS[self.usual_transport]


class Resolver:
    """Resolves names by DNS; remembers nothing (`NextHops` does)."""

    def __init__(
        self, clock: Callable[[], float], dns_resolver: dns.asyncresolver.Resolver | None = None
    ) -> None:
        """``clock`` is monotonic; ``dns_resolver``: None for the one of resolv.conf."""
        self._clock = clock
        self._dns = dns_resolver

    async def resolve(self, destination: Destination) -> Targets:
        """The targets of a destination (RFC 3263 §4). Raises `ResolveError`."""
        literal = destination.literal
        if literal is not None:
            return Targets.of([[SrvTarget(0, (literal,))]])
        search = _Search(self._clock, self._resolver())
        groups = await search.groups(destination)
        if not groups:
            raise ResolveError(f"{destination.host} has no address")
        return Targets.of(groups, self._clock() + min(max(search.ttl, MIN_TTL), MAX_TTL))

    def _resolver(self) -> dns.asyncresolver.Resolver:
        if self._dns is None:
            try:
                self._dns = dns.asyncresolver.Resolver()
            except dns.resolver.NoResolverConfiguration as error:
                raise ResolveError(f"DNS is not configured: {error}") from error
        return self._dns


class _Search:
    """The lookups for one destination; `ttl` is the lowest of the records found."""

    def __init__(self, clock: Callable[[], float], resolver: dns.asyncresolver.Resolver) -> None:
        self._clock = clock
        self._dns = resolver
        self.ttl = MAX_TTL
        self.had_srv = False
        self._lookups = 0

    async def groups(self, to: Destination) -> list[list[SrvTarget]]:
        """NAPTR, SRV, A and AAAA, each only if the URI leaves open what it tells (RFC 3263 §4.1, §4.2)."""
        # RFC 3263 §4.2: a port in the URI rules out SRV, and with it NAPTR
        if to.port is not None:
            return await self._hosts(to.host, to.usual_transport, to.usual_port)
        # RFC 3263 §4.1: NAPTR tells the transport; with none found, each transport's SRV records are tried
        if to.transport:
            services = [(to.transport, f"{_PREFIXES[to.transport]}.{to.host}")]
        else:
            services = await self._naptr(to) or [
                (transport, f"{_PREFIXES[transport]}.{to.host}")
                for transport in (("tls",) if to.secure else ("udp", "tcp", "tls"))
            ]
        for transport, name in services:
            groups = await self._srv(name, transport, to.host)
            if groups:
                return groups
        if self.had_srv:
            return []  # RFC 3263 §4.2: the host's own addresses are used only if there are no SRV records
        return await self._hosts(to.host, to.usual_transport, to.usual_port)

    async def _naptr(self, to: Destination) -> list[tuple[str, str]]:
        """Transports and SRV names by order and preference, of the transports we support (RFC 3263 §4.1)."""
        found = []
        for record in await self._ask(to.host, "NAPTR"):
            service = record.service.decode("ascii", "replace").upper()
            transport = _SERVICES.get(service)
            if record.flags.lower() != b"s" or transport is None or (to.secure and transport != "tls"):
                continue
            found.append((record.order, record.preference, transport, record.replacement.to_text()))
        return [(transport, name) for _, _, transport, name in sorted(found)]

    async def _srv(self, name: str, transport: str, server_name: str) -> list[list[SrvTarget]]:
        """SRV records by priority, with the addresses of their targets (RFC 3263 §4.2, RFC 2782)."""
        by_priority: dict[int, list[SrvTarget]] = {}
        for record in await self._ask(name, "SRV"):
            self.had_srv = True
            if record.target == dns.name.root:
                continue  # RFC 2782: "the service is decidedly not available at this domain"
            hops = await self._addresses(record.target.to_text(), transport, record.port, server_name)
            if hops:
                by_priority.setdefault(record.priority, []).append(SrvTarget(record.weight, hops))
        return [by_priority[priority] for priority in sorted(by_priority)]

    async def _hosts(self, host: str, transport: str, port: int) -> list[list[SrvTarget]]:
        hops = await self._addresses(host, transport, port, host)
        return [[SrvTarget(0, hops)]] if hops else []

    async def _addresses(self, host: str, transport: str, port: int, server_name: str) -> tuple[Hop, ...]:
        """The host's addresses, A before AAAA: a host with both is tried by IPv4 first."""
        records = [*await self._ask(host, "A"), *await self._ask(host, "AAAA")]
        return tuple([_hop(transport, record.address, port, server_name) for record in records])

    async def _ask(self, name: str, kind: str) -> Sequence[Any]:
        """The records of one name and type, perhaps none. Raises `ResolveError` if no server responds.

        None after `MAX_LOOKUPS`.
        """
        if self._lookups >= MAX_LOOKUPS:
            return ()
        self._lookups += 1
        try:
            # the dot at the end keeps resolv.conf's search list from being used
            absolute = dns.name.from_text(name if name.endswith(".") else name + ".")
            response = await self._dns.resolve(absolute, kind, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return ()
        except dns.exception.DNSException as error:
            raise ResolveError(f"{name} {kind}: {error}") from error
        if response.rrset is None:
            return ()
        self.ttl = min(self.ttl, int(response.chaining_result.minimum_ttl))  # including that of aliases
        return list(response.rrset)[:MAX_RECORDS]


def _hop(transport: str, address: str, port: int, server_name: str) -> Hop:
    """A hop; only TLS keeps the name, so that without it one place is one hop, whatever names it has."""
    return Hop(transport, address, port, server_name if transport == "tls" else "")
