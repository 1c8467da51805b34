"""OPTIONS (RFC 3261 §11)."""

from __future__ import annotations

import pytest

from imc_common.settings import Settings
from imc_common.store import StoreUnreachable
from tests.imc_edge.doubles import edge, message


@pytest.mark.parametrize(
    "uri", ["sip:chat-000@example.org", "sip:192.0.2.7", "sip:192.0.2.7:5060;transport=udp"]
)
async def test_options_lists_what_is_supported_for_every_address(uri: str) -> None:
    """Balancers ping without a user part."""
    async with edge(domains=["example.org"]) as at:
        response = await at.ask_one(message(b"", method="OPTIONS", uri=uri, To=f"<{uri}>", Max_Forwards="0"))
        assert response.status == 200
        allowed = "MESSAGE, OPTIONS, CANCEL, ACK, INVITE, BYE, REFER, SUBSCRIBE, REGISTER"
        assert response.headers.get("Allow") == allowed
        assert (response.headers.get("Accept") or "").startswith("text/*, ")
        assert response.headers.get("Accept-Encoding") == "deflate, gzip"
        assert response.headers.get("Accept-Language") == "en"
        supported = "recipient-list-invite, recipient-list-subscribe, eventlist, gruu, norefersub, nosub"
        assert response.headers.get("Supported") == supported
        assert response.headers.get("Allow-Events") == "conference"
        assert at.store.entries == []


async def test_options_to_a_room_says_that_it_is_a_focus() -> None:
    """RFC 4579 §5.14; of every address that can be one."""
    async with edge(domains=["example.org"]) as at:
        for uri, contact in (
            ("sip:chat-000@example.org", "<sip:chat-000@example.org>;isfocus;text"),
            ("sips:chat-000@example.org", "<sips:chat-000@example.org>;isfocus;text"),
            ("sip:conference-factory@example.org", None),
            ("sip:chat-000@elsewhere.org", None),
            ("sip:192.0.2.7", None),
        ):
            response = await at.ask_one(message(b"", method="OPTIONS", uri=uri))
            assert (response.status, response.headers.get("Contact")) == (200, contact)
    async with edge(conference_factory="") as at:
        assert (await at.ask_one(message(b"", method="OPTIONS"))).headers.get("Contact") is None


async def test_without_a_conference_factory_only_messages_are_supported() -> None:
    """No client is led to send what would be refused."""
    async with edge(conference_factory="") as at:
        response = await at.ask_one(message(b"", method="OPTIONS"))
        assert response.headers.get("Allow") == "MESSAGE, OPTIONS, CANCEL, REGISTER"
        assert response.headers.get("Supported") == ""
        assert "Allow-Events" not in response.headers


async def test_text_plain_is_always_listed() -> None:
    """RFC 3428 §9: it is always accepted."""
    async with edge(accept_types=["message/cpim"]) as at:
        response = await at.ask_one(message(b"", method="OPTIONS"))
        assert response.headers.get("Accept") == "text/plain, message/cpim"
        assert (await at.ask_one(message())).status == 202


@pytest.mark.parametrize("factory", ["conference-factory", ""])
@pytest.mark.parametrize("trusted", [True, False])
async def test_every_method_that_is_listed_is_taken_and_no_other(factory: str, trusted: bool) -> None:
    """RFC 3261 §11.2, §20.5. A copy of a REGISTER is taken from trusted peers only."""
    peers = "192.0.2.0/24" if trusted else "10.0.0.0/8"
    async with edge(conference_factory=factory, trusted_peers=peers) as at:
        response = await at.ask_one(message(b"", method="OPTIONS"))
        allowed = (response.headers.get("Allow") or "").split(", ")
        assert ("REGISTER" in allowed) == trusted
        methods = {*allowed, "INVITE", "BYE", "REFER", "SUBSCRIBE", "REGISTER", "NOTIFY", "INFO", "PUBLISH"}
        for method in methods - {"ACK"}:  # it has no response
            if method == "REGISTER" and trusted:
                to = {"To": "<sip:alice@example.org>"}
                data = message(b"", method=method, uri="sip:example.org", Call_ID=method, **to)
            else:
                data = message(b"", method=method, Call_ID=method)
            refused = await at.ask_one(data)
            assert (refused.status == 405) == (method not in allowed), method
            if refused.status == 405:
                assert refused.headers.get("Allow") == ", ".join(allowed)


async def test_every_type_that_is_listed_is_taken_at_this_address() -> None:
    """Lists of users at the factory only."""
    lists = "application/resource-lists+xml"
    async with edge(domains=["example.org"]) as at:
        for uri, has_lists in (
            ("sip:conference-factory@example.org", True),
            ("sip:chat-000@example.org", False),
            ("sip:192.0.2.7", False),
        ):
            response = await at.ask_one(message(b"", method="OPTIONS", uri=uri))
            assert (lists in (response.headers.get("Accept") or "")) == has_lists
        refused = await at.ask_one(message(b"<x/>", Content_Type=lists))
        assert (refused.status, refused.headers.get("Accept")) == (415, ", ".join(Settings().accept_types))


async def test_options_gets_503_while_the_edge_drains() -> None:
    """So that the balancer uses other edges before this one ends."""
    async with edge() as at:
        at.health.drain()
        response = await at.ask_one(message(b"", method="OPTIONS"))
        assert response.status == 503
        assert response.headers.get("Retry-After")


async def test_options_gets_503_while_redis_is_unreachable_and_200_after() -> None:
    """As the check of Redis once a second finds."""

    def fail(command: object) -> object:
        raise StoreUnreachable("gone")

    async with edge() as at:
        at.store.reply = fail
        await at.health.check()
        assert (await at.ask_one(message(b"", method="OPTIONS"))).status == 503
        at.store.reply = at.store.remember
        await at.health.check()
        assert (await at.ask_one(message(b"", method="OPTIONS"))).status == 200


async def test_options_gets_503_while_a_backlog_is_too_long() -> None:
    """`max_backlog` entries wait for workers."""
    async with edge(max_backlog=100) as at:
        at.store.reply = lambda command: 100
        await at.health.check()
        assert (await at.ask_one(message(b"", method="OPTIONS"))).status == 503


async def test_options_with_an_unknown_option_tag_is_refused() -> None:
    """RFC 3261 §8.2.2.3 holds for OPTIONS, too."""
    async with edge() as at:
        response = await at.ask_one(message(b"", method="OPTIONS", Require="x"))
        assert (response.status, response.headers.get("Unsupported")) == (420, "x")
