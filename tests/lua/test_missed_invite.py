"""A device that an INVITE did not find is invited again when its user is probed, for an hour."""

from __future__ import annotations

import pytest

from imc_common import keys
from imc_common.rooms.delivery_reports import AWAY, DECLINED
from tests.lua.conference import (
    BOBS,
    BOBS_OTHER,
    about,
    accept,
    devices,
    events,
    handle,
    named,
    opened,
    report,
)
from tests.lua.shard import ALICE, BOB, IN, ROOM, SHARD, Shard, decoded

OTHER = "chat-001@example.org"
THIRD = f"{BOB};gr=urn:uuid:3"
AN_HOUR = 3600 * 1000


@pytest.fixture
def room(shard: Shard) -> Shard:
    """Bob is a member in two rooms, and one of his devices was not there for the INVITEs to it."""
    for address in (ROOM, OTHER):
        made(shard, address)
    for address in (ROOM, OTHER):
        miss(shard, address)
    return shard


def made(shard: Shard, address: str) -> None:
    opened(shard, BOB, room=address)
    accept(shard, BOBS, by=BOBS, room=address)
    shard.redis.hset(keys.devices(SHARD, address), BOBS, "device")
    shard.redis.delete(keys.away_rooms(SHARD, BOB), keys.probes(SHARD))
    shard.redis.hdel(shard.keys.room(SHARD, address), f"away:{BOBS}", f"invitation:{BOB}")
    events(shard)


def miss(shard: Shard, address: str, device: str = BOBS_OTHER, status: str = "480") -> None:
    handle(shard, "invite_device", BOB, address, device=device)
    assert invited(shard, status) == [(device, address)]


def invited(shard: Shard, status: str) -> list[tuple[str, str]]:
    """The devices that are invited now, and the rooms. Each INVITE ends so."""
    found = []
    for to, _ in named(shard, "invite"):
        for address in (ROOM, OTHER):
            of = about(shard, "invitation", to, address)
            if of:
                found.append((to, address))
                if status == "200":
                    accept(shard, to, by=to, room=address)
                else:
                    report(shard, "mark_away", to, status, address, event="invite", of=of, user=BOB)
    events(shard)
    return found


def probe(shard: Shard) -> int:
    """The probe of Bob is due; a worker does what it asks for."""
    shard.redis.zadd(keys.probes(SHARD), {BOB: 1})
    return look(shard)


def look(shard: Shard) -> int:
    """A worker looks who is to be probed."""
    count = int(shard.run("probe_users", *shard.call_probes()))
    for entry, request in decoded(shard.redis.xrange(IN)):
        assert request["type"] == "invite_device"
        command = shard.command("invite_device", entry, BOB, request["room"])
        assert shard.run("invite_device", *command) == "done"
    return count


def awaited(shard: Shard) -> set[str]:
    found: set[str] = decoded(shard.redis.smembers(keys.away_rooms(SHARD, BOB)))
    return found


def wait(shard: Shard) -> int:
    return int(shard.redis.hget(keys.probe_waits(SHARD), BOB) or 0)


def come_online(shard: Shard) -> None:
    entry_id = shard.put("user_online", BOB, BOB)
    assert shard.run("call_user_back", *shard.call_online(entry_id, BOB)) == "done"


def test_a_device_that_was_not_there_is_invited_again(room: Shard) -> None:
    """By each probe into one room, and the waits grow. When it has accepted, the next room follows."""
    assert awaited(room) == {f"{ROOM} {BOBS_OTHER}", f"{OTHER} {BOBS_OTHER}"}
    assert wait(room) == 2000
    waits = []
    for _ in range(3):
        assert probe(room) == 1
        assert len(invited(room, "480")) == 1
        waits.append(wait(room))
    assert waits == [4000, 8000, 16000]
    assert probe(room) == 1
    rooms = [address for _, address in invited(room, "200")]
    assert look(room) == 1, "at once"
    rooms += [address for _, address in invited(room, "200")]
    assert sorted(rooms) == sorted([ROOM, OTHER])
    assert BOBS_OTHER in devices(room)
    look(room)
    assert invited(room, "200") == []


def test_a_sign_of_the_user_makes_the_probe_due(room: Shard) -> None:
    """It may come from another device, and often: then the waits between the probes become no shorter."""
    for _ in range(4):
        assert probe(room) == 1
        assert len(invited(room, "480")) == 1
    for number in range(1, 4):
        assert look(room) == 0
        come_online(room)
        assert look(room) == 1
        assert len(invited(room, "480")) == 1
        assert wait(room) == 32000 * 2**number


