"""The effect of settings other than the defaults, as users see it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.integration.conftest import OpenUser
from tests.integration.room_steps import short
from tests.integration.service import Service, service
from tests.integration.sip_user import SipUser, notice

pytestmark = pytest.mark.integration

STRICT = {
    "create_on_join": "false",
    "check_on_create": "true",
    "owner_exit": "refuse",
    "domains": "example.org",
    "room_pattern": "room-[0-9a-f]+|room-x[0-9]",
    "imc_cmd_start_char": "!",
    "manager": "helpdesk",
    "sender_prefix": "[{user} at {host}] ",
    "extra_hdrs": "X-Service: chat",
    "max_body": "200",
    "max_members": "3",
    "max_rooms_per_owner": "2",
    "delivery_chunk": "1",
    "rooms_table": "my_rooms",
    "members_table": "my_members",
    "hash_size": "2",
    "accept_types": "text/html",
}


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two edges and two workers with many settings changed."""
    with service(tmp_path_factory.mktemp("strict"), "valkey", STRICT, edges=2, workers=2) as running:
        yield running


@pytest.fixture
async def open_user(strict: Service) -> AsyncIterator[OpenUser]:
    """Opens users of the strict service with names that are new for this test, at its two edges in turn."""
    users: list[SipUser] = []
    test = secrets.token_hex(2)

    async def make(name: str) -> SipUser:
        edge = ("127.0.0.1", strict.ports[len(users) % 2])
        users.append(await SipUser.open(f"{name}-{test}", edge))
        return users[-1]

    yield make
    for user in users:
        user.close()


async def create(owner: SipUser, room: str) -> None:
    """The user creates the room and gets the notice."""
    await owner.say(room, "!create")
    await owner.assert_gets(notice("You have created"))


async def test_joining_an_absent_room_is_refused_without_create_on_join(
    open_user: OpenUser, room: str
) -> None:
    """`create_on_join = false`."""
    alice = await open_user("alice")
    await alice.say(room, "!join")
    await alice.assert_gets(notice("this room does not exist"))


async def test_creating_an_existing_room_is_refused_with_check_on_create(
    open_user: OpenUser, room: str
) -> None:
    """`check_on_create = true`: a stranger does not join, and a member is refused as well."""
    alice, bob = await open_user("alice"), await open_user("bob")
    await create(alice, room)
    await bob.say(room, "!create")
    await bob.assert_gets(notice("already exists"))
    await alice.assert_gets_nothing()


async def test_the_last_owner_cannot_leave_with_owner_exit_refuse(open_user: OpenUser, room: str) -> None:
    """The room still exists afterwards."""
    alice = await open_user("alice")
    await create(alice, room)
    await alice.say(room, "!exit")
    await alice.assert_gets(notice("owner"))
    await alice.say(room, "!list")
    await alice.assert_gets(notice(f"{alice.address} (owner)"))


@pytest.mark.parametrize("uri", ["sip:room-1@example.com", "sip:lobby@example.org"])
async def test_a_room_outside_domains_or_room_pattern_gets_404(open_user: OpenUser, uri: str) -> None:
    """The edge responds at once."""
    alice = await open_user("alice")
    assert (await alice.send(uri, "hello")).code == 404


@pytest.mark.parametrize("argument", ["room-1@example.com", "lobby"])
async def test_a_room_argument_outside_domains_or_room_pattern_is_refused(
    open_user: OpenUser, argument: str
) -> None:
    """The notice repeats the argument."""
    alice = await open_user("alice")
    await alice.say("sip:helpdesk@example.org", f"!create {argument}")
    await alice.assert_gets(notice(argument))


async def test_start_character_prefix_and_extra_headers_are_used(open_user: OpenUser, room: str) -> None:
    """`#help` is an ordinary message; deliveries have the prefix and the extra header."""
    alice, bob = await open_user("alice"), await open_user("bob")
    await create(alice, room)
    await bob.say(room, "!join")
    for one in (alice, bob):
        await one.assert_gets(notice("joined"))
    await bob.say(room, "#help")
    host = bob.address.partition("@")[2]
    received = await alice.assert_gets(rf"\[{bob.name} at {host}\] #help")
    assert received.request.headers["X-Service"] == "chat"
    await bob.say(room, "!help")
    assert "!create [room] [private]" in (await bob.assert_gets(notice("Commands"))).text


async def test_limits_of_body_members_and_rooms_apply(open_user: OpenUser, room: str) -> None:
    """`max_body`, `max_members` and `max_rooms_per_owner`."""
    alice = await open_user("alice")
    assert (await alice.send(room, "x" * 201)).code == 413
    await create(alice, room)
    for number in range(2):
        await alice.say(room, f"!add u{number}@127.0.0.1:9")
        await alice.assert_gets(notice(f"u{number}@127.0.0.1:9"))
    await alice.say(room, "!add u3@127.0.0.1:9")
    await alice.assert_gets(notice("full"))
    await create(alice, "sip:room-x1@example.org")
    await alice.say("sip:room-x2@example.org", "!create")
    await alice.assert_gets(notice("cannot own more rooms"))
    for uri in (room, "sip:room-x1@example.org"):
        await alice.say(uri, "!destroy")
        await alice.assert_gets(notice("deleted this room"))


async def test_other_types_than_accept_types_get_415(open_user: OpenUser, room: str) -> None:
    """Accept lists the accepted types (RFC 3261 §21.4.13)."""
    alice = await open_user("alice")
    response = await alice.send(room, "x", content_type="image/png")
    assert response.code == 415
    assert response.headers["Accept"].replace(" ", "") == "text/plain,text/html"


async def test_tables_have_the_configured_names(strict: Service, open_user: OpenUser, room: str) -> None:
    """`rooms_table` and `members_table`."""
    alice = await open_user("alice")
    await create(alice, room)
    assert [key for key in strict.redis.keys("my_rooms:{*}:*") if short(room).encode() in key]
    assert [key for key in strict.redis.keys("my_members:{*}:*") if short(room).encode() in key]
    assert strict.redis.keys("imc_rooms*") == []


async def test_all_deliveries_go_to_the_outbound_proxy(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The Request-URI is still the recipient's."""
    proxy = await SipUser.open("proxy", ("", 0))
    settings = {"outbound_proxy": f"sip:127.0.0.1:{proxy.port};transport=udp"}
    with service(tmp_path_factory.mktemp("proxy"), "valkey", settings) as running:
        proxy.edge = running.edge
        await proxy.say("sip:a-room@example.org", "#create")
        await proxy.assert_gets(notice("You have created"))
        await proxy.say("sip:a-room@example.org", "#add far@away.invalid")
        both = [(await proxy.assert_gets(notice("added"))).request for _ in range(2)]
        assert {str(request.uri) for request in both} == {f"sip:{proxy.address}", "sip:far@away.invalid"}
    proxy.close()
