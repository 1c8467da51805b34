"""Every command and every refusal, with real processes, UDP and Redis."""

from __future__ import annotations

import asyncio

import pytest

from imc_common.rooms.commands import COMMANDS
from tests.integration.conftest import OpenUser
from tests.integration.sip_user import SipUser, notice

pytestmark = pytest.mark.integration

OF_OTHERS = ["#invite x@y.org", "#remove x@y.org", "#add x@y.org", "#modify x@y.org admin", "#ban x@y.org"]
NEED_A_ROOM = [
    "#nick x",
    "#announce off",
    "#accept",
    "#deny",
    "#exit",
    "#destroy",
    "#list",
    "#bans",
    "#unban x@y.org",
    *OF_OTHERS,
    "hello",
]


def short(room: str) -> str:
    """The address of a room URI."""
    return room.removeprefix("sip:")


def user_part(room: str) -> str:
    """The user part of a room URI."""
    return short(room).partition("@")[0]


async def create(owner: SipUser, room: str, private: bool = False) -> None:
    """The user creates the room and gets the notice."""
    await owner.say(room, "#create private" if private else "#create")
    await owner.assert_gets(notice("You have created"))


async def join(user: SipUser, room: str, *members: SipUser) -> None:
    """The user joins a public room; all members get the notice."""
    await user.say(room, "#join")
    for one in members:
        await one.assert_gets(notice(user.address, "has joined"))
    await user.assert_gets(notice("joined"))


async def add(by: SipUser, user: SipUser, room: str, *others: SipUser) -> None:
    """An owner or admin adds the user; all members get the notice."""
    await by.say(room, f"#add sip:{user.address}")
    for one in (by, *others):
        await one.assert_gets(notice(user.address, "added"))
    await user.assert_gets(notice("added"))


async def invite(by: SipUser, user: SipUser, room: str) -> None:
    """An owner or admin invites the user; both get a notice."""
    await by.say(room, f"#invite sip:{user.address}")
    await user.assert_gets(notice(f"{by.address} invites you", "#accept", "#deny"))
    await by.assert_gets(notice(f"You have invited {user.address}"))


async def promote(by: SipUser, user: SipUser, role: str, room: str, *others: SipUser) -> None:
    """The user gets the role; all members get the notice."""
    await by.say(room, f"#modify sip:{user.address} {role}")
    for one in (by, *others):
        await one.assert_gets(notice(user.address, role))
    await user.assert_gets(notice(role))


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


