"""Every row of the command table, and each refusal, with real processes, real UDP and a real Redis."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.conftest import OpenUser
from tests.integration.sip_user import SipUser, notice

pytestmark = pytest.mark.integration

OF_OTHERS = ["#invite x@y.org", "#remove x@y.org", "#add x@y.org", "#modify x@y.org admin"]
NEED_A_ROOM = ["#accept", "#deny", "#exit", "#destroy", "#list", *OF_OTHERS, "hello"]


def short(room: str) -> str:
    """The address of a room URI."""
    return room.removeprefix("sip:")


def user_part(room: str) -> str:
    """The user part of a room URI."""
    return short(room).partition("@")[0]


async def create(owner: SipUser, room: str, private: bool = False) -> None:
    """The user makes the room and is told so."""
    await owner.say(room, "#create private" if private else "#create")
    await owner.assert_gets(notice("You have created"))


async def join(user: SipUser, room: str, *members: SipUser) -> None:
    """The user joins a public room; the members there, and the user, are told."""
    await user.say(room, "#join")
    for one in members:
        await one.assert_gets(notice(user.address, "has joined"))
    await user.assert_gets(notice("joined"))


async def add(by: SipUser, user: SipUser, room: str, *others: SipUser) -> None:
    """An owner or admin puts the user in; all are told."""
    await by.say(room, f"#add sip:{user.address}")
    for one in (by, *others):
        await one.assert_gets(notice(user.address, "added"))
    await user.assert_gets(notice("added"))


async def promote(by: SipUser, user: SipUser, role: str, room: str, *others: SipUser) -> None:
    """The user gets the role; all are told."""
    await by.say(room, f"#modify sip:{user.address} {role}")
    for one in (by, *others):
        await one.assert_gets(notice(user.address, role))
    await user.assert_gets(notice(role))


class TestCreate:
    """`create [room] [private]`"""

    async def test_sender_owns_the_new_room_and_is_told(self, open_user: OpenUser, room: str) -> None:
        """The notice comes from the room; the list shows the sender as its owner."""
        alice = await open_user("alice")
        await create(alice, room)
        await alice.say(room, "#list")
        await alice.assert_gets(notice(f"{alice.address} (owner)"))

    @pytest.mark.parametrize("spelling", ["sip:{user}@example.org", "{user}@EXAMPLE.org", "{user}"])
    async def test_room_argument_in_every_spelling(
        self, open_user: OpenUser, room: str, spelling: str
    ) -> None:
        """A room is named by URI, by address, or by user part in the domain of To."""
        alice = await open_user("alice")
        await alice.say("sip:chat-manager@example.org", "#create " + spelling.format(user=user_part(room)))
        await alice.assert_gets(notice("You have created"))

    async def test_create_private_takes_the_room_from_to(self, open_user: OpenUser, room: str) -> None:
        """`#create private` makes a private room named by the To header, not a room called private."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room, private=True)
        await bob.say(room, "#join")
        await bob.assert_gets(notice("this room does not exist"))
        await alice.assert_gets(notice(f"{bob.address} wants to join", f"#invite {bob.address}"))

    async def test_existing_public_room_is_joined(self, open_user: OpenUser, room: str) -> None:
        """Without check_on_create, creating a public room that exists is joining it."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room)
        await bob.say(room, "#create")
        for one in (alice, bob):
            await one.assert_gets(notice(bob.address, "has joined"))

    async def test_member_is_told_that_it_is_one(self, open_user: OpenUser, room: str) -> None:
        """Creating a room one is in changes nothing."""
        alice = await open_user("alice")
        await create(alice, room)
        await alice.say(room, "#CREATE")
        await alice.assert_gets(notice("already"))

    async def test_existing_private_room_is_refused(self, open_user: OpenUser, room: str) -> None:
        """Nobody becomes owner or member of a private room by creating it."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room, private=True)
        await bob.say(room, "#create")
        await bob.assert_gets(notice("already exists"))
        await bob.say(room, "hello")
        await bob.assert_gets(notice("this room does not exist"))
        await alice.assert_gets_nothing()


