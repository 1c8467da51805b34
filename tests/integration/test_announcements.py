"""Joins and leaves, announced or quiet, with real processes over UDP."""

from __future__ import annotations

import secrets

import pytest

from tests.integration.conftest import OpenUser
from tests.integration.room_steps import add, create, join
from tests.integration.service import service
from tests.integration.sip_user import SipUser, notice

pytestmark = pytest.mark.integration


async def test_a_quiet_room_tells_only_those_concerned(open_user: OpenUser, room: str) -> None:
    """The owner turns announcements off and on again; messages arrive as before."""
    alice, bob, carol = await open_user("alice"), await open_user("bob"), await open_user("carol")
    await create(alice, room)
    await join(bob, room, alice)
    await bob.say(room, "#announce off")
    await bob.assert_gets(notice("only owners and admins"))
    await alice.say(room, "#announce off")
    await alice.assert_gets(notice("This room no longer announces joins and leaves"))
    await join(carol, room)
    await carol.say(room, "here")
    for one in (alice, bob):
        await one.assert_gets(f"<{carol.address}>: here")
    await carol.say(room, "#exit")
    await carol.assert_gets(notice("You have left"))
    await alice.say(room, "#announce on")
    await alice.assert_gets(notice("This room announces joins and leaves"))
    await join(carol, room, alice, bob)


async def test_with_announce_joins_false_rooms_are_quiet(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Unless an owner or admin says otherwise for the room."""
    quiet, loud = (f"sip:room-{secrets.token_hex(4)}@example.org" for _ in range(2))
    folder = tmp_path_factory.mktemp("quiet")
    with service(folder, "redis", {"announce_joins": "false"}) as running:
        alice, bob, carol = [await SipUser.open(name, running.edge) for name in ("alice", "bob", "carol")]
        try:
            for room in (quiet, loud):
                await create(alice, room)
            await alice.say(loud, "#announce on")
            await alice.assert_gets(notice("This room announces joins and leaves"))
            await join(bob, quiet)
            await join(bob, loud, alice)
            await add(alice, carol, quiet)
            await bob.say(quiet, "hello")
            for one in (alice, carol):
                await one.assert_gets(f"<{bob.address}>: hello")
        finally:
            for user in (alice, bob, carol):
                user.close()
