"""OPTIONS (RFC 3261 §11, rule 3)."""

from __future__ import annotations

import pytest

from imc_common.store import StoreUnreachable
from tests.imc_edge.doubles import edge, message


@pytest.mark.parametrize(
    "uri", ["sip:chat-000@example.org", "sip:192.0.2.7", "sip:192.0.2.7:5060;transport=udp"]
)
async def test_options_tells_what_we_can_whatever_it_is_addressed_to(uri: str) -> None:
    """Balancers ping without a user part."""
    async with edge(domains=["example.org"]) as at:
        answer = await at.ask_one(message(b"", method="OPTIONS", uri=uri, To=f"<{uri}>", Max_Forwards="0"))
        assert answer.status == 200
        assert answer.headers.get("Allow") == "MESSAGE, OPTIONS, CANCEL"
        assert (answer.headers.get("Accept") or "").startswith("text/*, ")
        assert answer.headers.get("Accept-Encoding") == "identity"
        assert answer.headers.get("Accept-Language") == "en"
        assert answer.headers.get("Supported") == ""
        assert at.store.entries == []


async def test_text_plain_is_always_told() -> None:
    """RFC 3428 §9: it must be taken."""
    async with edge(accept_types=["message/cpim"]) as at:
        answer = await at.ask_one(message(b"", method="OPTIONS"))
        assert answer.headers.get("Accept") == "text/plain, message/cpim"
        assert (await at.ask_one(message())).status == 202


async def test_options_is_503_while_draining() -> None:
    """So that the balancer takes us out before we go."""
    async with edge() as at:
        at.health.drain()
        answer = await at.ask_one(message(b"", method="OPTIONS"))
        assert answer.status == 503
        assert answer.headers.get("Retry-After")


async def test_options_is_503_while_redis_is_out_of_reach_and_200_when_it_is_back() -> None:
    """Seen by the look at Redis once a second."""

    def fail(command: object) -> object:
        raise StoreUnreachable("gone")

    async with edge() as at:
        at.store.reply = fail
        await at.health.check()
        assert (await at.ask_one(message(b"", method="OPTIONS"))).status == 503
        at.store.reply = at.store.remember
        await at.health.check()
        assert (await at.ask_one(message(b"", method="OPTIONS"))).status == 200


async def test_options_is_503_while_a_shard_is_over_its_backlog() -> None:
    """`max_backlog` entries wait for workers."""
    async with edge(max_backlog=100) as at:
        at.store.reply = lambda command: 100
        await at.health.check()
        assert (await at.ask_one(message(b"", method="OPTIONS"))).status == 503


async def test_an_unknown_option_tag_is_refused() -> None:
    """RFC 3261 §8.2.2.3 holds for OPTIONS, too."""
    async with edge() as at:
        answer = await at.ask_one(message(b"", method="OPTIONS", Require="x"))
        assert (answer.status, answer.headers.get("Unsupported")) == (420, "x")