def test_each_device_of_a_user_is_invited_by_itself(room: Shard) -> None:
    """And beside a message that another one has missed: one device that is off must not hide the others."""
    miss(room, ROOM, THIRD)
    of = handle_message(room)
    report(room, "mark_away", BOBS, "480", event="message", of=of, history_id=of)
    assert probe(room) == 1
    assert {to for to, _ in invited(room, "480")} == {BOBS_OTHER, THIRD}


def handle_message(room: Shard) -> str:
    """Alice says something; the id of the message."""
    handle(room, "message", ALICE, device=f"{ALICE};gr=urn:uuid:phone")
    return next(more["id"] for to, more in named(room, "message") if BOBS in to)


@pytest.mark.parametrize("is_latest", [True, False])
def test_a_device_that_a_proxy_had_named_is_invited_again(room: Shard, *, is_latest: bool) -> None:
    """Another one has accepted that INVITE, which was to their user. For a minute it may still arrive."""
    name, field = room.keys.room(SHARD, ROOM), f"invitation:{BOB}"
    room.redis.hset(name, field, "5-0" if is_latest else "6-0")
    report(room, "mark_away", THIRD, "480", event="invite", of="5-0", user=ALICE)
    assert about(room, "missed_invite", THIRD) is not None or not is_latest
    room.redis.hset(name, field, room.redis.xadd("now", {"": ""}))
    probe(room)
    assert THIRD not in {to for to, _ in invited(room, "480")}
    room.redis.hset(name, field, "5-0")
    probe(room)
    assert (THIRD in {to for to, _ in invited(room, "480")}) is is_latest


@pytest.mark.parametrize("hours", [-1, 1])
def test_after_an_hour_it_waits_for_the_next_register(room: Shard, hours: int) -> None:
    """Also if a clock was ahead."""
    for address in (ROOM, OTHER):
        name, field = room.keys.room(SHARD, address), f"missed_invite:{BOBS_OTHER}"
        at = int(room.redis.hget(name, field) or 0)
        room.redis.hset(name, field, at - hours * AN_HOUR - hours * 1000)
    probe(room)
    assert invited(room, "480") == []
    assert (awaited(room), wait(room)) == (set(), 0)
    assert about(room, "missed_invite", BOBS_OTHER) is None
    miss(room, ROOM)
    assert awaited(room) == {f"{ROOM} {BOBS_OTHER}"}


def test_the_last_attempt_of_the_hour_is_the_last(room: Shard) -> None:
    """Its report comes when the hour is over."""
    probe(room)
    for address in (ROOM, OTHER):
        name, field = room.keys.room(SHARD, address), f"missed_invite:{BOBS_OTHER}"
        room.redis.hset(name, field, int(room.redis.hget(name, field) or 0) - AN_HOUR - 1000)
    ((_, address),) = invited(room, "480")
    assert about(room, "missed_invite", BOBS_OTHER, address) is None
    assert f"{address} {BOBS_OTHER}" not in awaited(room)


def test_every_outcome_that_means_nobody_is_there_is_waited_for(room: Shard) -> None:
    for status in sorted(AWAY):
        probe(room)
        assert len(invited(room, status)) == 1
    assert len(awaited(room)) == 2


@pytest.mark.parametrize("status", sorted(DECLINED))
def test_a_device_that_declines_is_left_alone(room: Shard, status: str) -> None:
    """Until it registers again."""
    for _ in range(2):
        probe(room)
        assert len(invited(room, status)) == 1
    assert awaited(room) == set()
    probe(room)
    assert invited(room, status) == []


def test_so_is_one_that_knows_no_group_chats(room: Shard) -> None:
    handle(room, "invite_device", BOB, device=BOBS_OTHER)
    of = about(room, "invitation", BOBS_OTHER) or ""
    report(room, "admit_as_text", BOBS_OTHER, "488", event="invite", of=of, user=BOB)
    assert about(room, "missed_invite", BOBS_OTHER) is None


@pytest.mark.parametrize("kind", ["remove", "exit"])
def test_who_has_left_is_not_invited(room: Shard, kind: str) -> None:
    """And a room that is gone has no devices to invite."""
    fields = {"user": BOB} if kind == "remove" else {}
    handle(room, kind, ALICE if kind == "remove" else BOB, **fields)
    handle(room, "destroy", ALICE, OTHER)
    events(room)
    assert about(room, "missed_invite", BOBS_OTHER) is None
    probe(room)
    assert invited(room, "480") == []
    assert (awaited(room), wait(room)) == (set(), 0)
