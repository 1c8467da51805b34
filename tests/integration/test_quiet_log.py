"""Messages write no log lines at the default level."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.integration.room_steps import create, join
from tests.integration.service import Service, service
from tests.integration.sip_user import SipUser

MESSAGES = 20

pytestmark = pytest.mark.integration


@pytest.fixture
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with the default log level."""
    with service(tmp_path_factory.mktemp("quiet"), "redis", {"log_level": "info"}) as running:
        yield running


async def test_messages_write_no_log_line_at_info(quiet: Service, room: str) -> None:
    """They would fill the log of a busy system. (A few other lines may appear if the machine stalls.)"""
    alice, bob = [await SipUser.open(name, quiet.edge) for name in ("alice", "bob")]
    try:
        await create(alice, room)
        await join(bob, room, alice)
        before = [log.log() for log in (*quiet.edges, *quiet.workers)]
        for number in range(MESSAGES):
            await alice.say(room, f"number {number}")
            await bob.assert_gets(f"<{alice.address}>: number {number}")
        assert all(before)
        await asyncio.to_thread(quiet.wait_until_settled)
        after = [log.log() for log in (*quiet.edges, *quiet.workers)]
        new = [now.removeprefix(old) for now, old in zip(after, before, strict=True)]
        assert all(text.count("\n") < MESSAGES for text in new), new
        assert not any(room.removeprefix("sip:") in text or alice.address in text for text in new), new
    finally:
        for user in (alice, bob):
            user.close()
