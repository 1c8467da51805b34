"""Display names and nicknames in place of addresses, with real processes over UDP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.integration.service import Service, service
from tests.integration.sip_user import SipUser, notice

pytestmark = pytest.mark.integration

NUMBER = "+4915112345678"


@pytest.fixture(scope="module", params=["redis", "valkey"])
def named(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that shows names."""
    with service(tmp_path_factory.mktemp("named"), request.param, {"sender_prefix": "{name}: "}) as running:
        yield running


class Member:
    """A member of one room with a display name; the address has a user part of its own."""

    def __init__(self, user: SipUser, address: str, room: str) -> None:
        self.user = user
        self.address = address
        self.room = room

    async def say(self, text: str) -> None:
        """Sends a line to the room."""
        await self.user.say(self.room, text, sender=self.address)

    async def joins(self, *members: Member) -> None:
        """Joins, or creates the room; the members there are told."""
        await self.say("#join")
        await self.user.assert_gets(notice("You have"))
        for member in members:
            await member.user.assert_gets(notice(self.address, "has joined"))


@pytest.fixture
async def members(named: Service, room: str) -> AsyncIterator[list[Member]]:
    """Alice at a telephone number, and Bob without a display name that is safe to show, in one room."""
    users = [await SipUser.open(name, named.edge) for name in ("Alice", "alice@127.0.0.1")]
    people = [
        Member(user, f"{part}@127.0.0.1:{user.port}", room)
        for user, part in zip(users, (NUMBER, "bob"), strict=True)
    ]
    await people[0].joins()
    await people[1].joins(people[0])
    yield people
    for user in users:
        user.close()


async def test_messages_show_display_names_and_never_a_forged_address(members: list[Member]) -> None:
    """Alice is "Alice", not her number. Bob calls himself by an address: he is shown by his user part."""
    alice, bob = members
    await alice.say("hello")
    received = await bob.user.assert_gets("Alice: hello")
    assert received.name == f"Alice ({alice.address})"
    await bob.say("hello yourself")
    received = await alice.user.assert_gets("bob: hello yourself")
    assert received.name == f"alice@127.0.0.1 ({bob.address})"


async def test_messages_show_nicknames(members: list[Member]) -> None:
    """A nickname is unique in its room, shown in lists and messages, and given up with `#nick`."""
    alice, bob = members
    await alice.say("#nick Änne")
    await alice.user.assert_gets(notice("You are now called Änne"))
    await bob.user.assert_gets(notice(f"{alice.address} is now called Änne"))
    for line in ("one", "two"):
        await alice.say(line)
        received = await bob.user.assert_gets(f"Änne: {line}")
        assert received.name == f"Änne ({alice.address})"
    for name, why in (
        ("Änne", "is taken"),
        (NUMBER, "cannot be a nickname"),
        ("a@b.org", "cannot be a nickname"),
    ):
        await bob.say(f"#nick {name}")
        await bob.user.assert_gets(notice("#nick: ", why))
    await bob.say("#list")
    await bob.user.assert_gets(notice(f"Members:\nÄnne <{alice.address}> (owner)\n{bob.address}"))
    await alice.say("#nick")
    await alice.user.assert_gets(notice("You have no nickname"))
    await bob.user.assert_gets(notice(f"{alice.address} has no nickname any more"))
    await alice.say("three")
    await bob.user.assert_gets("Alice: three")


async def test_messages_sent_at_once_show_their_senders_names(members: list[Member]) -> None:
    """A batch of messages is handled by one script; each shows its own sender."""
    alice, bob = members
    await bob.say("#nick Bobby")
    await bob.user.assert_gets(notice("You are now called Bobby"))
    await alice.user.assert_gets(notice("is now called Bobby"))
    await asyncio.gather(*(member.say(str(number)) for number in range(10) for member in members))
    for member, other in ((alice, "Bobby"), (bob, "Alice")):
        texts = [(await member.user.assert_gets(".*")).text for _ in range(10)]
        assert sorted(texts) == [f"{other}: {number}" for number in range(10)]
