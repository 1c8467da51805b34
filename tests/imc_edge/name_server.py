"""A small DNS server on loopback; the zone is given as text."""

from __future__ import annotations

import asyncio
from collections import Counter

import dns.asyncresolver
import dns.flags
import dns.message
import dns.rcode
import dns.zone


class NameServer(asyncio.DatagramProtocol):
    """Serves one zone, and counts the queries. Queries for names with ``silent`` in them get no response."""

    def __init__(self, zone: str) -> None:
        self.zone = dns.zone.from_text(zone, origin="example.org.", relativize=False, check_origin=False)
        self.questions: Counter[str] = Counter()

    async def __aenter__(self) -> NameServer:
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.transport.close()

    def resolver(self) -> dns.asyncresolver.Resolver:
        """A dnspython resolver that uses this server only."""
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers = ["127.0.0.1"]
        resolver.port = self.transport.get_extra_info("sockname")[1]
        resolver.lifetime = 0.5
        return resolver

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """asyncio: respond to one query."""
        query = dns.message.from_wire(data)
        question = query.question[0]
        self.questions[question.to_text().replace(" IN", "")] += 1
        if "silent" in question.name.to_text():
            return
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA
        found = self.zone.get_rrset(question.name, question.rdtype)
        if found is not None:
            response.answer.append(found)
        elif self.zone.get_node(question.name) is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        self.transport.sendto(response.to_wire(), addr)
