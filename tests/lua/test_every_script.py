"""What holds for every script: it takes effect once, in order, and as a whole or not at all."""

import re
from typing import Any

import pytest
import redis

from imc_common import keys
from tests.lua.cases import CASES, EVE, NEW_ROOM, ROOM_CASES, Case
from tests.lua.header import header_of
from tests.lua.shard import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    IN,
    OUT,
    ROOM,
    SCRIPTS,
    SHARD,
    Shard,
    decoded,
)

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
room_cases = pytest.mark.parametrize("case", ROOM_CASES.values(), ids=ROOM_CASES.keys())


def plant(shard: Shard, key: str) -> None:
    """Puts something of a wrong type where the script wants its own: a string, or a list for a string."""
    strings = (
        keys.lease(SHARD, ""),
        keys.sequence(SHARD, ""),
        keys.limit_notice(SHARD, "messages", ""),
        keys.typing(SHARD, ROOM, ""),
    )
    is_string = key.startswith(strings)
    shard.redis.delete(key)
    if is_string:
        shard.redis.rpush(key, "planted")
    else:
        shard.redis.set(key, "planted")


def without_times(shard: Shard) -> str:
    """All the server holds, with entry ids and times of the server's clock blotted out."""
    return re.sub(r"\d{13}(-\d+|\.0)?", "TIME", repr(shard.dump()))


USERS = (ALICE, BOB, CAROL, DAVE, EVE)


def check_whole(shard: Shard) -> None:
    """Rooms, members and indexes agree, and every event is complete: no effect was left half done."""
    rooms = [room for room in (ROOM, NEW_ROOM) if shard.exists(room)]
    assert all(shard.members(room) for room in rooms)
    assert not any(shard.members(room) for room in (ROOM, NEW_ROOM) if room not in rooms)
    for user in USERS:
        roles = {room: shard.members(room).get(user, "").partition(" ")[0] for room in rooms}
        assert shard.owned_rooms(user) == {room for room, role in roles.items() if role == "owner"}
        private = {room for room in rooms if shard.redis.zscore(shard.keys.rooms(SHARD), room) == 1}
        assert shard.private_rooms(user) == {room for room in private if roles[room] not in {"", "invited"}}
    for _, event in decoded(shard.redis.xrange(OUT)):
        assert event.get("event"), event
        if event["event"] == "roster":
            assert event["to"] == ""
        if "settled" not in event["event"] and len(event) > 1 and event["event"] != "invited":
            assert {"room", "from", "to", "data"} <= event.keys(), event


def test_every_script_has_a_case() -> None:
    """The cases cover every file of lua/."""
    assert {case.script for case in CASES.values()} == set(SCRIPTS.sources)


@every_case
def test_a_key_of_a_wrong_type_changes_nothing(shard: Shard, case: Case) -> None:
    """The script fails before its first write."""
    count = len(case.prepare(shard)[0])
    for position in range(count):
        shard.redis.flushall()
        shard.start()
        script_keys, args = case.prepare(shard)
        plant(shard, script_keys[position])
        before = shard.dump()
        if position in case.untouched:
            assert shard.run(case.script, script_keys, args) == "done"
            assert shard.dump()[script_keys[position]] == before[script_keys[position]]
        else:
            with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
                shard.run(case.script, script_keys, args)
            assert shard.dump() == before, script_keys[position]


@pytest.mark.parametrize("name", ["destroy", "exit of the last owner"])
@pytest.mark.parametrize(
    "index",
    [keys.private_rooms(SHARD, CAROL), keys.private_rooms(SHARD, BOB), keys.owned_rooms(SHARD, ALICE)],
)
def test_an_index_of_a_wrong_type_changes_nothing(shard: Shard, name: str, index: str) -> None:
    """Destroying a room checks the index keys of its members first; they are not among its KEYS."""
    script_keys, args = CASES[name].prepare(shard)
    plant(shard, index)
    before = shard.dump()
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        shard.run(CASES[name].script, script_keys, args)
    assert shard.dump() == before


