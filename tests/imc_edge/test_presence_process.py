"""Real edges on a real Redis hear from each other who is back: by REGISTER, and by what users send.

What workers make of it is in `tests/integration/test_away.py`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from imc_common import keys
from imc_common.rooms.request import RoomRequest
from imc_common.settings import Endpoint
from tests.imc_edge import process
from tests.imc_edge.deliveries import SHARD, Deployment, same
from tests.imc_edge.process import EdgeProcess, edge_process, fresh
from tests.servers import Server, running

pytestmark = pytest.mark.integration


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "redis"
    folder.mkdir()
    with running("redis-server", folder, "--maxmemory-policy", "noeviction") as started:
        yield started


@pytest.fixture
def deployment(server: Server, tmp_path: Path) -> Iterator[Deployment]:
    """Edges of a service whose rooms keep messages."""
    deployment = Deployment(server, tmp_path)
    deployment.settings["history_max_messages"] = 500
    yield deployment
    deployment.end()


@pytest.fixture
def receiver(server: Server, tmp_path: Path) -> Iterator[EdgeProcess]:
    """An edge for requests; it may own no shard, because the other one has them all."""
    with edge_process(tmp_path, server.url, history_max_messages=500) as edge:
        yield edge


def register(at: Endpoint, user: str, contact: str) -> int | None:
    """The status of the response to a REGISTER of this user."""
    with process.User(at) as proxy:
        data = fresh("REGISTER", To=f"<sip:{user}>", From=f"<sip:{user}>;tag={secrets.token_hex(4)}")
        return proxy.status(
            data.replace(b"\r\n\r\n", f"\r\nContact: {contact}\r\n\r\n".encode(), 1), seconds=20
        )


def requests(deployment: Deployment) -> list[tuple[str, str, str]]:
    """Type, sender and status of what waits for the room's worker, in order."""
    entries = deployment.redis.xrange(keys.requests(SHARD))
    read = [RoomRequest.from_fields(fields) for _, fields in entries]
    return [(each.type, each.sender, each.status) for each in read]


def test_a_pending_delivery_of_one_edge_is_sent_again_when_another_gets_a_register(
    deployment: Deployment, receiver: EdgeProcess
) -> None:
    """With a new branch, long before a retransmission or a timeout would help."""
    bob, (at, *_) = deployment.bob, receiver.endpoints()
    deployment.start()
    deployment.event(bob)
    first = bob.receive()
    assert first is not None
    assert bob.receive() is not None  # a retransmission: T1 is over
    seen = {first[0].via.branch}
    again = None
    while again is None or again[0].via.branch in seen:
        assert register(at, bob.address, f"<sip:{bob.address}>") == 200
        again = bob.receive()
    assert same(bob.respond(again), first[0])
    deployment.until(lambda: deployment.left() == 0)


def test_what_a_user_misses_is_noted_and_asked_for_when_it_registers(
    deployment: Deployment, receiver: EdgeProcess
) -> None:
    """Once for the shard, whatever number of messages it missed there."""
    bob, (at, *_) = deployment.bob, receiver.endpoints()
    deployment.start()
    for number in range(3):
        deployment.event(bob, text=f"m{number}")
    bob.respond(bob.receive(), 480)
    deployment.until(lambda: deployment.left() == 0)
    failures = [("delivery_report", bob.address, "480"), *[("delivery_report", bob.address, "away")] * 2]
    assert requests(deployment) == failures
    hint = keys.away_shards(bob.address)
    deployment.until(lambda: deployment.redis.smembers(hint) == {str(SHARD).encode()})
    assert register(at, bob.address, f"<sip:{bob.address}>") == 200
    deployment.until(lambda: requests(deployment) == [*failures, ("user_online", bob.address, "")])

    def is_taken() -> bool:
        if deployment.redis.exists(
            hint
        ):  # the edge notes it twice, and the second time may be after a REGISTER
            assert register(at, bob.address, f"<sip:{bob.address}>") == 200
        return not deployment.redis.exists(hint)

    deployment.until(is_taken)
    assert bob.receive(0.2) is None


def test_a_message_of_a_user_asks_for_what_it_missed(deployment: Deployment, receiver: EdgeProcess) -> None:
    """To whatever room it is."""
    (at, *_) = receiver.endpoints()
    deployment.redis.sadd(keys.away_shards("alice@example.org"), SHARD)
    with process.User(at) as alice:
        assert alice.ask(fresh(uri="sip:another@example.org", To="<sip:another@example.org>")).status == 202
    deployment.until(lambda: ("user_online", "alice@example.org", "") in requests(deployment))
    deployment.until(lambda: not deployment.redis.exists(keys.away_shards("alice@example.org")))


def test_nothing_is_sent_to_a_user_that_has_left(deployment: Deployment, receiver: EdgeProcess) -> None:
    """The message counts as missed without an attempt."""
    bob, (at, *_) = deployment.bob, receiver.endpoints()
    deployment.start()
    deployment.event(bob)
    bob.respond(bob.receive())
    deployment.until(lambda: deployment.left() == 0)

    def is_missed() -> bool:
        assert register(at, bob.address, f"<sip:{bob.address}>;expires=0") == 200
        deployment.event(bob)
        got = bob.receive(0.5)
        if got is not None:  # the subscription of the other edge is not there yet
            bob.respond(got)
        return got is None

    deployment.until(is_missed)
    assert requests(deployment)[-1] == ("delivery_report", bob.address, "away")


def test_edges_go_on_without_the_channel(
    deployment: Deployment, receiver: EdgeProcess, server: Server
) -> None:
    """Redis kills the subscriptions; they come back, and nothing else is affected meanwhile."""
    bob, (at, *_) = deployment.bob, receiver.endpoints()
    deployment.start()
    deployment.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    deployment.event(bob)
    first = bob.receive()
    assert first is not None
    assert register(at, bob.address, f"<sip:{bob.address}>") == 200
    bob.respond(first)
    deployment.until(lambda: deployment.left() == 0)
    deployment.until(lambda: deployment.redis.pubsub_numsub(keys.PRESENCE) == [(keys.PRESENCE.encode(), 2)])