class TestJoin:
    """`join [room]`"""

    async def test_absent_room_is_created(self, open_user: OpenUser, room: str) -> None:
        """With create_on_join the first to join owns the room."""
        alice = await open_user("alice")
        await alice.say(room, "#join")
        await alice.assert_gets(notice("You have created"))

    async def test_all_members_are_told(self, open_user: OpenUser, room: str) -> None:
        """Members and the new one get the same notice."""
        alice, bob, carol = await open_user("alice"), await open_user("bob"), await open_user("carol")
        await create(alice, room)
        for new, members in ((bob, [alice]), (carol, [alice, bob])):
            await new.say(room, "#join")
            for one in (*members, new):
                await one.assert_gets(notice(new.address, "has joined"))

    async def test_member_is_told_that_it_is_one(self, open_user: OpenUser, room: str) -> None:
        """Joining twice changes nothing."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room)
        await join(bob, room, alice)
        await bob.say(room, "#Join")
        await bob.assert_gets(notice("already"))
        await alice.assert_gets_nothing()

    async def test_private_room_refuses_the_uninvited(self, open_user: OpenUser, room: str) -> None:
        """The attempt is told to the owner and the admins, not to plain members."""
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

    async def test_invited_user_may_join_a_private_room(self, open_user: OpenUser, room: str) -> None:
        """Joining on an invitation is accepting it."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room, private=True)
        await alice.say(room, f"#invite sip:{bob.address}")
        await bob.assert_gets(notice(alice.address))
        await join(bob, room, alice)


class TestInvitations:
    """`invite`, `accept`, `deny` and `reject`"""

    async def test_invitation_comes_from_the_room_and_names_inviter_and_answers(
        self, open_user: OpenUser, room: str
    ) -> None:
        """The invited one reads who asks, where to, and how to say yes or no."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room, private=True)
        await alice.say(room, f"#invite sip:{bob.address}")
        received = await bob.assert_gets(notice(alice.address, "#accept", "#deny"))
        assert received.sender == short(room)

    async def test_accepting_makes_a_member(self, open_user: OpenUser, room: str) -> None:
        """All are told, and the new member gets what is said from then on."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room, private=True)
        await alice.say(room, f"#invite sip:{bob.address} {user_part(room)}")
        await bob.assert_gets(notice(alice.address))
        await bob.say(room, "#accept")
        for one in (alice, bob):
            await one.assert_gets(notice(bob.address, "has joined"))
        await alice.say(room, "welcome")
        await bob.assert_gets(f"<{alice.address}>: welcome")

    @pytest.mark.parametrize("command", ["#deny", "#reject"])
    async def test_denying_ends_the_invitation(self, open_user: OpenUser, room: str, command: str) -> None:
        """Owner and admins are told; accepting afterwards is refused."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room, private=True)
        await alice.say(room, f"#invite sip:{bob.address}")
        await bob.assert_gets(notice(alice.address))
        await bob.say(room, command)
        await alice.assert_gets(notice(bob.address))
        await bob.say(room, "#accept")
        await bob.assert_gets(notice())
        await alice.assert_gets_nothing()

    async def test_nobody_is_invited_twice_before_the_answer(self, open_user: OpenUser, room: str) -> None:
        """The inviter is told; after a refusal another invitation may come."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room, private=True)
        await alice.say(room, f"#invite sip:{bob.address}")
        await bob.assert_gets(notice(alice.address, "#accept"))
        await alice.say(room, f"#invite sip:{bob.address}")
        await alice.assert_gets(notice(bob.address, "has not responded yet"))
        await bob.say(room, "#deny")
        await alice.assert_gets(notice(bob.address, "declined"))
        await alice.say(room, f"#invite sip:{bob.address}")
        await bob.assert_gets(notice(alice.address, "#accept"))

    async def test_invited_only_gets_no_messages_and_may_send_none(
        self, open_user: OpenUser, room: str
    ) -> None:
        """An invitation is no membership."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room, private=True)
        await alice.say(room, f"#invite sip:{bob.address}")
        await bob.assert_gets(notice(alice.address))
        await alice.say(room, "between us")
        await bob.assert_gets_nothing()
        await bob.say(room, "hello?")
        await bob.assert_gets(notice("not a member"))
        await alice.assert_gets_nothing()

    async def test_leaving_when_only_invited_is_denying(self, open_user: OpenUser, room: str) -> None:
        """`exit` of an invited one ends the invitation and tells the owner."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room, private=True)
        await alice.say(room, f"#invite sip:{bob.address}")
        await bob.assert_gets(notice(alice.address))
        await bob.say(room, "#exit")
        await alice.assert_gets(notice(bob.address))

    @pytest.mark.parametrize("private", [False, True])
    async def test_inviting_a_member_is_refused(self, open_user: OpenUser, room: str, private: bool) -> None:
        """The inviter is told that the user is in the room."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room, private)
        await add(alice, bob, room)
        await alice.say(room, f"#invite sip:{bob.address}")
        await alice.assert_gets(notice(bob.address))
        await bob.assert_gets_nothing()

    async def test_failed_invitation_is_withdrawn_and_the_inviter_told(
        self, open_user: OpenUser, room: str
    ) -> None:
        """A 480 to the invitation undoes it; the inviter, an admin here, reads why."""
        alice, bob, carol = await open_user("alice"), await open_user("bob"), await open_user("carol")
        carol.status_for = lambda _: 480
        await create(alice, room, private=True)
        await add(alice, bob, room)
        await promote(alice, bob, "admin", room)
        await bob.say(room, f"#invite sip:{carol.address}")
        await carol.assert_gets(notice(bob.address))
        await bob.assert_gets(notice(f"{carol.address} could not be reached", "invitation was withdrawn"))
        await alice.assert_gets_nothing()
        carol.status_for = lambda _: 200
        await carol.say(room, "#accept")
        await carol.assert_gets(notice())
        await alice.assert_gets_nothing()

    @pytest.mark.slow
    async def test_unanswered_invitation_is_withdrawn_and_the_inviter_told(
        self, open_user: OpenUser, room: str
    ) -> None:
        """Silence counts after timer F, 32 s."""
        alice, carol = await open_user("alice"), await open_user("carol")
        carol.status_for = lambda _: None
        await create(alice, room, private=True)
        await alice.say(room, f"#invite sip:{carol.address}")
        # an edge that loses its lease, as when the machine stands still for seconds, begins the 32 s anew
        await alice.assert_gets(notice(f"{carol.address} did not respond"), within=200)
        # RFC 3261 §17.1.2.2: 0.5 s doubling to 4 s, until 32 s: 11, or fewer where the machine stood still
        assert len(carol.arrivals) >= 7

    @pytest.mark.parametrize("command", ["#accept", "#deny"])
    async def test_answer_without_invitation_is_refused(
        self, open_user: OpenUser, room: str, command: str
    ) -> None:
        """Accepting or denying what nobody offered gets a notice, and no one else hears of it."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room)
        await bob.say(room, command)
        await bob.assert_gets(notice())
        await alice.assert_gets_nothing()


