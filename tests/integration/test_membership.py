"""Members are added, removed and get roles; they leave, and rooms end."""

from __future__ import annotations

import pytest

from tests.integration.conftest import OpenUser
from tests.integration.room_steps import add, create, invite, join, promote
from tests.integration.sip_user import notice

pytestmark = pytest.mark.integration


class TestRemove:
    """`remove user [room]`"""

    async def test_the_removed_member_and_the_others_get_a_notice(
        self, open_user: OpenUser, room: str
    ) -> None:
        """Afterwards the removed member gets nothing more."""
        alice, bob, carol = await open_user("alice"), await open_user("bob"), await open_user("carol")
        await create(alice, room)
        await join(bob, room, alice)
        await join(carol, room, alice, bob)
        await alice.say(room, f"#remove sip:{bob.address}")
        await bob.assert_gets(notice("has removed you"))
        await alice.assert_gets(notice(f"You have removed {bob.address}"))
        await carol.assert_gets(notice(f"{alice.address} has removed {bob.address}"))
        await carol.say(room, "gone?")
        await alice.assert_gets(f"<{carol.address}>: gone\\?")
        await bob.assert_gets_nothing()

    async def test_removing_an_invited_user_withdraws_the_invitation(
        self, open_user: OpenUser, room: str
    ) -> None:
        """The user can no longer accept."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room, private=True)
        await invite(alice, bob, room)
        await alice.say(room, f"#remove sip:{bob.address}")
        await bob.assert_gets(notice())
        await alice.assert_gets(notice(bob.address))
        await bob.say(room, "#accept")
        await bob.assert_gets(notice())

    async def test_owners_cannot_be_removed_and_admins_only_by_owners(
        self, open_user: OpenUser, room: str
    ) -> None:
        """An admin can only remove plain members."""
        alice, bob, carol = await open_user("alice"), await open_user("bob"), await open_user("carol")
        await create(alice, room)
        await add(alice, bob, room)
        await add(alice, carol, room, bob)
        await promote(alice, bob, "admin", room, carol)
        await promote(alice, carol, "admin", room, bob)
        for target in (alice, carol):
            await bob.say(room, f"#remove sip:{target.address}")
            await bob.assert_gets(notice())
        await alice.say(room, f"#remove sip:{carol.address}")
        await carol.assert_gets(notice("has removed you"))
        await alice.assert_gets(notice(f"You have removed {carol.address}"))
        await bob.assert_gets(notice(f"{alice.address} has removed {carol.address}"))

    async def test_removing_a_user_who_is_not_in_the_room_is_refused(
        self, open_user: OpenUser, room: str
    ) -> None:
        """The sender gets a notice; the user gets nothing."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room)
        await alice.say(room, f"#remove sip:{bob.address}")
        await alice.assert_gets(notice(bob.address))
        await bob.assert_gets_nothing()


