"""Who was removed for having been away too long hears of it when it is back, by whatever sign."""

from __future__ import annotations

import pytest

from imc_common import keys
from tests.lua.phone import Phone
from tests.lua.shard import ALICE, BOB, ROOM, SHARD, Shard, decoded
from tests.lua.test_catch_up import OTHER, fail, room, say

__all__ = ["room"]

NOTICE = ("you_were_dropped", ROOM)
FAREWELLS = keys.farewells(SHARD, BOB)


@pytest.fixture
def phone(room: Shard) -> Phone:
    """Bob's is off, and was for so long that he has been removed."""
    phone = Phone(room, lambda _: "480")
    fail(room, say(room))
    drop(room, phone)
    assert BOB not in room.members()
    assert phone.told == []
    return phone


def drop(shard: Shard, phone: Phone, room: str = ROOM) -> None:
    """The member has been away for longer than members may be."""
    shard.settings["remove_after_days"] = 1
    shard.send_away(BOB, room=room)
    entry = shard.put("remove_absent", BOB, room)
    assert shard.run("remove_absent", *shard.command("remove_absent", entry, BOB, room)) == "done"
    phone.run()


def come_back(phone: Phone) -> None:
    phone.status_of = lambda _: "200"


def test_a_sign_brings_the_notice(room: Shard, phone: Phone) -> None:
    """Once. Nothing of it is left."""
    come_back(phone)
    for _ in range(2):
        phone.sign()
    assert phone.told == [NOTICE]
    assert not room.redis.exists(FAREWELLS, keys.probes(SHARD), keys.probe_waits(SHARD))


def test_the_notice_is_a_probe_of_its_own(room: Shard, phone: Phone) -> None:
    """At waits that become longer, as for a message."""
    waits = []
    for _ in range(6):
        phone.probe()
        waits.append(int(room.redis.hget(keys.probe_waits(SHARD), BOB) or 0))
    assert waits == sorted(set(waits))
    assert phone.told == []
    come_back(phone)
    phone.probe()
    assert phone.told == [NOTICE]
    phone.probe()
    assert not room.redis.exists(FAREWELLS, keys.probes(SHARD), keys.probe_waits(SHARD))


def test_who_is_gone_again_is_told_the_next_time(phone: Phone) -> None:
    for _ in range(3):
        phone.sign()
    assert phone.told == []
    come_back(phone)
    phone.sign()
    assert phone.told == [NOTICE]


def test_every_room_is_named(room: Shard, phone: Phone) -> None:
    room.ask("create", ALICE, OTHER)
    room.ask("add", ALICE, OTHER, user=BOB)
    phone.run()
    fail(room, say(room, room=OTHER), room=OTHER)
    drop(room, phone, OTHER)
    come_back(phone)
    phone.sign()
    assert sorted(phone.told) == sorted([NOTICE, (NOTICE[0], OTHER)])


def test_who_is_a_member_again_is_not_told(room: Shard, phone: Phone) -> None:
    """Whether it was added before the notice failed, or after."""
    room.ask("add", ALICE, user=BOB)
    come_back(phone)
    phone.sign()
    phone.probe()
    assert NOTICE not in phone.told
    assert not room.redis.exists(FAREWELLS)
    room.report("keep_farewell", NOTICE[0], BOB, "480", of="1-1")
    assert not room.redis.exists(FAREWELLS)


def test_the_notice_does_not_wait_for_ever(room: Shard, phone: Phone) -> None:
    """A month."""
    assert decoded(room.redis.hgetall(FAREWELLS)) == {f"{ROOM} {BOB}": "notice"}
    assert 29 * 24 * 3600 < room.redis.ttl(FAREWELLS) <= 30 * 24 * 3600


@pytest.mark.parametrize("status", ["200", "403", "488"])
def test_who_is_there_is_told_at_once(room: Shard, status: str) -> None:
    """Or refuses to hear it."""
    phone = Phone(room, lambda _: status)
    fail(room, say(room))
    drop(room, phone)
    assert phone.told == [NOTICE]
    assert not room.redis.exists(FAREWELLS)