@every_case
def test_a_full_redis_refuses_new_requests_and_drains(real_shard: Shard, case: Case) -> None:
    """Scripts that add data are refused; all others take effect as a whole."""
    real_shard.run(case.script, *case.prepare(real_shard))
    wanted = without_times(real_shard)

    script_keys, args = prepared_anew(real_shard, case)
    before = real_shard.dump()
    real_shard.redis.config_set("maxmemory", 1)
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        real_shard.redis.set("more", "memory")
    if case.script in {
        "accept_many",
        "import_room",
        "check_sequence",
        "charge_budget",
        "charge_invitation",
        "send_limit_notice",
    }:
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            real_shard.run(case.script, script_keys, args)
        assert real_shard.dump() == before
    else:
        real_shard.run(case.script, script_keys, args)
        assert without_times(real_shard) == wanted


@room_cases
def test_a_request_takes_effect_once(shard: Shard, case: Case) -> None:
    """It leaves the stream; a second run finds it gone."""
    script_keys, args = case.prepare(shard)
    assert shard.run(case.script, script_keys, args) == "done"
    assert shard.redis.xlen(IN) == 0
    for _ in range(2):
        after = shard.dump()
        assert shard.run(case.script, script_keys, args) == "gone"
        assert shard.dump() == after
        shard.put("message", ALICE)


@room_cases
def test_a_request_waits_for_older_ones(shard: Shard, case: Case) -> None:
    """Whichever process runs it."""
    script_keys, args = case.prepare(shard)
    shard.redis.delete(IN)
    shard.redis.xadd(IN, {"type": "message", "from": ALICE, "room": "x"}, id="5-1")
    shard.redis.xadd(IN, {"type": "message", "from": ALICE, "room": "x"}, id="5-2")
    before = shard.dump()
    args[0] = "5-2"
    assert shard.run(case.script, script_keys, args) == "early"
    assert shard.dump() == before


@room_cases
def test_an_entry_without_type_sender_or_room_is_an_error(real_shard: Shard, case: Case) -> None:
    """Before the first write; it becomes a dead letter."""
    script_keys, args = case.prepare(real_shard)
    for missing in ("type", "from", "room"):
        real_shard.redis.xtrim(IN, maxlen=0)
        fields = {"type": "message", "from": ALICE, "room": "x@y"}
        del fields[missing]
        args[0] = real_shard.redis.xadd(IN, fields)
        before = real_shard.dump()
        with pytest.raises(redis.ResponseError, match="lacks"):
            real_shard.run(case.script, script_keys, args)
        assert real_shard.dump() == before


@room_cases
def test_a_request_with_the_required_fields_only_is_whole_or_nothing(real_shard: Shard, case: Case) -> None:
    """It is handled as a whole, or is an error that changes nothing."""
    script_keys, args = case.prepare(real_shard)
    ((_, fields),) = real_shard.redis.xrange(IN)
    real_shard.redis.xtrim(IN, maxlen=0)
    args[0] = real_shard.redis.xadd(IN, {name: fields[name] for name in (b"type", b"from", b"room")})
    before = real_shard.dump()
    try:
        assert real_shard.run(case.script, script_keys, args) == "done"
    except redis.ResponseError:
        assert real_shard.dump() == before
    else:
        assert real_shard.redis.xlen(IN) == 0
        check_whole(real_shard)


@every_case
def test_missing_arguments_are_whole_or_nothing(real_shard: Shard, case: Case) -> None:
    """With too few ARGV a script is an error before its first write, or it did not need the missing ones.

    What is missing of a list at the end of ARGV is not given: then the effect is that of the shorter list.
    """
    script_keys, args = case.prepare(real_shard)
    real_shard.run(case.script, script_keys, args)
    wanted = without_times(real_shard)
    named = [name for name in header_of(case.script).names("ARGV") if name != "..."]
    for count in range(1, len(args)):
        script_keys, args = prepared_anew(real_shard, case)
        before = real_shard.dump()
        try:
            real_shard.run(case.script, script_keys, args[:count])
        except redis.ResponseError:
            assert real_shard.dump() == before
        else:
            assert count >= len(named) or without_times(real_shard) == wanted, count
            check_whole(real_shard)


def prepared_anew(shard: Shard, case: Case) -> tuple[list[str], list[Any]]:
    """An empty server, and on it what comes before the case's script."""
    shard.redis.flushall()
    shard.start()
    return case.prepare(shard)


@every_case
def test_the_effect_of_every_case_is_whole(shard: Shard, case: Case) -> None:
    """The check that the tests above rely on holds for each effect that is known to be complete."""
    shard.run(case.script, *case.prepare(shard))
    check_whole(shard)
