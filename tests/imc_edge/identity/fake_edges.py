"""An edge that asks for passwords, on an imitated Redis, and what its clients send."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from imc_common import keys
from imc_common.sip import Response
from imc_common.sip.auth import Authorization, Challenge
from imc_common.sip.digest import digest, digest_response
from imc_common.users import Users, hashes_of
from tests.fake_store import FakeStore
from tests.imc_edge.doubles import Edge, FakeFlow, edge, message

ALICE, PASSWORD = "alice@example.org", "wonder land"
URI = "sip:chat-000@example.org"
ALL = ("SHA-512-256", "SHA-256", "MD5")


@asynccontextmanager
async def service(store: FakeStore | None = None, **settings: Any) -> AsyncIterator[Edge]:
    """An edge that authenticates by password, with the users Alice and Bob."""
    own = store is None
    store = store or FakeStore()
    if own:
        for user in (ALICE, "bob@example.org", "alice@other.example"):
            await Users(store).add(user, hashes_of(user, PASSWORD, ALL))
    async with edge(store, identity="digest", **settings) as at:
        yield at


async def ask(at: Edge, data: bytes, peer: str = "192.0.2.1") -> Response:
    """The one response, which may take several round trips to Redis."""
    flow = FakeFlow("udp", (peer, 5062))
    at.acceptor.receive(data, flow)
    for _ in range(2000):
        if flow.sent:
            break
        await asyncio.sleep(0.001)
    (response,) = flow.responses
    return response


def challenges(response: Response) -> list[Challenge]:
    return [Challenge.parse(value) for value in response.headers.get_all("WWW-Authenticate")]


def credentials(
    challenge: Challenge, count: int = 1, password: str = PASSWORD, method: str = "MESSAGE", **other: Any
) -> str:
    """The value of Authorization for a challenge; ``other`` replaces the right parameters."""
    user, realm = other.get("username", "alice"), other.get("realm", challenge.realm)
    given: dict[str, Any] = {
        "username": user,
        "realm": realm,
        "nonce": challenge.nonce,
        "uri": URI,
        "algorithm": challenge.algorithm,
        "cnonce": "0a4f113b",
        "count": f"{count:08x}" if count else "",
    } | other
    ha1 = digest(given["algorithm"], f"{user}:{realm}:{password}")
    response = digest_response(
        given["algorithm"],
        ha1,
        method,
        given["uri"],
        given["nonce"],
        cnonce=given["cnonce"],
        count=given["count"],
    )
    return str(Authorization(**{"response": response} | given))


def signed(authorization: str, call_id: str = "second", **headers: str) -> bytes:
    return message(lines=[f"Authorization: {authorization}"], Call_ID=call_id, CSeq="2 MESSAGE", **headers)


async def first_challenge(at: Edge, **headers: str) -> Challenge:
    return challenges(await ask(at, message(Call_ID="first", **headers)))[0]


async def requests_in(at: Edge) -> int:
    commands: list[Any] = [("XLEN", keys.requests(shard)) for shard in range(16)]
    return sum(await at.store.run(commands))  # type: ignore[arg-type]
