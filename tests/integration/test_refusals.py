"""Who may not do what, and the words it is refused with: in public and in private rooms."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.integration.conftest import OpenUser
from tests.integration.service import Service, service
from tests.integration.sip_user import SipUser, notice
from tests.integration.test_commands import add, create, promote

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("private", [False, True])]

OWNERS_ONLY = "only an owner can do this"
IN_CHARGE_ONLY = "only owners and admins can do this"
NO_MEMBER = "you are not a member of this room"
TO_STRANGERS = {False: NO_MEMBER, True: "this room does not exist"}  # by whether the room is private


async def assert_refused(user: SipUser, room: str, line: str, reason: str) -> None:
    """The user sends the line and reads the command and the reason, and nothing else."""
    await user.say(room, line)
    await user.assert_gets(notice(line.split(maxsplit=1)[0] + ":", reason))
    assert user.inbox.empty()


async def members(user: SipUser, room: str) -> set[str]:
    """The room's members as the list shows them, marks included."""
    await user.say(room, "#list")
    received = await user.assert_gets(notice("Members", user.address))
    return set(received.text.split("\n")[1:])


async def all_roles(open_user: OpenUser, room: str, private: bool) -> list[SipUser]:
    """A room with an owner, two admins and two plain members, in this order."""
    users = [await open_user(name) for name in ("alice", "bob", "carol", "dave", "erin")]
    owner = users[0]
    await create(owner, room, private)
    for number, user in enumerate(users[1:], 1):
        await add(owner, user, room, *users[1:number])
    for user in users[1:3]:
        await promote(owner, user, "admin", room, *(one for one in users[1:] if one is not user))
    return users