class TestRemove:
    """`remove user [room]`"""

    async def test_removed_one_and_the_rest_are_told(self, open_user: OpenUser, room: str) -> None:
        """The rest read who was removed; the removed one gets nothing more."""
        alice, bob, carol = await open_user("alice"), await open_user("bob"), await open_user("carol")
        await create(alice, room)
        await join(bob, room, alice)
        await join(carol, room, alice, bob)
        await alice.say(room, f"#remove sip:{bob.address}")
        await bob.assert_gets(notice("has removed you"))
        for one in (alice, carol):
            await one.assert_gets(notice(f"has removed {bob.address}"))
        await carol.say(room, "gone?")
        await alice.assert_gets(f"<{carol.address}>: gone\\?")
        await bob.assert_gets_nothing()

    async def test_invitation_is_removed(self, open_user: OpenUser, room: str) -> None:
        """An invited one can no longer accept."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room, private=True)
        await alice.say(room, f"#invite sip:{bob.address}")
        await bob.assert_gets(notice(alice.address))
        await alice.say(room, f"#remove sip:{bob.address}")
        await bob.assert_gets(notice())
        await alice.assert_gets(notice(bob.address))
        await bob.say(room, "#accept")
        await bob.assert_gets(notice())

    async def test_owner_cannot_be_removed_and_admin_only_by_the_owner(
        self, open_user: OpenUser, room: str
    ) -> None:
        """An admin removes members, not admins, and nobody the owner."""
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
        for one in (alice, bob):
            await one.assert_gets(notice(f"has removed {carol.address}"))

    async def test_somebody_who_is_not_there(self, open_user: OpenUser, room: str) -> None:
        """The sender is told that the user is not in the room."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room)
        await alice.say(room, f"#remove sip:{bob.address}")
        await alice.assert_gets(notice(bob.address))
        await bob.assert_gets_nothing()


