"""Recorded requests, sent again with something changed: the real authenticator on a real Redis."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from imc_common.sip.auth import Challenge
from tests.imc_edge.doubles import edge, message
from tests.imc_edge.identity.real_edges import EVE, URI, credentials, service, signed

CHANGES: dict[str, dict[str, Any]] = {
    "the body": {"body": b"#add sip:eve@example.org"},
    "one letter of the body": {"body": b"hellO"},
    "the room": {"To": "<sip:chat-001@example.org>"},
    "a room in another shard": {"To": "<sip:chat-002@example.org>"},
    "a room and its port": {"To": "<sip:chat-000@example.org:5070>"},
    "the content type": {"Content_Type": "text/html"},
    "the charset": {"Content_Type": "text/plain;charset=latin-1"},
    "the name shown": {"From": '"Root" <sip:alice@example.org>;tag=1928'},
    "the sender's port": {"From": '"Alice" <sip:alice@example.org:99>;tag=1928'},
    "when it expires": {"Expires": "100"},
    "when it was written": {"Date": "Sat, 13 Nov 2010 23:29:00 GMT"},
    "Call-ID": {"call_id": "another"},
    "the tag": {"From": '"Alice" <sip:alice@example.org>;tag=2'},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_a_nonce_count_is_good_for_one_request_and_all_that_it_says(change: dict[str, Any]) -> None:
    """At both edges, in any shard: whatever has an effect was noted with the count."""
    async with service(edges=2) as at:
        authorization = credentials(await at.challenge())
        assert (await at.ask(signed(authorization))).status == 202
        for number in (0, 1):
            response = await at.ask(signed(authorization, **change), number)
            assert response.status == 401
            assert Challenge.parse(response.headers.get_all("WWW-Authenticate")[0]).stale
        assert [request[b"room"] for request in await at.requests()] == [b"chat-000@example.org"]


async def test_one_recording_makes_no_rooms() -> None:
    """In none of the shards, though each of them remembers only its own requests."""
    async with service() as at:
        authorization = credentials(await at.challenge())
        assert (await at.ask(signed(authorization, body=b"#create"))).status == 202
        for number in range(1, 40):
            replay = signed(authorization, body=b"#create", To=f"<sip:chat-{number:03}@example.org>")
            assert (await at.ask(replay)).status == 401
        assert len(await at.requests()) == 1


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"Via": "SIP/2.0/UDP 192.0.2.77:5062;branch=z9hG4bKother;rport"},
        {"Max_Forwards": "69"},
        {"uri": f"{URI};transport=udp"},
        {"lines": ["Via: SIP/2.0/UDP 203.0.113.5;branch=z9hG4bK9"]},
    ],
    ids=["the same bytes", "another Via", "another Max-Forwards", "a parameter of the URI", "two Vias"],
)
async def test_a_retransmission_is_no_replay(change: dict[str, Any]) -> None:
    """Nor is a retry by a balancer, at another edge: it gets the same response and is accepted once."""
    async with service(edges=2) as at:
        authorization = credentials(await at.challenge())
        first = await at.ask(signed(authorization))
        again = await at.ask(signed(authorization, **change), 1)
        assert (first.status, again.status, again.to.tag) == (202, 202, first.to.tag)
        assert len(await at.requests()) == 1


async def test_copies_at_the_same_moment_with_different_bodies_are_accepted_once() -> None:
    """Who comes first has the count, at whichever edge."""
    async with service(edges=2) as at:
        authorization = credentials(await at.challenge())
        responses = await asyncio.gather(
            *(at.ask(signed(authorization, body=b"%d" % number), number % 2) for number in range(20))
        )
        assert sorted(response.status for response in responses) == [202] + [401] * 19
        assert len(await at.requests()) == 1


@pytest.mark.parametrize("first", ["alice", "eve"])
async def test_a_request_with_another_users_identifiers_is_another_request(first: str) -> None:
    """Eve knows Call-ID, CSeq and tag of Alice's next message, and still cannot take its place."""
    order = ("alice", "eve") if first == "alice" else ("eve", "alice")
    async with service() as at:
        for user in order:
            sender = f"<sip:{user}@example.org>;tag=1928"
            told = await at.challenge(user=f"{user}@example.org")
            request = signed(credentials(told, user=user), body=user.encode(), From=sender)
            assert (await at.ask(request)).status == 202
        assert [request[b"from"].decode() for request in await at.requests()] == [
            f"{user}@example.org" for user in order
        ]


async def test_with_asserted_identities_the_asserted_one_is_part_of_the_identity() -> None:
    """From is the same for both. A CANCEL finds the request with the same assertion only."""
    asserted = [[f"P-Asserted-Identity: <sip:{user}>"] for user in ("bob@example.org", EVE)]
    async with edge(identity="asserted") as at:
        for lines in asserted:
            assert (await at.ask_one(message(lines=lines))).status == 202
        assert len({digest for digest, _ in at.store._seen}) == 1  # one shard
        assert len(at.store._seen) == 2
        cancel = {"method": "CANCEL", "body": b""}
        assert (await at.ask_one(message(lines=asserted[0], **cancel))).status == 200
        other = ["P-Asserted-Identity: <sip:carol@example.org>"]
        assert (await at.ask_one(message(lines=other, **cancel))).status == 481
