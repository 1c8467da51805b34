"""A NOTIFY that found nobody: the device gets what it has missed when it is back, and nothing before."""

from __future__ import annotations

import json

import pytest

from imc_common import keys
from imc_common.rooms.delivery_reports import AWAY
from tests.lua.conference import (
    BOBS,
    PHONE,
    about,
    accept,
    contents,
    devices,
    handle,
    named,
    notified,
    opened,
    report,
    rosters,
    subscribe,
)
from tests.lua.shard import ALICE, BOB, CAROL, DAVE, IN, OUT, ROOM, SCRIPTS, SHARD, Shard, decoded

OTHER = "chat-001@example.org"


@pytest.fixture
def room(shard: Shard) -> Shard:
    """Two phones see the roster. Alice's has missed that Carol was added."""
    made(shard, ROOM)
    miss(shard, ROOM)
    return shard


def made(shard: Shard, room: str) -> None:
    shard.settings["history_max_messages"] = 0
    opened(shard, BOB, room=room)
    accept(shard, BOBS, by=BOBS, room=room)
    shard.settings["history_max_messages"] = 500
    for device in (PHONE, BOBS):
        subscribe(shard, device, room=room)
    settle(shard, room)


def miss(shard: Shard, room: str, status: str = "480") -> None:
    """Carol is added, and Alice's phone does not get the NOTIFY."""
    handle(shard, "add", ALICE, room, user=CAROL)
    settle(shard, room, status)


def settle(shard: Shard, room: str = ROOM, status: str = "200") -> list[str]:
    """Make the NOTIFY requests that are asked for; those to Alice end so. Returns who got one."""
    told = []
    for to, content in [*contents(shard), *notified(shard, room)]:
        told.append(to)
        ended = status if to == PHONE else "200"
        report(shard, "settle_notify", to, ended, room, event="notify", of=content["id"])
    return told


def come_online(shard: Shard, user: str = ALICE) -> None:
    entry_id = shard.put("user_online", user, user)
    assert shard.run("call_user_back", *shard.call_online(entry_id, user)) == "done"


def probe(shard: Shard, user: str = ALICE) -> int:
    shard.redis.zadd(keys.probes(SHARD), {user: 1})
    return int(shard.run("probe_users", *shard.call_probes()))


def awaited(shard: Shard) -> set[str]:
    found: set[str] = decoded(shard.redis.smembers(keys.away_rooms(SHARD, ALICE)))
    return found


def subscription(shard: Shard, device: str = PHONE, room: str = ROOM) -> dict[str, object]:
    found: dict[str, object] = json.loads(about(shard, "subscription", device, room) or "{}")
    return found


def test_a_device_that_is_back_gets_what_it_has_missed_at_once(room: Shard) -> None:
    """Whatever tells that its user is back; the whole roster, with the next version."""
    assert awaited(room) == {f"{ROOM} {PHONE}"}
    assert decoded(room.redis.zrange(keys.probes(SHARD), 0, -1)) == [ALICE]
    come_online(room)
    ((to, content),) = notified(room)
    assert (to, content["full"], content["version"]) == (PHONE, True, 3)
    assert CAROL in [user[0] for user in content["users"]]
    assert awaited(room) == set()
    report(room, "settle_notify", PHONE, "200", event="notify", of=content["id"])
    assert "missed" not in subscription(room)
    come_online(room)
    assert rosters(room) == []


def test_until_then_it_gets_no_further_ones(room: Shard) -> None:
    """Each would take as long as a request to nobody. The others get theirs."""
    handle(room, "add", ALICE, user=DAVE)
    assert settle(room) == [BOBS]
    come_online(room)
    ((to, content),) = notified(room)
    assert (to, len(content["users"])) == (PHONE, 4)


def test_one_that_fails_again_is_waited_for_again(room: Shard) -> None:
    for _ in range(3):
        come_online(room)
        assert settle(room, status="408") == [PHONE]
        assert awaited(room) == {f"{ROOM} {PHONE}"}
        assert decoded(room.redis.zrange(keys.probes(SHARD), 0, -1)) == [ALICE]


