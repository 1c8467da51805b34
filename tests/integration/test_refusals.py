"""Refused commands and the notices about them, in public and in private rooms."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.integration.conftest import OpenUser
from tests.integration.room_steps import add, create, invite, promote
from tests.integration.service import Service, service
from tests.integration.sip_user import SipUser, notice

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("private", [False, True])]

OWNERS_ONLY = "only an owner can do this"
OWNERS_AND_ADMINS_ONLY = "only owners and admins can do this"
NO_MEMBER = "you are not a member of this room"
TO_STRANGERS = {False: NO_MEMBER, True: "this room does not exist"}  # False: public, True: private


async def assert_refused(user: SipUser, room: str, line: str, reason: str) -> None:
    """The user sends the line and gets one notice with the command and the reason."""
    await user.say(room, line)
    await user.assert_gets(notice(line.split(maxsplit=1)[0] + ":", reason))
    assert user.inbox.empty()


async def members(user: SipUser, room: str) -> set[str]:
    """The room's members as `#list` shows them, with the marks of their roles."""
    await user.say(room, "#list")
    received = await user.assert_gets(notice("Members", user.address))
    return set(received.text.split("\n")[1:])


async def all_roles(open_user: OpenUser, room: str, private: bool) -> list[SipUser]:
    """Create a room with an owner, two admins and two plain members; returns them in this order."""
    users = [await open_user(name) for name in ("alice", "bob", "carol", "dave", "erin")]
    owner = users[0]
    await create(owner, room, private)
    for number, user in enumerate(users[1:], 1):
        await add(owner, user, room, *users[1:number])
    for user in users[1:3]:
        await promote(owner, user, "admin", room, *(one for one in users[1:] if one is not user))
    return users


class TestArguments:
    """Addresses and roles that `invite`, `add` and `modify` reject."""

    @pytest.mark.parametrize("command", ["#invite", "#add"])
    async def test_the_room_and_the_manager_cannot_be_members(
        self, open_user: OpenUser, room: str, private: bool, command: str
    ) -> None:
        """A room that is its own member would send messages to itself for ever."""
        alice = await open_user("alice")
        await create(alice, room, private)
        await assert_refused(alice, room, f"{command} {room}", "a room cannot be a member of itself")
        manager = "chat-manager@example.org"
        await assert_refused(alice, room, f"{command} sip:{manager}", f"{manager} receives commands")
        assert await members(alice, room) == {f"{alice.address} (owner)"}

    @pytest.mark.parametrize("role", ["owner", "admin", "member"])
    async def test_giving_a_user_the_role_they_have_is_refused(
        self, open_user: OpenUser, room: str, private: bool, role: str
    ) -> None:
        """The sender gets a notice; the user gets nothing."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room, private)
        await add(alice, bob, room)
        if role != "member":
            await promote(alice, bob, role, room)
        reason = f"{bob.address} already has this role"
        await assert_refused(alice, room, f"#modify sip:{bob.address} {role}", reason)
        await bob.assert_gets_nothing()


class TestRemove:
    """Who may `remove` whom."""

    async def test_a_removed_member_is_a_stranger(
        self, open_user: OpenUser, room: str, private: bool
    ) -> None:
        """A removed member may not send, and cannot be removed again."""
        alice, bob, carol = await open_user("alice"), await open_user("bob"), await open_user("carol")
        await create(alice, room, private)
        await add(alice, bob, room)
        await add(alice, carol, room, bob)
        await alice.say(room, f"#remove sip:{bob.address}")
        await bob.assert_gets(notice(f"{alice.address} has removed you from this room"))
        await alice.assert_gets(notice(f"You have removed {bob.address}"))
        await carol.assert_gets(notice(f"{alice.address} has removed {bob.address}"))
        await bob.say(room, "hello")
        reason = TO_STRANGERS[private]
        await bob.assert_gets(notice("Your message was not delivered", reason))
        await assert_refused(alice, room, f"#remove sip:{bob.address}", f"{bob.address} is not in this room")
        await carol.assert_gets_nothing()

    async def test_owners_and_admins_are_protected_from_removal(
        self, open_user: OpenUser, room: str, private: bool
    ) -> None:
        """Nobody can remove an owner, an admin cannot remove an admin, a member cannot remove anybody."""
        alice, bob, carol, dave, erin = await all_roles(open_user, room, private)
        before = await members(alice, room)
        is_owner = "owners cannot be removed"
        for one in (alice, bob):
            await assert_refused(one, room, f"#remove sip:{alice.address}", is_owner)
        await assert_refused(bob, room, f"#remove sip:{carol.address}", OWNERS_ONLY)
        for one in (alice, bob, erin):
            await assert_refused(dave, room, f"#remove sip:{one.address}", OWNERS_AND_ADMINS_ONLY)
        assert await members(alice, room) == before
        for one in (carol, erin):
            await one.assert_gets_nothing(0.1)


class TestModify:
    """Who may `modify` whom."""

    async def test_owners_and_admins_are_protected_from_modification(
        self, open_user: OpenUser, room: str, private: bool
    ) -> None:
        """An admin cannot change owners or admins, nor make owners; a member cannot change anybody."""
        alice, bob, carol, dave, erin = await all_roles(open_user, room, private)
        before = await members(alice, room)
        for one, role in ((alice, "member"), (alice, "admin"), (carol, "member"), (dave, "owner")):
            await assert_refused(bob, room, f"#modify sip:{one.address} {role}", OWNERS_ONLY)
        for one, role in ((alice, "member"), (bob, "member"), (erin, "admin"), (dave, "admin")):
            await assert_refused(dave, room, f"#modify sip:{one.address} {role}", OWNERS_AND_ADMINS_ONLY)
        await assert_refused(alice, room, f"#modify sip:{alice.address} admin", "you are the last owner")
        assert await members(alice, room) == before
        for one in (carol, erin):
            await one.assert_gets_nothing(0.1)


class TestExitAndDestroy:
    """Who may `exit` and `destroy`, and the state afterwards."""

    async def test_a_member_who_left_is_a_stranger(
        self, open_user: OpenUser, room: str, private: bool
    ) -> None:
        """The others get a notice; leaving twice is refused."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room, private)
        await add(alice, bob, room)
        await bob.say(room, "#exit")
        await alice.assert_gets(notice(f"{bob.address} has left"))
        await bob.assert_gets(notice("You have left"))
        await assert_refused(bob, room, "#exit", TO_STRANGERS[private])
        assert await members(alice, room) == {f"{alice.address} (owner)"}

    async def test_the_room_is_destroyed_when_its_last_owner_leaves(
        self, open_user: OpenUser, room: str, private: bool
    ) -> None:
        """All members get a notice; afterwards the room does not exist for any of them."""
        users = await all_roles(open_user, room, private)
        await users[0].say(room, "#exit confirm")
        for user in users:
            await user.assert_gets(notice("deleted this room"))
        for user in users:
            await assert_refused(user, room, "#list", "this room does not exist")

    async def test_only_owners_can_destroy_the_room(
        self, open_user: OpenUser, room: str, private: bool
    ) -> None:
        """Admins, members and strangers are refused; a second owner is not."""
        alice, bob, carol, dave, erin = users = await all_roles(open_user, room, private)
        mallory = await open_user("mallory")
        for one in (bob, dave):
            await assert_refused(one, room, "#destroy", OWNERS_ONLY)
        await assert_refused(mallory, room, "#destroy", TO_STRANGERS[private])
        await promote(alice, bob, "owner", room, carol, dave, erin)
        await bob.say(room, "#destroy")
        for user in users:
            await user.assert_gets(notice("deleted this room"))


