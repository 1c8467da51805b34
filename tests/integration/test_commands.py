"""Lists, help, and what is refused in every room, with real processes, UDP and Redis."""

from __future__ import annotations

import asyncio

import pytest

from imc_common.rooms.commands import COMMANDS
from tests.integration.conftest import OpenUser
from tests.integration.room_steps import create, invite, join, short
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
