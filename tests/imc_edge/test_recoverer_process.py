"""A real edge finds orphaned stream entries while others are pending."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from imc_common import keys
from imc_common.rooms.request import RequestData
from tests.imc_edge.crowd import Room
from tests.imc_edge.deliveries import ROOM, SHARD, Deployment, User
from tests.servers import redis_alone

pytestmark = pytest.mark.integration

EVENTS, PART = 15, 64
"""Fewer events than an edge reads at once, and so many recipients that it waits after each."""
PACE = 120
"""Responses a second: so that the whole room takes as long as four looks of the recoverer."""
LOOKS_OFTEN = """
import sys
from imc_common.shards import owned_streams
from imc_edge import __main__
class Often(owned_streams.Recoverer):
    def __init__(self, *parts):
        super().__init__(*parts)
        self._period = 2.0
owned_streams.Recoverer = Often
sys.exit(__main__.main())
"""
"""An edge whose recoverer looks every two seconds instead of every two leases."""


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    with redis_alone() as server:
        deployment = Deployment(server, tmp_path)
        yield deployment
        deployment.end()


def test_orphaned_entries_are_sent_and_those_in_flight_are_not_sent_again(deployment: Deployment) -> None:
    """One event is in flight to a silent member; many were read and wait for their turn, because a room
    responds slowly; one was handed out and its reply was lost. Only that one is read again.
    """
    deployment.settings["max_in_flight"] = 16
    deployment.start("-c", LOOKS_OFTEN)
    deployment.event(deployment.bob, text="in flight")
    dave, room = User("dave"), Room(PACE, EVENTS * PART)
    try:
        silent = deployment.bob.receive()
        assert silent is not None
        hand_out_and_lose(deployment, dave)
        for first in range(0, len(room.members), PART):
            deployment.event_to(room.members[first : first + PART])
        deployment.until(lambda: len(found_by(deployment)) > 0)
        assert len(room.first) < len(room.members)  # so some events wait for their turn
        assert dave.respond(dave.receive()).body == b"lost"
        deployment.until(lambda: deployment.left() == 1)  # all but the silent one's
        deployment.bob.respond(silent)
        deployment.until(lambda: deployment.left() == 0)
        assert room.responded.keys() == set(room.members)
        assert dave.receive(0.2) is None
    finally:
        room.end()
        dave.close()
    assert set(found_by(deployment)) == {1}


def found_by(deployment: Deployment) -> list[int]:
    """How many entries the edge found in nobody's hand, each time that it found any."""
    lines = [json.loads(line) for line in deployment.log.read_text().splitlines() if line.endswith("}")]
    return [line["entries"] for line in lines if line["event"] == "orphaned entries found"]


def hand_out_and_lose(deployment: Deployment, user: User) -> None:
    """An event that Redis has handed out in a reply that never reached the edge."""
    stream = keys.events(SHARD)
    (group,) = deployment.redis.xinfo_groups(stream)  # type: ignore[misc]
    entry_id = f"{int(time.time() * 1000) + 1}-0"
    fields = {"event": "message", "room": ROOM, "to": user.address, "from": "alice@example.org"}
    with deployment.redis.pipeline(transaction=True) as both:
        both.xadd(
            stream,
            {**fields, "data": RequestData("text/html", b"lost", call_id="lost", at=1).pack()},
            id=entry_id,
        )
        both.xgroup_setid(stream, group["name"], entry_id)
        both.execute()
