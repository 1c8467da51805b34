"""Expires between two edges whose clocks are two hours apart."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from imc_common import keys
from imc_common.keys import Keys, shard_of
from imc_common.settings import Endpoint
from tests.imc_edge.deliveries import User
from tests.imc_edge.doubles import message
from tests.imc_edge.process import User as Sender
from tests.integration.test_come_and_go import ALICE, Service
from tests.servers import redis_alone
from tests.tools import require

pytestmark = pytest.mark.integration


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with redis_alone() as server:
        service = Service(server, tmp_path)
        yield service
        service.end()


def test_expires_does_not_depend_on_which_edge_accepts_and_which_delivers(service: Service) -> None:
    """Each edge accepts messages for its own shards and for the other's.

    A member does not respond to the first message. Meanwhile the second, with Expires: 1, expires; the third,
    with Expires: 60, does not.
    """
    require("faketime")
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    at: list[Endpoint] = []
    for clock in ("+1h", "-1h"):
        service.environment = {"LD_PRELOAD": str(library), "FAKETIME": clock}
        service.environment["FAKETIME_DONT_FAKE_MONOTONIC"] = "1"
        service.join("edge")
        service.until(lambda: len(service.all_listening()) == len(at) + 1)  # runs within this iteration
        at.append(service.listening())
    service.environment = {}
    service.join("worker")
    service.until(lambda: service.shares("edge") == [8, 8] and service.shares("worker") == [16])
    first_edge = service.redis.get(keys.lease(0, "edge"))
    pairs = [(User(f"member-{number}"), endpoint) for number, endpoint in enumerate([*at, *at])]
    rooms = [
        room_of(service, user, owner, first_edge) for (user, _), owner in zip(pairs, "aabb", strict=True)
    ]
    try:
        waiting = []
        for (user, endpoint), room in zip(pairs, rooms, strict=True):
            with Sender(endpoint) as alice:
                for text, expires in (("one", 60), ("two", 1), ("three", 60)):
                    headers = {"From": f"<sip:{ALICE}>;tag=a", "To": f"<sip:{room}>", "Expires": str(expires)}
                    name = f"{text}-{user.address.partition('@')[0]}"
                    via = f"SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK{name};rport"
                    request = message(text.encode(), uri=f"sip:{room}", Via=via, Call_ID=name, **headers)
                    assert alice.ask(request).status == 202
            waiting.append(user.receive())
        time.sleep(2.0)  # longer than the second message's Expires
        for (user, _), first in zip(pairs, waiting, strict=True):
            assert user.respond(first).body.endswith(b"one")
            got = user.receive()
            while got is not None and got[0].body.endswith(b"one"):  # a retransmission
                got = user.receive()
            assert user.respond(got).body.endswith(b"three")
        shards = {shard_of(room, 4) for room in rooms}
        service.until(lambda: not any(service.redis.xlen(keys.events(shard)) for shard in shards))
        failed = [fields for shard in shards for _, fields in service.redis.xrange(keys.undelivered(shard))]  # type: ignore[union-attr, str-unpack]
        assert sorted(fields[b"from"].decode() for fields in failed) == sorted(u.address for u, _ in pairs)
    finally:
        for user, _ in pairs:
            user.close()


def room_of(service: Service, user: User, owner: str, first_edge: object) -> str:
    """A room of Alice and this user.

    Owner "a": its shard is owned by the edge of shard 0; "b": by the other.
    """
    names = Keys()
    for number in range(1000):
        room = f"room-{number}@example.org"
        shard = shard_of(room, 4)
        ours = service.redis.get(keys.lease(shard, "edge")) == first_edge
        if ours == (owner == "a") and service.redis.zscore(names.rooms(shard), room) is None:
            service.redis.zadd(names.rooms(shard), {room: 0})
            service.redis.hset(names.room(shard, room), "private", "0")
            roles = {ALICE: "owner", user.address: "member"}
            service.redis.hset(names.members(shard, room), mapping=roles)  # type: ignore[arg-type]
            return room
    raise AssertionError("no room")
