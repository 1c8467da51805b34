"""Spellings of one user or room give one identity, wherever an address can stand."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.identities import DIFFERENT, ROLES, SAME, Spelling
from tests.conformance.traits.trait import message
from tests.imc_edge.doubles import edge


async def identity(role: str, uri: str, **settings: Any) -> str:
    """The identity that an edge gives to the workers for a URI in one of the ROLES."""
    body, headers, target = b"hello", {}, "sip:room@example.org"
    if role == "From":
        headers = {"From": f"<{uri}>;tag=1928"}
    elif role == "P-Asserted-Identity":
        headers, settings = {"P-Asserted-Identity": f"<{uri}>"}, {"identity": "asserted", **settings}
    elif role == "Request-URI and To":
        headers, target = {"To": f"<{uri}>"}, uri
    else:
        body = role.partition(" ")[0].encode() + b" " + uri.encode()
    async with edge(**settings) as at:
        response = await at.ask_one(message(body, uri=target, **headers))
        assert response.status == 202, response.reason
        (entry,) = at.store.entries
    assert entry.type != "refused", entry.detail
    if role in {"From", "P-Asserted-Identity"}:
        return entry.sender
    return entry.user if role == "#invite USER" else entry.room


def spellings() -> list[object]:
    """Address, spelling and role of every case; what is wrong today is a strict xfail."""
    return [
        pytest.param(
            address,
            spelling,
            role,
            id=f"{spelling.uri} in {role}",
            marks=[pytest.mark.xfail(strict=True, reason=spelling.wrong)]
            * bool(spelling.wrong and role in spelling.wrong_in),
        )
        for address, all_of_it in SAME.items()
        for spelling in all_of_it
        for role in spelling.roles
    ]


@pytest.mark.parametrize(("address", "spelling", "role"), spellings())
async def test_every_spelling_of_an_address_is_the_same_identity(
    address: str, spelling: Spelling, role: str
) -> None:
    """The canonical address, whether it names a user or a room."""
    assert await identity(role, spelling.uri) == address


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("one", "other", "why"), DIFFERENT)
async def test_different_addresses_are_different_identities(
    one: str, other: str, why: str, role: str
) -> None:
    """Two users, or two rooms."""
    assert await identity(role, one) != await identity(role, other), why


@pytest.mark.parametrize("role", ROLES)
async def test_users_that_differ_in_case_are_one_identity_without_case_sensitive_users(role: str) -> None:
    """As Kamailio, OpenSIPS and MySQL compare them."""
    settings = {"case_sensitive_users": False}
    one, other = "sip:Bob@example.org", "sip:bob@example.org"
    assert await identity(role, one, **settings) == await identity(role, other, **settings)


@pytest.mark.parametrize("command", ["#ban", "#unban", "#add", "#invite", "#remove"])
async def test_without_case_sensitive_users_no_command_keeps_the_case_of_a_user(command: str) -> None:
    """So a ban and the limit of owned rooms hold for the user in every case."""
    async with edge(case_sensitive_users=False) as at:
        body = f"{command} sip:EVE@Example.org".encode()
        await at.ask_one(message(body, uri="sip:room@example.org", From="<sip:Alice@example.org>;tag=1"))
        (entry,) = at.store.entries
    assert (entry.user, entry.sender) == ("eve@example.org", "alice@example.org")


async def room_of(target: str, to: str, **settings: Any) -> str | int:
    """The room that a message with this Request-URI and To goes to, or the status that refuses it."""
    async with edge(**settings) as at:
        response = await at.ask_one(message(uri=target, To=to))
        return at.store.entries[0].room if response.status == 202 else response.status


@pytest.mark.parametrize(
    ("target", "to", "room"),
    [
        ("sip:chat-000@example.org", "<sip:team@example.org>", "chat-000@example.org"),
        ("sip:chat-000@example.org", "<sip:example.org>", "chat-000@example.org"),
        ("sip:chat-000@example.org", "<tel:+4930123456>", "chat-000@example.org"),
        ("sip:chat-000@elsewhere.example", "<sip:chat-000@example.org>", 404),
    ],
)
async def test_the_request_uri_decides_on_the_room(target: str, to: str, room: str | int) -> None:
    """RFC 3261 §8.2.2.1: an alias or a forwarding proxy changes the Request-URI and leaves To."""
    assert await room_of(target, to, domains="example.org") == room


async def test_to_decides_on_the_room_with_room_from_to() -> None:
    """`room_from = to`, for configurations that rely on it."""
    found = await room_of("sip:chat-000@example.org", "<sip:team@example.org>", room_from="to")
    assert found == "team@example.org"


async def test_a_short_name_gets_the_domain_of_the_room_without_its_port() -> None:
    """`#invite bob` in a room that is addressed with a port invites bob@example.org."""
    async with edge() as at:
        uri = "sip:room@example.org:5060"
        await at.ask_one(message(b"#invite bob", uri=uri, To=f"<{uri}>"))
        (entry,) = at.store.entries
    assert (entry.user, entry.room) == ("bob@example.org", "room@example.org")
