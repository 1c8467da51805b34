"""Private rooms do not reveal themselves to strangers, nor messages to removed members."""

from __future__ import annotations

import asyncio
import re

import pytest

from tests.integration.conftest import OpenUser
from tests.integration.room_steps import add, create, short
from tests.integration.sip_user import Received, SipUser, notice

pytestmark = pytest.mark.integration

COMMANDS = (
    "#invite {eve}", "#accept", "#deny", "#remove {alice}", "#remove {eve}", "#add {eve}",
    "#add {alice}", "#modify {alice} member", "#modify {eve} owner", "#exit", "#destroy", "#list", "hello",
    "#ban {alice}", "#ban {eve}", "#unban {eve}", "#bans", "#nick x", "#announce off",
)  # fmt: skip
UNIQUE_HEADERS = {"Call-Id", "In-Reply-To", "Date", "Via"}


def comparable(room: str, received: Received) -> list[str]:
    """The lines of the MESSAGE without the room's name, tags and headers that are unique to a request."""
    text = re.sub(r"tag=\w+", "tag", bytes(received.request).decode().replace(short(room), "ROOM"))
    return [line for line in text.split("\r\n") if line.partition(":")[0].title() not in UNIQUE_HEADERS]


async def list_of_rooms(user: SipUser, room: str) -> str:
    """The notices to `#rooms`: a long list, as after many tests, has several parts."""
    await user.say(room, "#rooms")
    first = (await user.assert_gets(notice("ooms"))).text
    parts = re.search(r"part 1 of (\d+)", first)
    rest = [(await user.assert_gets(notice("Rooms"))).text for _ in range(int(parts[1]) - 1 if parts else 0)]
    return "\n".join([first, *rest])


async def test_a_stranger_cannot_tell_a_private_room_from_an_absent_one(
    open_user: OpenUser, room: str
) -> None:
    """Every command gets the same status and the same notice except for the room's name."""
    alice = await open_user("alice")
    await create(alice, room, private=True)
    absent = room.replace("room-", "none-")
    for number, line in enumerate(COMMANDS):
        stranger = await open_user(f"stranger-{number}")  # notices to one user are limited
        told = []
        for each, eve in ((room, "eve-0"), (absent, "eve-1")):  # two, since a user is not invited twice
            response = await stranger.send(each, line.format(alice=alice.address, eve=eve))
            assert response.code == 202
            received = await stranger.assert_gets(notice("this room does not exist"))
            told.append([text.replace(eve, "EVE") for text in comparable(each, received)])
        assert told[0] == told[1], line
    assert short(room) not in await list_of_rooms(stranger, room)
    assert f"{short(room)} (private)" in await list_of_rooms(alice, room)
    await alice.assert_gets_nothing()


async def test_a_removed_member_gets_everything_before_and_nothing_after_the_removal(
    open_user: OpenUser, room: str
) -> None:
    """Three others talk while bob, who responds late and has a queue, is removed.

    The last message that he gets is the notice of the removal.
    """
    alice, bob = await open_user("alice"), await open_user("bob")
    talkers = [await open_user(f"talker{number}") for number in range(3)]
    await create(alice, room, private=True)
    await add(alice, bob, room)
    for number, talker in enumerate(talkers):
        await add(alice, talker, room, bob, *talkers[:number])
    ignored = [2]

    def slowly(_request: object) -> int | None:
        ignored[0] -= 1
        return 200 if ignored[0] < 0 else None

    bob.status_for = slowly

    is_removed = asyncio.Event()

    async def talk(talker: SipUser) -> int:
        """At least ten lines before and ten after the removal, without a pause; returns their number."""
        after = 0
        for number in range(500):
            after += is_removed.is_set()
            if number > 10 and after > 10:
                return number
            await talker.say(room, f"{talker.name} says {number}")
        return 500

    talking = [asyncio.create_task(talk(talker)) for talker in talkers]
    await asyncio.sleep(0.05)
    await alice.say(room, f"#remove {bob.address}")
    is_removed.set()
    said = sum(await asyncio.gather(*talking))
    while "has removed you" not in (await bob.assert_gets(".*")).text:
        pass
    await bob.assert_gets_nothing(1.0)
    await alice.until(lambda texts: sum(" says " in text for text in texts) == said)
    at = next(number for number, text in enumerate(alice.texts()) if "You have removed" in text)
    said_before = [text for text in alice.texts()[:at] if " says " in text]
    assert [text for text in bob.texts() if " says " in text] == said_before
    assert any(" says " in text for text in alice.texts()[at:]), "messages follow the removal"
