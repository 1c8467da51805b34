"""Programs in a room that answer every message, each time with another text, and without Auto-Submitted."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from tests.integration.conftest import OpenUser, on_redis
from tests.integration.sip_user import SipUser, notice
from tests.patience import PATIENCE

pytestmark = pytest.mark.integration

MUTED = "responds to each message automatically"
MANY = 3000
"""Answers after which a loop counts as one without an end."""


async def answer(program: SipUser, room: str) -> None:
    """Answer all that is said in the room until the notice comes."""
    for number in itertools.count(1):
        received = await program.inbox.get()
        if MUTED in received.text:
            return
        assert number < MANY
        if not received.text.startswith("***"):
            await program.say(room, f"{program.name} is offline since {number} s")


@on_redis
@pytest.mark.parametrize("history", ["on", "off"])
async def test_two_programs_fall_silent(open_user: OpenUser, room: str, history: str) -> None:
    """One of them is muted and told once; then nothing is left to answer."""
    alice, bob, carol = [await open_user(name) for name in ("alice", "bob", "carol")]
    await alice.say(room, "#create")
    await alice.assert_gets(notice("You have created"))
    if history == "off":
        await alice.say(room, "#set history off")
        await alice.assert_gets(notice("You have changed what this room keeps"))
    for user in (bob, carol):
        await user.say(room, "#join")
        await user.assert_gets(notice("You have joined"))
    programs = [asyncio.create_task(answer(user, room)) for user in (bob, carol)]
    await alice.say(room, "hello all")
    done, running = await asyncio.wait(programs, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
    for task in running:
        task.cancel()
    assert len(done) == 1
    await done.pop()
    assert len([each for user in (bob, carol) for each in user.seen if MUTED in each.text]) == 1
