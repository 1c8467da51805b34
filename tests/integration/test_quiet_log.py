"""What a message costs in log lines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.service import Service, service
from tests.integration.sip_user import SipUser
from tests.integration.test_commands import create, join

pytestmark = pytest.mark.integration


@pytest.fixture
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that logs as it does by itself."""
    with service(tmp_path_factory.mktemp("quiet"), "redis", {"log_level": "info"}) as running:
        yield running


async def test_messages_leave_no_line(quiet: Service, room: str) -> None:
    """At `info`: a busy system would write nothing else."""
    alice, bob = [await SipUser.open(name, quiet.edge) for name in ("alice", "bob")]
    try:
        await create(alice, room)
        await join(bob, room, alice)
        before = [log.log() for log in (*quiet.edges, *quiet.workers)]
        for number in range(5):
            await alice.say(room, f"number {number}")
            await bob.assert_gets(f"<{alice.address}>: number {number}")
        assert all(before)
        assert [log.log() for log in (*quiet.edges, *quiet.workers)] == before
    finally:
        for user in (alice, bob):
            user.close()
