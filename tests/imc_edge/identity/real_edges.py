"""Edges that ask for passwords, on a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import count
from typing import Any

from imc_common import keys
from imc_common.settings import Settings
from imc_common.sip import Response
from imc_common.sip.auth import Authorization, Challenge
from imc_common.sip.digest import digest, digest_response
from imc_common.store import Store, StoreUnreachable
from imc_common.users import Users, hashes_of
from tests.imc_edge.doubles import Edge, FakeFlow, edge, message
from tests.patience import PATIENCE
from tests.servers import redis_alone

ALICE, EVE, PASSWORD = "alice@example.org", "eve@example.org", "wonder land"
URI = "sip:chat-000@example.org"


class Service:
    """Some edges that share one Redis; Alice and Eve have the same password."""

    def __init__(self, store: Store, edges: list[Edge]) -> None:
        self.store = store
        self.edges = edges
        self._number = count()

    async def ask(self, data: bytes, at: int = 0, peer: str = "198.51.100.1") -> Response:
        """The one response of an edge to a datagram."""
        flow = FakeFlow("udp", (peer, 5062))
        edge_ = self.edges[at]
        edge_.acceptor.receive(data, flow)
        async with asyncio.timeout(PATIENCE):
            while not flow.sent:
                await asyncio.sleep(0.001)
        (response,) = flow.responses
        return response

    async def challenge(self, at: int = 0, user: str = ALICE, peer: str = "198.51.100.1") -> Challenge:
        """The challenge for a user's first request."""
        first = message(Call_ID=f"first-{next(self._number)}", From=f"<sip:{user}>;tag=1")
        response = await self.ask(first, at, peer)
        assert response.status == 401
        return Challenge.parse(response.headers.get_all("WWW-Authenticate")[0])

    async def requests(self) -> list[dict[bytes, bytes]]:
        """The fields of all accepted requests, by shard."""
        shards = range(1 << self.edges[0].settings.hash_size)
        streams = await self.store.run([("XRANGE", keys.requests(shard), "-", "+") for shard in shards])
        return [
            dict(zip(fields[::2], fields[1::2], strict=True)) for stream in streams for _, fields in stream
        ]

    async def keys(self, pattern: str) -> list[str]:
        """The names of keys."""
        (found,) = await self.store.run([("KEYS", pattern)])
        return sorted(key.decode() for key in found)


async def reached(url: str) -> Store:
    """A store, however long the machine takes to reply."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(StoreUnreachable):
                return await Store.connect(Settings(db_url=url))


@asynccontextmanager
async def service(edges: int = 1, **settings: Any) -> AsyncIterator[Service]:
    """A Redis, and edges that challenge."""
    with redis_alone() as server:
        store = await reached(server.url)
        try:
            for user in (ALICE, EVE):
                await Users(store).add(user, hashes_of(user, PASSWORD, ("SHA-512-256", "SHA-256", "MD5")))
            async with AsyncExitStack() as stack:
                made = [
                    await stack.enter_async_context(
                        edge(store, **{"identity": "digest", "max_requests_per_source": "0"} | settings)
                    )
                    for _ in range(edges)
                ]
                yield Service(store, made)
        finally:
            await store.close()


def credentials(
    challenge: Challenge, number: int = 1, password: str = PASSWORD, user: str = "alice", uri: str = URI
) -> str:
    """The value of Authorization for a challenge; ``number`` is the nonce count."""
    nc = f"{number:08x}"
    ha1 = digest(challenge.algorithm, f"{user}:{challenge.realm}:{password}")
    response = digest_response(
        challenge.algorithm, ha1, "MESSAGE", uri, challenge.nonce, cnonce="0a4f113b", count=nc
    )
    given = Authorization(
        user, challenge.realm, challenge.nonce, uri, response, challenge.algorithm, "0a4f113b", nc
    )
    return str(given)


def signed(authorization: str, call_id: str = "second", body: bytes = b"hello", **changes: Any) -> bytes:
    """A request with credentials; ``changes`` as for `message`."""
    lines = [f"Authorization: {authorization}", *changes.pop("lines", ())]
    return message(body, lines=lines, Call_ID=call_id, CSeq="2 MESSAGE", **changes)
