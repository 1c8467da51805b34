"""Removing and banning: who may come back, with real processes over UDP."""

from __future__ import annotations

import pytest

from tests.integration.conftest import OpenUser
from tests.integration.room_steps import create, join
from tests.integration.sip_user import notice

pytestmark = pytest.mark.integration


async def test_a_removed_user_can_rejoin_a_public_room_and_a_banned_user_cannot(
    open_user: OpenUser, room: str
) -> None:
    """Until the ban is lifted; each step gets a notice."""
    alice, bob, carol = await open_user("alice"), await open_user("bob"), await open_user("carol")
    await create(alice, room)
    await join(bob, room, alice)
    await join(carol, room, alice, bob)
    await alice.say(room, f"#remove sip:{bob.address}")
    await bob.assert_gets(notice("has removed you"))
    await alice.assert_gets(notice("You have removed", f"#ban {bob.address}"))
    await carol.assert_gets(notice("has removed", bob.address))
    await join(bob, room, alice, carol)

    await alice.say(room, f"#ban sip:{bob.address}")
    await bob.assert_gets(notice(f"{alice.address} has banned you from this room"))
    await alice.assert_gets(notice(f"You have banned {bob.address}", f"#unban {bob.address}"))
    await carol.assert_gets(notice(f"{alice.address} has banned {bob.address}"))
    for line in ("#join", "#create"):
        await bob.say(room, line)
        await bob.assert_gets(notice(f"{line}: you are banned from this room"))
    await bob.say(room, "let me in")
    await bob.assert_gets(notice("not a member"))
    await alice.say(room, f"#invite sip:{bob.address}")
    await alice.assert_gets(notice(f"{bob.address} is banned", "#unban"))
    await alice.say(room, "#bans")
    await alice.assert_gets(notice("Banned:\n" + bob.address.rpartition(":")[0]))
    await carol.assert_gets_nothing()
    await bob.assert_gets_nothing()

    await alice.say(room, f"#unban sip:{bob.address}")
    await alice.assert_gets(notice("You have lifted the ban", bob.address))
    await join(bob, room, alice, carol)


async def test_members_cannot_ban_and_see_no_bans(open_user: OpenUser, room: str) -> None:
    """These are commands of owners and admins."""
    alice, bob = await open_user("alice"), await open_user("bob")
    await create(alice, room)
    await join(bob, room, alice)
    for line in (f"#ban sip:{alice.address}", f"#unban sip:{alice.address}", "#bans"):
        await bob.say(room, line)
        await bob.assert_gets(notice("only owners and admins"))
    await alice.assert_gets_nothing()