class TestAddAndModify:
    """`add user [room]` and `modify user role [room]`"""

    async def test_added_user_is_a_member_at_once(self, open_user: OpenUser, room: str) -> None:
        """All are told, the added one with them."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room, private=True)
        await add(alice, bob, room)
        await bob.say(room, "here")
        await alice.assert_gets(f"<{bob.address}>: here")

    async def test_adding_a_member_is_refused(self, open_user: OpenUser, room: str) -> None:
        """The sender is told that the user is in the room."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room)
        await add(alice, bob, room)
        await alice.say(room, f"#add sip:{bob.address}")
        await alice.assert_gets(notice(bob.address))
        await bob.assert_gets_nothing()

    async def test_roles_show_in_the_list(self, open_user: OpenUser, room: str) -> None:
        """Owners are marked *, admins ~, invited ones left out; owners, admins, members, each by address."""
        alice, bob, carol, dave = [await open_user(name) for name in ("alice", "bob", "carol", "dave")]
        await create(alice, room)
        await add(alice, carol, room)
        await add(alice, bob, room, carol)
        await promote(alice, carol, "admin", room, bob)
        await alice.say(room, f"#invite sip:{dave.address}")
        await dave.assert_gets(notice(alice.address))
        await bob.say(room, "#members")
        received = await bob.assert_gets(
            notice(f"{alice.address} (owner)", f"{carol.address} (admin)", bob.address)
        )
        places = [received.text.index(one.address) for one in (alice, carol, bob)]
        assert places == sorted(places)
        assert dave.address not in received.text

    async def test_admin_gives_roles_up_to_admin(self, open_user: OpenUser, room: str) -> None:
        """An admin makes admins, but neither owners nor anything of the owner."""
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

    async def test_last_owner_cannot_step_down(self, open_user: OpenUser, room: str) -> None:
        """A second owner has to be there first."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room)
        await add(alice, bob, room)
        await alice.say(room, f"#modify sip:{alice.address} member")
        await alice.assert_gets(notice())
        await bob.assert_gets_nothing()
        await promote(alice, bob, "owner", room)
        await alice.say(room, f"#modify sip:{alice.address} member")
        for one in (alice, bob):
            await one.assert_gets(notice(alice.address, "member"))

    async def test_somebody_who_is_not_there(self, open_user: OpenUser, room: str) -> None:
        """A role needs a member."""
        alice = await open_user("alice")
        await create(alice, room)
        await alice.say(room, "#modify nobody@example.org admin")
        await alice.assert_gets(notice("nobody@example.org"))


class TestExitAndDestroy:
    """`exit`, `leave` and `destroy`"""

    @pytest.mark.parametrize("command", ["#exit", "#leave"])
    async def test_rest_is_told_that_a_member_left(
        self, open_user: OpenUser, room: str, command: str
    ) -> None:
        """The one that left gets nothing that is said afterwards."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room)
        await join(bob, room, alice)
        await bob.say(room, command)
        await alice.assert_gets(notice(bob.address, "has left"))
        await alice.say(room, "alone")
        await bob.assert_gets_nothing()

    async def test_room_goes_with_its_last_owner(self, open_user: OpenUser, room: str) -> None:
        """With owner_exit = destroy all members are told, and the name is free again."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room)
        await join(bob, room, alice)
        await alice.say(room, "#exit")
        for one in (alice, bob):
            await one.assert_gets(notice("deleted this room"))
        await create(bob, room)

    async def test_room_stays_while_another_owner_is_there(self, open_user: OpenUser, room: str) -> None:
        """Only the last owner's leaving ends the room."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room)
        await add(alice, bob, room)
        await promote(alice, bob, "owner", room)
        await alice.say(room, "#exit")
        await bob.assert_gets(notice(alice.address, "has left"))
        await bob.say(room, "#list")
        await bob.assert_gets(notice(f"{bob.address} (owner)"))

    @pytest.mark.parametrize("private", [False, True])
    async def test_destroying_ends_room_members_and_invitations(
        self, open_user: OpenUser, room: str, private: bool
    ) -> None:
        """All members are told; an invitation to it is worth nothing any more."""
        alice, bob, carol = await open_user("alice"), await open_user("bob"), await open_user("carol")
        await create(alice, room, private)
        await add(alice, bob, room)
        await alice.say(room, f"#invite sip:{carol.address}")
        await carol.assert_gets(notice(alice.address))
        await alice.say(room, "#destroy")
        for one in (alice, bob):
            await one.assert_gets(notice("deleted this room"))
        await carol.say(room, "#accept")
        await carol.assert_gets(notice())
        await alice.say(room, "anybody?")
        await alice.assert_gets(notice("this room does not exist"))

    async def test_only_the_owner_destroys(self, open_user: OpenUser, room: str) -> None:
        """An admin is refused, and the room stays."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room)
        await add(alice, bob, room)
        await promote(alice, bob, "admin", room)
        await bob.say(room, "#destroy")
        await bob.assert_gets(notice("owner"))
        await alice.assert_gets_nothing()


class TestLists:
    """`list`, `rooms` and `help`"""

    async def test_list_is_for_members(self, open_user: OpenUser, room: str) -> None:
        """Others are refused."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room)
        await bob.say(room, "#list")
        received = await bob.assert_gets(notice("not a member"))
        assert alice.address not in received.text

    async def test_long_list_comes_in_several_messages(self, open_user: OpenUser, room: str) -> None:
        """None of them is over 1,300 bytes, and together they name everybody, in order."""
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

    async def test_rooms_shows_public_ones_and_own_private_ones(self, open_user: OpenUser, room: str) -> None:
        """A private room is shown to who is in it, and not to who is only invited or a stranger."""
        alice, bob = await open_user("alice"), await open_user("bob")
        hidden = room.replace("room-", "hidden-")
        await create(alice, room)
        await create(alice, hidden, private=True)
        await alice.say(hidden, f"#invite sip:{bob.address}")
        await bob.assert_gets(notice(alice.address))
        await alice.say("sip:chat-manager@example.org", "#rooms")
        await whole_list(alice, short(room), short(hidden))
        await bob.say(room, "#rooms")
        assert short(hidden) not in await whole_list(bob, short(room))

    async def test_help_names_every_command_with_its_arguments(self, open_user: OpenUser) -> None:
        """With the configured start character; several notices if one is too small."""
        alice = await open_user("alice")
        await alice.say("sip:chat-manager@example.org", "#help")
        commands = (
            "#create [room] [private]", "#join [room]", "#invite user [room]", "#accept [room]",
            "#deny [room]", "#remove user [room]", "#add user [room]", "#modify user role [room]",
            "#exit [room]", "#destroy [room]", "#list [room]", "#rooms", "#help",
        )  # fmt: skip
        told = await whole_list(alice, *commands)
        assert [told.count(f"{command} - ") for command in commands] == [1] * len(commands)


