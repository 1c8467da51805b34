"""Private rooms as a stranger sees them: on the wire, and while somebody is put out."""

from __future__ import annotations

import asyncio
import re

import pytest

from tests.integration.conftest import OpenUser
from tests.integration.sip_user import Received, SipUser, notice
from tests.integration.test_commands import add, create, short

pytestmark = pytest.mark.integration

COMMANDS = (
    "#invite {eve}", "#accept", "#deny", "#remove {alice}", "#remove {eve}", "#add {eve}",
    "#add {alice}", "#modify {alice} member", "#modify {eve} owner", "#exit", "#destroy", "#list", "hello",
)  # fmt: skip
OWN_OF_EACH = {"Call-Id", "In-Reply-To", "Date", "Via"}


def apart_from(room: str, received: Received) -> list[str]:
    """The whole MESSAGE, line by line, without the room's name and what no two requests share."""
    text = re.sub(r"tag=\w+", "tag", bytes(received.request).decode().replace(short(room), "ROOM"))
    return [line for line in text.split("\r\n") if line.partition(":")[0].title() not in OWN_OF_EACH]


async def test_on_the_wire_a_private_room_is_like_none(open_user: OpenUser, room: str) -> None:
    """Every command, answered with the same status and a notice that differs in nothing but the name."""
    alice = await open_user("alice")
    await create(alice, room, private=True)
    absent = room.replace("room-", "none-")
    for line in COMMANDS:
        stranger = await open_user("stranger")  # another each time: one may not send so many commands
        told = []
        for each, eve in ((room, "eve-0"), (absent, "eve-1")):  # nobody is invited twice so soon
            answer = await stranger.send(each, line.format(alice=alice.address, eve=eve))
            assert answer.code == 202
            received = await stranger.assert_gets(notice("there is no room"))
            told.append([text.replace(eve, "EVE") for text in apart_from(each, received)])
        assert told[0] == told[1], line
    await stranger.say(room, "#rooms")
    assert short(room) not in (await stranger.assert_gets(notice("Rooms"))).text
    await alice.say(room, "#rooms")
    assert f"{short(room)} (private)" in (await alice.assert_gets(notice("Rooms"))).text
    await alice.assert_gets_nothing()


async def test_after_their_removal_nobody_hears_a_thing(open_user: OpenUser, room: str) -> None:
    """While three others talk, the notice of the removal is the last that bob gets; all they said before, he
    got before, and nothing of what came after, though he is slow and much waits for him."""
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

    bob.answer = slowly

    is_removed = asyncio.Event()

    async def talk(talker: SipUser) -> int:
        """Ten before and ten after, at least; and all the time between. How many it were."""
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
    while "You have been removed" not in (await bob.assert_gets(".*")).text:
        pass
    await bob.assert_gets_nothing(1.0)
    await alice.until(lambda texts: sum(" says " in text for text in texts) == said)
    at = next(number for number, text in enumerate(alice.texts()) if "has been removed" in text)
    said_before = [text for text in alice.texts()[:at] if " says " in text]
    assert [text for text in bob.texts() if " says " in text] == said_before
    assert any(" says " in text for text in alice.texts()[at:]), "the removal came in the middle"
