"""What a nonce is good for: many requests, each nonce count for one of them, for a limited time.

Tests of `authenticator.py` (RFC 7616 §3.3, §3.4).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from imc_common import keys
from imc_common.rooms.request import RETRANSMISSION_SECONDS
from tests.imc_edge.doubles import Edge, FakeFlow
from tests.imc_edge.identity.fake_edges import (
    ask,
    challenges,
    credentials,
    first_challenge,
    requests_in,
    service,
    signed,
)
from tests.patience import PATIENCE


async def test_a_nonce_serves_many_requests_at_every_edge() -> None:
    """Each with another nonce count, in any order."""
    async with service() as one, service(one.store) as other:  # type: ignore[arg-type]
        told = await first_challenge(one)
        for count, at in [(1, other), (3, one), (2, other)]:
            response = await ask(at, signed(credentials(told, count), f"message {count}".replace(" ", "-")))
            assert response.status == 202
        assert await requests_in(one) == 3


async def test_a_replay_is_refused_at_every_edge() -> None:
    """RFC 7616 §3.4; also with a new cnonce for a count that was used."""
    async with service() as one, service(one.store) as other:  # type: ignore[arg-type]
        told = await first_challenge(one)
        assert (await ask(one, signed(credentials(told)))).status == 202
        for again in (credentials(told), credentials(told, cnonce="another")):
            for at in (one, other):
                response = await ask(at, signed(again, "replay"))
                assert response.status == 401
                assert all(each.stale for each in challenges(response))
        assert await requests_in(one) == 1


async def test_a_retransmission_with_credentials_gets_the_same_response_at_every_edge() -> None:
    """RFC 3261 §8.2.7: it is no replay, though credentials and nonce count are the same."""
    async with service() as one, service(one.store) as other:  # type: ignore[arg-type]
        request = signed(credentials(await first_challenge(one)))
        responses = [(await ask(at, request)) for at in (one, other, one)]
        assert [(response.status, response.to.tag) for response in responses] == [
            (202, responses[0].to.tag)
        ] * 3
        assert await requests_in(one) == 1


async def test_a_replay_of_the_whole_request_is_refused_once_it_is_forgotten() -> None:
    """Duplicates are known for 64 s. A nonce may last longer, but its used counts are still used."""
    async with service() as at:
        request = signed(credentials(await first_challenge(at)))
        assert (await ask(at, request)).status == 202
        shard = keys.shard_of("chat-000@example.org", 4)
        forgotten = await at.store.run([("DEL", keys.seen(shard, "recent"))])  # type: ignore[arg-type]
        assert forgotten == [1]
        await minute_passes(at)
        response = await ask(at, request)
        assert (response.status, challenges(response)[0].stale) == (401, True)
        assert await requests_in(at) == 1


async def minute_passes(at: Edge) -> None:
    """As far as the use of a nonce count in Redis is concerned."""
    client = at.store._client  # type: ignore[attr-defined]
    (use,) = await client.keys("imc:*:nonce:*")
    await client.pexpire(use, await client.pttl(use) - 60_000)


@asynccontextmanager
async def stopped_before_accepting(at: Edge, request: bytes) -> AsyncIterator[tuple[FakeFlow, asyncio.Event]]:
    """An edge that has noted the use of the nonce and then stops, until the event is set."""
    store: Any = at.store
    run, go_on, flow = store.run, asyncio.Event(), FakeFlow()

    async def stopped(commands: Any, **options: Any) -> list[Any]:
        await go_on.wait()
        return list(await run(commands, **options))

    store.run = stopped
    at.acceptor.receive(request, flow)
    async with asyncio.timeout(PATIENCE):
        while not await store._client.keys("imc:*:nonce:*"):
            await asyncio.sleep(0.001)
        while not len(at.acceptor.commit):
            await asyncio.sleep(0.001)
    await at.settle()
    store.run = run
    yield flow, go_on


async def test_a_retransmission_is_accepted_if_its_first_edge_stopped_after_noting_the_nonce() -> None:
    """After a 401 the client would send it again as a new request. If the edge goes on, both are one."""
    async with service() as one, service(one.store) as other:  # type: ignore[arg-type]
        request = signed(credentials(await first_challenge(one)))
        async with stopped_before_accepting(one, request) as (flow, go_on):
            assert (await ask(other, request)).status == 202
            assert flow.sent == []
            go_on.set()
            await one.acceptor.commit.drain(asyncio.get_running_loop().time() + PATIENCE)
        assert [response.status for response in flow.responses] == [202]
        assert await requests_in(one) == 1


async def test_a_request_that_was_never_accepted_is_refused_after_the_retransmission_time() -> None:
    """Its edge died. An attacker who recorded it must not be able to send it as long as the nonce lasts."""
    async with service() as one, service(one.store) as other:  # type: ignore[arg-type]
        request = signed(credentials(await first_challenge(one)))
        async with stopped_before_accepting(one, request):
            await minute_passes(one)
            response = await ask(other, request)
        assert (response.status, challenges(response)[0].stale) == (401, True)
        assert await requests_in(one) == 0


async def test_an_expired_nonce_is_stale() -> None:
    """RFC 7616 §3.3: the client may try the new one without asking its user."""
    async with service(digest_nonce_ttl="60") as at:
        told = await first_challenge(at)
        at.now += 59
        assert (await ask(at, signed(credentials(told)))).status == 202
        at.now += 2
        response = await ask(at, signed(credentials(told, 2), "third"))
        assert (response.status, [each.stale for each in challenges(response)]) == (401, [True, True])
        assert (await ask(at, signed(credentials(challenges(response)[0]), "fourth"))).status == 202


async def test_a_retransmission_gets_202_for_64_s_after_its_nonce_expired() -> None:
    """After a 401 the client would send it again as a new request."""
    async with service(digest_nonce_ttl="60") as at:
        request = signed(credentials(await first_challenge(at)))
        at.now += 59
        assert (await ask(at, request)).status == 202
        at.now += RETRANSMISSION_SECONDS
        assert (await ask(at, request)).status == 202
        at.now += 2
        assert (await ask(at, request)).status == 401
        assert await requests_in(at) == 1


@pytest.mark.parametrize(
    "nonce", ["", "x", "ä", "AAAA", "A" * 39, "A" * 1500, "!" * 39, 'a"b'], ids=lambda nonce: nonce[:5]
)
async def test_a_forged_nonce_is_stale_and_asks_redis_nothing(nonce: str) -> None:
    """It looks like one of ours that was made long ago."""
    async with service() as at:
        told = await first_challenge(at)
        ran = len(at.store.ran)  # type: ignore[attr-defined]
        response = await ask(at, signed(credentials(told, nonce=nonce or "-")))
        assert (response.status, challenges(response)[0].stale) == (401, True)
        assert len(at.store.ran) == ran  # type: ignore[attr-defined]


async def test_a_nonce_serves_one_realm_only() -> None:
    """The users of one domain share no nonces with those of another."""
    async with service() as at:
        told = await first_challenge(at, From="<sip:alice@other.example>;tag=1")
        assert told.realm == "other.example"
        response = await ask(at, signed(credentials(told, realm="example.org")))
        assert (response.status, challenges(response)[0].stale) == (401, True)
