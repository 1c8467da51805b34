"""Rooms are created and joined, with real processes, UDP and Redis."""

from __future__ import annotations

import pytest

from tests.integration.conftest import OpenUser
from tests.integration.room_steps import add, create, invite, join, promote, user_part
from tests.integration.sip_user import notice

pytestmark = pytest.mark.integration


class TestCreate:
    """`create [room] [private]`"""

    async def test_sender_becomes_the_owner(self, open_user: OpenUser, room: str) -> None:
        """A notice names the room, and the list shows the sender as owner."""
        alice = await open_user("alice")
        await create(alice, room)
        await alice.say(room, "#list")
        await alice.assert_gets(notice(f"{alice.address} (owner)"))

    @pytest.mark.parametrize("spelling", ["sip:{user}@example.org", "{user}@EXAMPLE.org", "{user}"])
    async def test_room_can_be_a_uri_an_address_or_a_user_part(
        self, open_user: OpenUser, room: str, spelling: str
    ) -> None:
        """A user part alone gets the domain of To."""
        alice = await open_user("alice")
        await alice.say("sip:chat-manager@example.org", "#create " + spelling.format(user=user_part(room)))
        await alice.assert_gets(notice("You have created"))

    async def test_create_private_without_a_name_creates_the_room_in_to(
        self, open_user: OpenUser, room: str
    ) -> None:
        """`#create private` creates a private room named by the To header, not a room called private."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room, private=True)
        await bob.say(room, "#join")
        await bob.assert_gets(notice("this room does not exist"))
        await alice.assert_gets(notice(f"{bob.address} wants to join", f"#invite {bob.address}"))

    async def test_creating_an_existing_public_room_joins_it(self, open_user: OpenUser, room: str) -> None:
        """Unless check_on_create is set."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room)
        await bob.say(room, "#create")
        await alice.assert_gets(notice(bob.address, "has joined"))
        await bob.assert_gets(notice("You have joined"))

    async def test_a_member_who_creates_the_room_again_gets_a_notice(
        self, open_user: OpenUser, room: str
    ) -> None:
        """Nothing changes."""
        alice = await open_user("alice")
        await create(alice, room)
        await alice.say(room, "#CREATE")
        await alice.assert_gets(notice("already"))

    async def test_creating_an_existing_private_room_is_refused(self, open_user: OpenUser, room: str) -> None:
        """The sender becomes neither owner nor member."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room, private=True)
        await bob.say(room, "#create")
        await bob.assert_gets(notice("already exists"))
        await bob.say(room, "hello")
        await bob.assert_gets(notice("this room does not exist"))
        await alice.assert_gets_nothing()


class TestJoin:
    """`join [room]`"""

    async def test_joining_an_absent_room_creates_it(self, open_user: OpenUser, room: str) -> None:
        """With create_on_join, the first user to join becomes the owner."""
        alice = await open_user("alice")
        await alice.say(room, "#join")
        await alice.assert_gets(notice("You have created"))

    async def test_all_members_get_a_notice(self, open_user: OpenUser, room: str) -> None:
        """The new member gets the same one."""
        alice, bob, carol = await open_user("alice"), await open_user("bob"), await open_user("carol")
        await create(alice, room)
        for new, members in ((bob, [alice]), (carol, [alice, bob])):
            await new.say(room, "#join")
            for one in members:
                await one.assert_gets(notice(new.address, "has joined"))
            await new.assert_gets(notice("You have joined"))

    async def test_a_member_who_joins_again_gets_a_notice(self, open_user: OpenUser, room: str) -> None:
        """Nothing changes, and the other members get nothing."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room)
        await join(bob, room, alice)
        await bob.say(room, "#Join")
        await bob.assert_gets(notice("already"))
        await alice.assert_gets_nothing()

    async def test_joining_a_private_room_without_an_invitation_is_refused(
        self, open_user: OpenUser, room: str
    ) -> None:
        """Owners and admins get a notice about the attempt; plain members do not."""
        alice, bob, carol, dave = [await open_user(name) for name in ("alice", "bob", "carol", "dave")]
        await create(alice, room, private=True)
        await add(alice, bob, room)
        await add(alice, carol, room, bob)
        await promote(alice, bob, "admin", room, carol)
        await dave.say(room, "#join")
        await dave.assert_gets(notice("this room does not exist"))
        for one in (alice, bob):
            await one.assert_gets(notice(f"{dave.address} wants to join"))
        await carol.assert_gets_nothing()

    async def test_an_invited_user_can_join_a_private_room(self, open_user: OpenUser, room: str) -> None:
        """`join` accepts the invitation."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room, private=True)
        await invite(alice, bob, room)
        await join(bob, room, alice)