class TestAddAndModify:
    """`add user [room]` and `modify user role [room]`"""

    async def test_an_added_user_is_a_member_at_once(self, open_user: OpenUser, room: str) -> None:
        """All members get a notice, the new one included."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room, private=True)
        await add(alice, bob, room)
        await bob.say(room, "here")
        await alice.assert_gets(f"<{bob.address}>: here")

    async def test_adding_a_member_is_refused(self, open_user: OpenUser, room: str) -> None:
        """The sender gets a notice; the member gets nothing."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room)
        await add(alice, bob, room)
        await alice.say(room, f"#add sip:{bob.address}")
        await alice.assert_gets(notice(bob.address))
        await bob.assert_gets_nothing()

    async def test_the_list_shows_roles(self, open_user: OpenUser, room: str) -> None:
        """Owners (*) first, then admins (~), then members, each sorted by address.

        Invited users are left out.
        """
        alice, bob, carol, dave = [await open_user(name) for name in ("alice", "bob", "carol", "dave")]
        await create(alice, room)
        await add(alice, carol, room)
        await add(alice, bob, room, carol)
        await promote(alice, carol, "admin", room, bob)
        await invite(alice, dave, room)
        await bob.say(room, "#members")
        received = await bob.assert_gets(
            notice(f"{alice.address} (owner)", f"{carol.address} (admin)", bob.address)
        )
        places = [received.text.index(one.address) for one in (alice, carol, bob)]
        assert places == sorted(places)
        assert dave.address not in received.text

    async def test_an_admin_can_make_admins_but_no_owners(self, open_user: OpenUser, room: str) -> None:
        """An admin cannot change an owner's role either."""
        alice, bob, carol = await open_user("alice"), await open_user("bob"), await open_user("carol")
        await create(alice, room)
        await add(alice, bob, room)
        await add(alice, carol, room, bob)
        await promote(alice, bob, "admin", room, carol)
        await promote(bob, carol, "admin", room, alice)
        for target, role in ((carol, "owner"), (alice, "member"), (bob, "owner")):
            await bob.say(room, f"#modify sip:{target.address} {role}")
            await bob.assert_gets(notice())
        await alice.assert_gets_nothing()

    async def test_the_last_owner_cannot_give_up_the_role(self, open_user: OpenUser, room: str) -> None:
        """With a second owner, it is possible."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room)
        await add(alice, bob, room)
        await alice.say(room, f"#modify sip:{alice.address} member")
        await alice.assert_gets(notice())
        await bob.assert_gets_nothing()
        await promote(alice, bob, "owner", room)
        await alice.say(room, f"#modify sip:{alice.address} member")
        await alice.assert_gets(notice("You are now a plain member"))
        await bob.assert_gets(notice(f"{alice.address} is now a plain member"))

    async def test_changing_the_role_of_a_user_who_is_not_in_the_room_is_refused(
        self, open_user: OpenUser, room: str
    ) -> None:
        """The sender gets a notice."""
        alice = await open_user("alice")
        await create(alice, room)
        await alice.say(room, "#modify nobody@example.org admin")
        await alice.assert_gets(notice("nobody@example.org"))


class TestExitAndDestroy:
    """`exit`, `leave` and `destroy`"""

    @pytest.mark.parametrize("command", ["#exit", "#leave"])
    async def test_the_others_get_a_notice_when_a_member_leaves(
        self, open_user: OpenUser, room: str, command: str
    ) -> None:
        """The former member gets no later messages."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room)
        await join(bob, room, alice)
        await bob.say(room, command)
        await alice.assert_gets(notice(bob.address, "has left"))
        await bob.assert_gets(notice("You have left"))
        await alice.say(room, "alone")
        await bob.assert_gets_nothing()

    async def test_the_room_is_destroyed_when_its_last_owner_leaves(
        self, open_user: OpenUser, room: str
    ) -> None:
        """After `#exit confirm`. All members get a notice, and the name is free again."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room)
        await join(bob, room, alice)
        await alice.say(room, "#exit")
        await alice.assert_gets(notice("you are the last owner", "#exit confirm", "#modify"))
        await bob.assert_gets_nothing()
        await alice.say(room, "#exit confirm")
        for one in (alice, bob):
            await one.assert_gets(notice("deleted this room"))
        await create(bob, room)

    async def test_the_room_stays_if_another_owner_remains(self, open_user: OpenUser, room: str) -> None:
        """The other owner gets a notice."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room)
        await add(alice, bob, room)
        await promote(alice, bob, "owner", room)
        await alice.say(room, "#exit")
        await bob.assert_gets(notice(alice.address, "has left"))
        await alice.assert_gets(notice("You have left"))
        await bob.say(room, "#list")
        await bob.assert_gets(notice(f"{bob.address} (owner)"))

    @pytest.mark.parametrize("private", [False, True])
    async def test_destroying_a_room_ends_memberships_and_invitations(
        self, open_user: OpenUser, room: str, private: bool
    ) -> None:
        """All members get a notice; a pending invitation is no longer valid."""
        alice, bob, carol = await open_user("alice"), await open_user("bob"), await open_user("carol")
        await create(alice, room, private)
        await add(alice, bob, room)
        await invite(alice, carol, room)
        await alice.say(room, "#destroy")
        for one in (alice, bob):
            await one.assert_gets(notice("deleted this room"))
        await carol.say(room, "#accept")
        await carol.assert_gets(notice())
        await alice.say(room, "anybody?")
        await alice.assert_gets(notice("this room does not exist"))

    async def test_an_admin_cannot_destroy_the_room(self, open_user: OpenUser, room: str) -> None:
        """The admin gets a notice; the others get nothing."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room)
        await add(alice, bob, room)
        await promote(alice, bob, "admin", room)
        await bob.say(room, "#destroy")
        await bob.assert_gets(notice("owner"))
        await alice.assert_gets_nothing()