class TestList:
    """`list` is for members of any role."""

    async def test_every_member_gets_the_same_list(
        self, open_user: OpenUser, room: str, private: bool
    ) -> None:
        """It shows the roles of all members, and leaves invited users out."""
        alice, bob, carol, dave, erin = await all_roles(open_user, room, private)
        frank = await open_user("frank")
        await invite(alice, frank, room)
        whole = {f"{alice.address} (owner)", f"{bob.address} (admin)", f"{carol.address} (admin)"} | {
            dave.address,
            erin.address,
        }
        for user in (alice, bob, dave):
            assert await members(user, room) == whole

    async def test_invited_users_and_strangers_cannot_list_members(
        self, open_user: OpenUser, room: str, private: bool
    ) -> None:
        """A private room does not exist for a stranger; an invited user knows of it but is no member."""
        alice, bob, mallory = await open_user("alice"), await open_user("bob"), await open_user("mallory")
        await create(alice, room, private)
        await invite(alice, bob, room)
        await assert_refused(bob, room, "#list", NO_MEMBER)
        await assert_refused(mallory, room, "#list", TO_STRANGERS[private])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with low limits of members and rooms."""
    settings = {"max_members": "2", "max_rooms_per_owner": "1"}
    with service(tmp_path_factory.mktemp("small"), "redis", settings) as running:
        yield running


class TestLimits:
    """`max_members = 2` and `max_rooms_per_owner = 1`."""

    @pytest.fixture
    async def open_user(self, small: Service) -> AsyncIterator[OpenUser]:
        """Opens users of the small service with names that are new for this test."""
        users: list[SipUser] = []
        test = secrets.token_hex(2)

        async def make(name: str) -> SipUser:
            users.append(await SipUser.open(f"{name}-{test}", small.edge))
            return users[-1]

        yield make
        for user in users:
            user.close()

    async def test_nobody_can_enter_a_full_room(self, open_user: OpenUser, room: str, private: bool) -> None:
        """`invite`, `add`, `join` and `create` are refused until a member has left."""
        alice, bob, carol = await open_user("alice"), await open_user("bob"), await open_user("carol")
        await create(alice, room, private)
        await add(alice, bob, room)
        for command in ("#invite", "#add"):
            await assert_refused(alice, room, f"{command} sip:{carol.address}", "this room is full")
        if not private:
            for command in ("#join", "#create"):
                await assert_refused(carol, room, command, "this room is full")
        await bob.say(room, "#exit")
        await alice.assert_gets(notice(bob.address, "has left"))
        await bob.assert_gets(notice("You have left"))
        await add(alice, carol, room)

    async def test_a_user_who_owns_the_maximum_of_rooms_cannot_become_owner_of_another(
        self, open_user: OpenUser, room: str, private: bool
    ) -> None:
        """The user can become admin."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room, private)
        await create(bob, room.replace("room-", "other-"), private)
        await add(alice, bob, room)
        reason = f"{bob.address} cannot own more rooms"
        await assert_refused(alice, room, f"#modify sip:{bob.address} owner", reason)
        await bob.assert_gets_nothing()
        await promote(alice, bob, "admin", room)
