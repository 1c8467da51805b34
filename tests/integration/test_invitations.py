"""Invitations are sent, accepted, denied and withdrawn, with real processes, UDP and Redis."""

from __future__ import annotations

import pytest

from tests.imc_edge.sockets import until
from tests.integration.conftest import OpenUser
from tests.integration.room_steps import add, create, invite, promote, short, user_part
from tests.integration.sip_user import notice

pytestmark = pytest.mark.integration


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
        """After a refusal the inviter, here an admin, gets a notice."""
        alice, bob, carol = await open_user("alice"), await open_user("bob"), await open_user("carol")
        carol.status_for = lambda _: 486
        await create(alice, room, private=True)
        await add(alice, bob, room)
        await promote(alice, bob, "admin", room)
        await invite(bob, carol, room)
        await bob.assert_gets(notice("invitation was withdrawn", f"{carol.address} could not receive it"))
        await alice.assert_gets_nothing()
        carol.status_for = lambda _: 200
        await carol.say(room, "#accept")
        await carol.assert_gets(notice())
        await alice.assert_gets_nothing()

    async def test_an_invitation_that_finds_nobody_is_sent_again_when_the_user_is_there(
        self, open_user: OpenUser, room: str
    ) -> None:
        """The edge looks for the user after 2 s, then less and less often, until the user is there."""
        alice, carol = await open_user("alice"), await open_user("carol")
        carol.status_for = lambda _: 480
        await create(alice, room, private=True)
        await alice.say(room, f"#invite sip:{carol.address}")
        await alice.assert_gets(notice("You have invited"))
        await until(lambda: len(carol.arrivals) > 0)
        carol.status_for = lambda _: 200
        await carol.assert_gets(notice("invite"), within=200)
        await carol.say(room, "#accept")
        await carol.assert_gets(notice())
        await alice.assert_gets(notice(f"{carol.address} has joined"))

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