class TestInvitations:
    """`invite`, `accept`, `deny` and `reject`"""

    async def test_invitation_names_the_inviter_the_room_and_the_commands_to_reply(
        self, open_user: OpenUser, room: str
    ) -> None:
        """It comes from the room's address."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room, private=True)
        await alice.say(room, f"#invite sip:{bob.address}")
        received = await bob.assert_gets(notice(alice.address, "#accept", "#deny"))
        await alice.assert_gets(notice(f"You have invited {bob.address}"))
        assert received.sender == short(room)

    async def test_accepting_an_invitation_makes_a_member(self, open_user: OpenUser, room: str) -> None:
        """All members get the notice, and the new one gets the messages from then on."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room, private=True)
        await alice.say(room, f"#invite sip:{bob.address} {user_part(room)}")
        await bob.assert_gets(notice(alice.address))
        await alice.assert_gets(notice("You have invited"))
        await bob.say(room, "#accept")
        await alice.assert_gets(notice(bob.address, "has joined"))
        await bob.assert_gets(notice("You have joined"))
        await alice.say(room, "welcome")
        await bob.assert_gets(f"<{alice.address}>: welcome")

    @pytest.mark.parametrize("command", ["#deny", "#reject"])
    async def test_denying_ends_the_invitation(self, open_user: OpenUser, room: str, command: str) -> None:
        """Owners and admins get a notice; accepting afterwards is refused."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room, private=True)
        await invite(alice, bob, room)
        await bob.say(room, command)
        await alice.assert_gets(notice(f"{bob.address} has declined"))
        await bob.assert_gets(notice("You have declined"))
        await bob.say(room, "#accept")
        await bob.assert_gets(notice())
        await alice.assert_gets_nothing()

    async def test_a_pending_invitation_is_not_sent_again(self, open_user: OpenUser, room: str) -> None:
        """The inviter gets a notice. After the invitation was denied, another can be sent."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room, private=True)
        await invite(alice, bob, room)
        await alice.say(room, f"#invite sip:{bob.address}")
        await alice.assert_gets(notice(bob.address, "has not responded yet"))
        await bob.say(room, "#deny")
        await alice.assert_gets(notice(bob.address, "declined"))
        await bob.assert_gets(notice("You have declined"))
        await invite(alice, bob, room)

    async def test_an_invited_user_neither_gets_nor_sends_messages(
        self, open_user: OpenUser, room: str
    ) -> None:
        """Only accepting the invitation makes a member."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room, private=True)
        await invite(alice, bob, room)
        await alice.say(room, "between us")
        await bob.assert_gets_nothing()
        await bob.say(room, "hello?")
        await bob.assert_gets(notice("not a member"))
        await alice.assert_gets_nothing()

    async def test_exit_of_an_invited_user_denies_the_invitation(
        self, open_user: OpenUser, room: str
    ) -> None:
        """The owner gets a notice."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room, private=True)
        await invite(alice, bob, room)
        await bob.say(room, "#exit")
        await alice.assert_gets(notice(f"{bob.address} has declined"))
        await bob.assert_gets(notice("You have declined"))

    @pytest.mark.parametrize("private", [False, True])
    async def test_inviting_a_member_is_refused(self, open_user: OpenUser, room: str, private: bool) -> None:
        """The inviter gets a notice; the member gets nothing."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room, private)
        await add(alice, bob, room)
        await alice.say(room, f"#invite sip:{bob.address}")
        await alice.assert_gets(notice(bob.address))
        await bob.assert_gets_nothing()

    async def test_an_invitation_that_could_not_be_delivered_is_withdrawn(
        self, open_user: OpenUser, room: str
    ) -> None:
        """After a 480 the inviter, here an admin, gets a notice with the status."""
        alice, bob, carol = await open_user("alice"), await open_user("bob"), await open_user("carol")
        carol.status_for = lambda _: 480
        await create(alice, room, private=True)
        await add(alice, bob, room)
        await promote(alice, bob, "admin", room)
        await invite(bob, carol, room)
        await bob.assert_gets(notice(f"{carol.address} could not be reached", "invitation was withdrawn"))
        await alice.assert_gets_nothing()
        carol.status_for = lambda _: 200
        await carol.say(room, "#accept")
        await carol.assert_gets(notice())
        await alice.assert_gets_nothing()

    @pytest.mark.slow
    async def test_an_invitation_without_a_response_is_withdrawn(
        self, open_user: OpenUser, room: str
    ) -> None:
        """After Timer F, 32 s; the inviter gets a notice."""
        alice, carol = await open_user("alice"), await open_user("carol")
        carol.status_for = lambda _: None
        await create(alice, room, private=True)
        await alice.say(room, f"#invite sip:{carol.address}")
        await alice.assert_gets(notice("You have invited"))
        # if the machine stalls and the edge loses its lease, the next edge starts the 32 s again
        await alice.assert_gets(notice(f"{carol.address} did not respond"), within=200)
        # RFC 3261 §17.1.2.2: 0.5 s, doubling to 4 s, until 32 s make 11; fewer if the machine stalls
        assert len(carol.arrivals) >= 7

    @pytest.mark.parametrize("command", ["#accept", "#deny"])
    async def test_accept_or_deny_without_an_invitation_is_refused(
        self, open_user: OpenUser, room: str, command: str
    ) -> None:
        """The sender gets a notice; nobody else does."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room)
        await bob.say(room, command)
        await bob.assert_gets(notice())
        await alice.assert_gets_nothing()


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