def test_a_user_is_probed_with_the_notify_of_one_room(room: Shard) -> None:
    """Each failed probe doubles the wait. If the NOTIFY is accepted, those of the other rooms follow."""
    made(room, OTHER)
    miss(room, OTHER)
    waits = []
    for _ in range(3):
        assert probe(room) == 1
        waits.append(int(room.redis.hget(keys.probe_waits(SHARD), ALICE) or 0))
        ((_, probed),) = [(entry, each["room"]) for entry, each in decoded(room.redis.xrange(OUT))]
        assert settle(room, probed, "480") == [PHONE]
    assert waits == [4000, 8000, 16000]
    assert probe(room) == 1
    ((_, probed),) = [(entry, each["room"]) for entry, each in decoded(room.redis.xrange(OUT))]
    assert settle(room, probed) == [PHONE]
    ((entry, request),) = decoded(room.redis.xrange(IN))
    assert (request["type"], request["from"]) == ("user_online", ALICE)
    assert room.run("call_user_back", *room.call_online(entry, ALICE)) == "done"
    (further,) = {each["room"] for _, each in decoded(room.redis.xrange(OUT))}
    assert further != probed
    assert settle(room, further) == [PHONE]
    assert not room.redis.exists(keys.away_rooms(SHARD, ALICE), keys.probes(SHARD), keys.probe_waits(SHARD))


def test_a_message_that_was_missed_is_the_probe(room: Shard) -> None:
    """What follows from it brings the roster, too."""
    handle(room, "message", BOB, device=BOBS)
    ((to, more),) = [each for each in named(room, "message") if each[0] == PHONE]
    report(room, "mark_away", to, "480", event="message", history_id=more["history_id"], user=BOB)
    assert probe(room) == 1
    assert rosters(room) == []
    come_online(room)
    (leading,) = [e for e, each in decoded(room.redis.xrange(OUT)) if each["event"] == "catch_up"]
    assert room.run("hand_out", *room.call_hand_out(leading, PHONE)) == 1
    assert devices(room)[PHONE] == "device"
    assert settle(room) == [PHONE]
    assert awaited(room) == set()


def test_a_device_whose_messages_are_not_kept_any_more_is_probed_all_the_same(room: Shard) -> None:
    """It is away no longer, and has missed the NOTIFY."""
    handle(room, "message", BOB, device=BOBS)
    report(room, "mark_away", PHONE, "480", event="message", history_id="1-1", user=BOB)
    room.redis.delete(room.keys.history(SHARD, ROOM))
    named(room, "message")
    for wait in (4000, 8000):
        assert probe(room) == 1
        assert room.redis.hget(keys.probe_waits(SHARD), ALICE) == str(wait).encode()
        assert settle(room, status="480") == [PHONE]
        assert (devices(room)[PHONE], awaited(room)) == ("device", {f"{ROOM} {PHONE}"})


@pytest.mark.parametrize("seconds", [600, 0])
def test_a_device_that_subscribes_is_back(room: Shard, seconds: int) -> None:
    """It gets its NOTIFY for that; later signs lead to nothing more."""
    subscribe(room, PHONE, seconds, last=2)
    assert settle(room) == [PHONE]
    come_online(room)
    assert rosters(room) == []
    assert awaited(room) == set()


def test_a_user_who_has_left_is_waited_for_no_more(room: Shard) -> None:
    room.ask("modify", ALICE, user=BOB, role="owner")
    handle(room, "exit", ALICE)
    assert probe(room) == 0
    assert awaited(room) == set()
    assert not room.redis.exists(keys.probes(SHARD))


def test_every_outcome_that_means_nobody_is_there_is_waited_for(shard: Shard) -> None:
    """The copy of the script is that of Python. 500 is mended by a higher CSeq."""
    source = SCRIPTS.sources["settle_notify"]
    named_here = source.partition("local NOBODY = {")[2].partition("\n}")[0]
    assert {each.split('"')[1] for each in named_here.split(",") if each.strip()} == AWAY - {"500"}


def test_a_refusal_is_not_waited_for(shard: Shard) -> None:
    """The device is there. It gets the whole roster with the next change."""
    made(shard, ROOM)
    miss(shard, ROOM, "403")
    assert awaited(shard) == set()
    handle(shard, "add", ALICE, user=DAVE)
    assert sorted(settle(shard)) == sorted([PHONE, BOBS])