class TestUsersThatCannotBe:
    """Addresses and roles that `invite`, `add` and `modify` do not take."""

    @pytest.mark.parametrize("command", ["#invite", "#add"])
    async def test_room_and_manager_are_no_users(
        self, open_user: OpenUser, room: str, private: bool, command: str
    ) -> None:
        """A room that is its own member would talk to itself for ever; the command address is in no room."""
        alice = await open_user("alice")
        await create(alice, room, private)
        await assert_refused(alice, room, f"{command} {room}", "a room cannot be a member of itself")
        manager = "chat-manager@example.org"
        await assert_refused(alice, room, f"{command} sip:{manager}", f"{manager} receives commands")
        assert await members(alice, room) == {f"{alice.address} (owner)"}

    @pytest.mark.parametrize("role", ["owner", "admin", "member"])
    async def test_role_that_the_user_has(
        self, open_user: OpenUser, room: str, private: bool, role: str
    ) -> None:
        """Nobody is told of a change that is none."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room, private)
        await add(alice, bob, room)
        if role != "member":
            await promote(alice, bob, role, room)
        reason = f"{bob.address} already has this role"
        await assert_refused(alice, room, f"#modify sip:{bob.address} {role}", reason)
        await bob.assert_gets_nothing()


class TestRemove:
    """`remove`: who may, and whom."""

    async def test_member_is_removed_and_is_a_stranger(
        self, open_user: OpenUser, room: str, private: bool
    ) -> None:
        """The removed one may not send any more, and cannot be removed again."""
        alice, bob, carol = await open_user("alice"), await open_user("bob"), await open_user("carol")
        await create(alice, room, private)
        await add(alice, bob, room)
        await add(alice, carol, room, bob)
        await alice.say(room, f"#remove sip:{bob.address}")
        await bob.assert_gets(notice(f"{alice.address} has removed you from this room"))
        for one in (alice, carol):
            await one.assert_gets(notice(f"{alice.address} has removed {bob.address}"))
        await bob.say(room, "hello")
        reason = TO_STRANGERS[private]
        await bob.assert_gets(notice("Your message was not delivered", reason))
        await assert_refused(alice, room, f"#remove sip:{bob.address}", f"{bob.address} is not in this room")
        await carol.assert_gets_nothing()

    async def test_owners_and_admins_are_protected(
        self, open_user: OpenUser, room: str, private: bool
    ) -> None:
        """Nobody removes an owner, an admin removes no admin, a member nobody."""
        alice, bob, carol, dave, erin = await all_roles(open_user, room, private)
        before = await members(alice, room)
        is_owner = "owners cannot be removed"
        for one in (alice, bob):
            await assert_refused(one, room, f"#remove sip:{alice.address}", is_owner)
        await assert_refused(bob, room, f"#remove sip:{carol.address}", OWNERS_ONLY)
        for one in (alice, bob, erin):
            await assert_refused(dave, room, f"#remove sip:{one.address}", IN_CHARGE_ONLY)
        assert await members(alice, room) == before
        for one in (carol, erin):
            await one.assert_gets_nothing(0.1)


class TestModify:
    """`modify`: who may, and whom."""

    async def test_owners_and_admins_are_protected(
        self, open_user: OpenUser, room: str, private: bool
    ) -> None:
        """An admin touches neither owners nor admins nor makes owners, a member changes nobody."""
        alice, bob, carol, dave, erin = await all_roles(open_user, room, private)
        before = await members(alice, room)
        for one, role in ((alice, "member"), (alice, "admin"), (carol, "member"), (dave, "owner")):
            await assert_refused(bob, room, f"#modify sip:{one.address} {role}", OWNERS_ONLY)
        for one, role in ((alice, "member"), (bob, "member"), (erin, "admin"), (dave, "admin")):
            await assert_refused(dave, room, f"#modify sip:{one.address} {role}", IN_CHARGE_ONLY)
        await assert_refused(alice, room, f"#modify sip:{alice.address} admin", "you are the last owner")
        assert await members(alice, room) == before
        for one in (carol, erin):
            await one.assert_gets_nothing(0.1)


class TestExitAndDestroy:
    """`exit` and `destroy`: what is gone afterwards, and who may."""

    async def test_who_left_is_a_stranger(self, open_user: OpenUser, room: str, private: bool) -> None:
        """The rest is told; leaving twice is refused."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room, private)
        await add(alice, bob, room)
        await bob.say(room, "#exit")
        await alice.assert_gets(notice(f"{bob.address} has left"))
        await assert_refused(bob, room, "#exit", TO_STRANGERS[private])
        assert await members(alice, room) == {f"{alice.address} (owner)"}

    async def test_room_goes_with_its_last_owner(self, open_user: OpenUser, room: str, private: bool) -> None:
        """All members are told, and to each of them there is no room any more."""
        users = await all_roles(open_user, room, private)
        await users[0].say(room, "#exit")
        for user in users:
            await user.assert_gets(notice("deleted this room"))
        for user in users:
            await assert_refused(user, room, "#list", "this room does not exist")

    async def test_only_an_owner_destroys(self, open_user: OpenUser, room: str, private: bool) -> None:
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
    """`list` is for members, whatever their role."""

    async def test_every_member_reads_the_same_list(
        self, open_user: OpenUser, room: str, private: bool
    ) -> None:
        """Owner, admin and plain member read the roles of all; the invited one is in none of the lists."""
        alice, bob, carol, dave, erin = await all_roles(open_user, room, private)
        frank = await open_user("frank")
        await alice.say(room, f"#invite sip:{frank.address}")
        await frank.assert_gets(notice(alice.address, "#accept"))
        whole = {f"{alice.address} (owner)", f"{bob.address} (admin)", f"{carol.address} (admin)"} | {
            dave.address,
            erin.address,
        }
        for user in (alice, bob, dave):
            assert await members(user, room) == whole

    async def test_invited_and_strangers_are_refused(
        self, open_user: OpenUser, room: str, private: bool
    ) -> None:
        """To a stranger a private room is not there; an invited one knows of it, and is no member yet."""
        alice, bob, mallory = await open_user("alice"), await open_user("bob"), await open_user("mallory")
        await create(alice, room, private)
        await alice.say(room, f"#invite sip:{bob.address}")
        await bob.assert_gets(notice(alice.address, "#accept"))
        await assert_refused(bob, room, "#list", NO_MEMBER)
        await assert_refused(mallory, room, "#list", TO_STRANGERS[private])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service where rooms hold two and users own one."""
    settings = {"max_members": "2", "max_rooms_per_owner": "1"}
    with service(tmp_path_factory.mktemp("small"), "redis", settings) as running:
        yield running


class TestLimits:
    """`max_members = 2` and `max_rooms_per_owner = 1`."""

    @pytest.fixture
    async def open_user(self, small: Service) -> AsyncIterator[OpenUser]:
        """Makes users of the small service, who were not there in another test."""
        users: list[SipUser] = []
        test = secrets.token_hex(2)

        async def make(name: str) -> SipUser:
            users.append(await SipUser.open(f"{name}-{test}", small.edge))
            return users[-1]

        yield make
        for user in users:
            user.close()

    async def test_full_room(self, open_user: OpenUser, room: str, private: bool) -> None:
        """Nobody is invited, added, or let in by `join` or `create`, until somebody has left."""
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
        await add(alice, carol, room)

    async def test_owner_of_enough(self, open_user: OpenUser, room: str, private: bool) -> None:
        """Who owns a room already is made owner of no other, but admin."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room, private)
        await create(bob, room.replace("room-", "other-"), private)
        await add(alice, bob, room)
        reason = f"{bob.address} cannot own more rooms"
        await assert_refused(alice, room, f"#modify sip:{bob.address} owner", reason)
        await bob.assert_gets_nothing()
        await promote(alice, bob, "admin", room)