async def whole_list(user: SipUser, *parts: str) -> str:
    """The notices of one answer, until they have all these parts, and those that follow at once."""
    text = ""
    while not all(part in text for part in parts):
        text += (await user.assert_gets(notice())).text + "\n"
    await asyncio.sleep(0.3)
    return text + "\n".join(received.text for received in user.drain())


class TestRefusals:
    """Whatever is refused or malformed gets a notice that says why, and for wrong usage the usage."""

    async def test_unknown_command(self, open_user: OpenUser, room: str) -> None:
        """The notice names the word and points to help."""
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
    async def test_wrong_usage(self, open_user: OpenUser, room: str, line: str, usage: str) -> None:
        """The notice shows how the command is used."""
        alice = await open_user("alice")
        await alice.say(room, line)
        await alice.assert_gets(notice(usage))

    @pytest.mark.parametrize("line", NEED_A_ROOM)
    async def test_room_that_is_not_there(self, open_user: OpenUser, room: str, line: str) -> None:
        """Every command but create and join, and every message, needs the room."""
        alice = await open_user("alice")
        await alice.say(room, line)
        await alice.assert_gets(notice("this room does not exist"))

    @pytest.mark.parametrize("line", NEED_A_ROOM)
    async def test_private_room_answers_strangers_as_an_absent_one(
        self, open_user: OpenUser, room: str, line: str
    ) -> None:
        """Nobody learns by asking whether a private room exists."""
        alice, bob = await open_user("alice"), await open_user("bob")
        await create(alice, room, private=True)
        absent = room.replace("room-", "none-")
        await bob.say(room, line)
        of_private = (await bob.assert_gets(notice())).text
        await bob.say(absent, line)
        of_absent = (await bob.assert_gets(notice())).text
        assert of_private.replace(short(room), short(absent)) == of_absent

    @pytest.mark.parametrize("line", [*OF_OTHERS, "#destroy"])
    async def test_plain_members_do_not_govern(self, open_user: OpenUser, room: str, line: str) -> None:
        """What owners and admins may do is refused to members, and to others."""
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
    async def test_malformed_arguments(self, open_user: OpenUser, room: str, line: str) -> None:
        """An argument that no address can be is refused, not repaired."""
        alice = await open_user("alice")
        await alice.say(room, line)
        await alice.assert_gets(notice())

    async def test_message_to_the_manager(self, open_user: OpenUser) -> None:
        """The manager has no room; the notice says so."""
        alice = await open_user("alice")
        await alice.say("sip:chat-manager@example.org", "hello")
        await alice.assert_gets(notice())

    async def test_rest_of_the_body_is_ignored(self, open_user: OpenUser, room: str) -> None:
        """Only the first line is the command."""
        alice = await open_user("alice")
        await alice.say(room, "#create\r\nprivate nonsense here")
        await alice.assert_gets(notice("You have created"))