class TestLists:
    """`list`, `rooms` and `help`"""

    async def test_only_members_can_list_the_members(self, open_user: OpenUser, room: str) -> None:
        """Others get a notice without addresses of members."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room)
        await bob.say(room, "#list")
        received = await bob.assert_gets(notice("not a member"))
        assert alice.address not in received.text

    async def test_a_long_list_is_split_into_several_messages(self, open_user: OpenUser, room: str) -> None:
        """Each has at most 1,300 bytes, and together they name all members in order."""
        alice = await open_user("alice")
        await create(alice, room)
        users = [f"a-member-with-a-name-of-some-length-{number:02}@127.0.0.1:9" for number in range(40)]
        for user in reversed(users):
            await alice.say(room, f"#add sip:{user}")
            await alice.assert_gets(notice(user, "added"))
        await alice.say(room, "#list")
        parts = []
        while not any(users[-1] in part for part in parts):
            received = await alice.assert_gets(notice())
            assert received.size <= 1300, "the whole MESSAGE fits a datagram (RFC 3428 §8)"
            parts.append(received.text)
        assert len(parts) > 1
        text = "\n".join(parts)
        places = [text.index(user) for user in users]
        assert places == sorted(places)

    async def test_rooms_lists_public_rooms_and_the_members_private_rooms(
        self, open_user: OpenUser, room: str
    ) -> None:
        """A private room is not shown to strangers and users who are only invited."""
        alice, bob = await open_user("alice"), await open_user("bob")
        hidden = room.replace("room-", "hidden-")
        await create(alice, room)
        await create(alice, hidden, private=True)
        await invite(alice, bob, hidden)
        await alice.say("sip:chat-manager@example.org", "#rooms")
        await whole_list(alice, short(room), short(hidden))
        await bob.say(room, "#rooms")
        assert short(hidden) not in await whole_list(bob, short(room))

    async def test_help_names_every_command_with_its_arguments(self, open_user: OpenUser) -> None:
        """With the configured start character, in as many notices as needed."""
        alice = await open_user("alice")
        await alice.say("sip:chat-manager@example.org", "#help")
        commands = [command.usage("#") for command in COMMANDS]
        told = await whole_list(alice, *commands)
        assert [told.count(f"{command} - ") for command in commands] == [1] * len(commands)


async def whole_list(user: SipUser, *parts: str) -> str:
    """The text of successive notices until they contain all these parts, and of those that follow at once."""
    text = ""
    while not all(part in text for part in parts):
        text += (await user.assert_gets(notice())).text + "\n"
    await asyncio.sleep(0.3)
    return text + "\n".join(received.text for received in user.drain())


class TestRefusals:
    """A notice explains each refusal; after wrong usage it shows the usage."""

    async def test_an_unknown_command_gets_a_notice_that_points_to_help(
        self, open_user: OpenUser, room: str
    ) -> None:
        """The notice repeats the unknown word."""
        alice = await open_user("alice")
        await alice.say(room, "#dance now")
        await alice.assert_gets(notice("dance", "#help"))

    @pytest.mark.parametrize(
        ("line", "usage"),
        [
            ("#invite", "#invite user [room]"),
            ("#remove", "#remove user [room]"),
            ("#add", "#add user [room]"),
            ("#modify bob", "#modify user role [room]"),
            ("#modify bob king", "#modify user role [room]"),
            ("#join a b", "#join [room]"),
            ("#help me", "#help"),
        ],
    )
    async def test_wrong_arguments_get_a_notice_with_the_usage(
        self, open_user: OpenUser, room: str, line: str, usage: str
    ) -> None:
        """Missing, unknown or too many arguments."""
        alice = await open_user("alice")
        await alice.say(room, line)
        await alice.assert_gets(notice(usage))

    @pytest.mark.parametrize("line", NEED_A_ROOM)
    async def test_commands_and_messages_to_an_absent_room_are_refused(
        self, open_user: OpenUser, room: str, line: str
    ) -> None:
        """All commands except create and join."""
        alice = await open_user("alice")
        await alice.say(room, line)
        await alice.assert_gets(notice("this room does not exist"))

    @pytest.mark.parametrize("line", NEED_A_ROOM)
    async def test_strangers_get_the_same_notice_from_a_private_room_as_from_an_absent_one(
        self, open_user: OpenUser, room: str, line: str
    ) -> None:
        """They cannot find out whether a private room exists."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room, private=True)
        absent = room.replace("room-", "none-")
        await bob.say(room, line)
        of_private = (await bob.assert_gets(notice())).text
        await bob.say(absent, line)
        of_absent = (await bob.assert_gets(notice())).text
        assert of_private.replace(short(room), short(absent)) == of_absent

    @pytest.mark.parametrize("line", [*OF_OTHERS, "#destroy"])
    async def test_plain_members_and_strangers_cannot_use_the_commands_of_owners_and_admins(
        self, open_user: OpenUser, room: str, line: str
    ) -> None:
        """They get a notice; the owner gets nothing."""
        alice, bob, carol = await open_user("alice"), await open_user("bob"), await open_user("carol")
        await create(alice, room)
        await join(bob, room, alice)
        for one in (bob, carol):
            await one.say(room, line)
            await one.assert_gets(notice())
        await alice.assert_gets_nothing()

    @pytest.mark.parametrize(
        "line", ["#invite bob%0d%0aX:y", '#add "bob"@x.org', "#join a\x00b", "#create a b c"]
    )
    async def test_an_argument_that_is_no_address_is_refused(
        self, open_user: OpenUser, room: str, line: str
    ) -> None:
        """It is not repaired."""
        alice = await open_user("alice")
        await alice.say(room, line)
        await alice.assert_gets(notice())

    async def test_a_message_to_the_manager_is_refused(self, open_user: OpenUser) -> None:
        """The manager is the address for commands and no room; the sender gets a notice."""
        alice = await open_user("alice")
        await alice.say("sip:chat-manager@example.org", "hello")
        await alice.assert_gets(notice())

    async def test_a_command_ends_with_the_first_line(self, open_user: OpenUser, room: str) -> None:
        """The rest of the body is ignored."""
        alice = await open_user("alice")
        await alice.say(room, "#create\r\nprivate nonsense here")
        await alice.assert_gets(notice("You have created"))
