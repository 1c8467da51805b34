"""accept_many and broadcast_messages do for several shards at once what they do for each of them."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from imc_common import keys
from imc_common.keys import Keys
from tests.lua.shard import ALICE, BOB, CAROL, ROOM, SCRIPTS, Shard, decoded

SHARDS = (3, 0, 12)
EVE = "eve@example.org"
SPECIAL = "special@example.org"
"""A room where Bob has a device."""


@pytest.fixture
def rooms(shard: Shard) -> Shard:
    """In each shard two rooms with these members; written by no script."""
    for number in SHARDS:
        for room in (ROOM, SPECIAL):
            roles = {ALICE: "owner", BOB: "member devices" if room is SPECIAL else "member", CAROL: "member"}
            shard.redis.hset(Keys().members(number, room), mapping=roles)  # type: ignore[arg-type]
            shard.redis.hset(Keys().room(number, room), f"nick:{ALICE}", f"Alice {number}")
        shard.redis.hset(keys.devices(number, SPECIAL), f"{BOB};gr=1", "device")
    return shard


# --- accept_many


def accept(shard: Shard, wanted: dict[int, list[str]], max_backlog: int = 0) -> Any:
    """The results for messages with these digests, by shard; their recipients are counted."""
    names: list[str] = []
    args: list[Any] = [32000, max_backlog]
    for number, digests in wanted.items():
        args += [""] * bool(names)
        args.append(Keys().members(number, ""))
        for digest in digests:
            args += [digest, 0, ALICE, ROOM, f"data of {digest}"]
        names += keys.accepting(number)
    return shard.run("accept_many", names, args)


def accepted(shard: Shard) -> dict[int, list[str]]:
    """The data of all requests, by shard."""
    return {
        number: [fields["data"] for _, fields in decoded(shard.redis.xrange(keys.requests(number)))]
        for number in SHARDS
    }


def test_each_shard_accepts_its_own(rooms: Shard) -> None:
    """Into its stream, and into its memory of digests: the same digest in another shard is another one."""
    assert accept(rooms, {3: ["a", "b", "a"], 0: ["a"], 12: ["c"]}) == [2, 2, "duplicate", 2, 2]
    assert accepted(rooms) == {3: ["data of a", "data of b"], 0: ["data of a"], 12: ["data of c"]}
    assert accept(rooms, {12: ["c"], 3: ["c", "b"]}) == ["duplicate", 2, "duplicate"]


def test_a_full_shard_refuses_its_own_only(rooms: Shard) -> None:
    """The limit is for each stream."""
    assert accept(rooms, {3: ["a"]}) == [2]
    assert accept(rooms, {3: ["b"], 0: ["b", "c"], 12: ["b"]}, max_backlog=1) == [
        "overloaded", 2, "overloaded", 2,
    ]  # fmt: skip


@pytest.mark.parametrize("is_due", [False, True])
def test_a_full_redis_accepts_nothing_new_in_any_shard(real_shard: Shard, is_due: bool) -> None:
    """The duplicate of the first shard is a write that Redis would accept: it must not open the way."""
    accept(real_shard, {3: ["a"], 0: ["x"]})
    real_shard.redis.hset(keys.seen(0, "clock"), "age_ms", 32_000 * is_due)
    before = real_shard.dump()
    real_shard.redis.config_set("maxmemory", 1)
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        accept(real_shard, {3: ["a"], 0: ["b"]})
    assert real_shard.dump() == before


@pytest.mark.parametrize("more", [-1, 1])
def test_each_shard_needs_its_keys(rooms: Shard, more: int) -> None:
    """No more and no less than the arguments name."""
    names = [*keys.accepting(3), *keys.accepting(0), *keys.accepting(12)][: 8 + more]
    before = rooms.dump()
    with pytest.raises(redis.ResponseError, match="four keys"):
        rooms.run("accept_many", names, [32000, 0, "", "a", 2, "type", "message", "", "", "a", 0, "", "", ""])
    assert rooms.dump() == before


# --- broadcast_messages


def put(shard: Shard, number: int, sender: str = ALICE, room: str = ROOM, **more: str) -> str:
    fields = {"type": "message", "from": sender, "room": room, "data": "\x81", **more}
    return str(decoded(shard.redis.xadd(keys.requests(number), fields)))  # type: ignore[arg-type]


def broadcast(shard: Shard, wanted: dict[int, list[str]], most: int = 1000) -> list[int]:
    """How many of these requests were handled, by shard."""
    names: list[str] = []
    args: list[Any] = [64, most, 500, 1000, 1]
    for number, ids in wanted.items():
        args += [""] * bool(names)
        args += [make(number, "") for make in (Keys().members, Keys().history, Keys().room)]
        args += [keys.authors_prefix(number), *ids]
        names += [keys.requests(number), keys.events(number), keys.history_off(number)]
    return [int(count) for count in shard.run("broadcast_messages", names, args)]


def events(shard: Shard) -> dict[int, list[tuple[str, str, str]]]:
    """Room, recipients and nickname of each event, by shard."""
    return {
        number: [
            (fields["room"], " ".join(sorted(fields["to"].split())), fields.get("nick", ""))
            for _, fields in decoded(shard.redis.xrange(keys.events(number)))
        ]
        for number in SHARDS
    }


def kept(shard: Shard, room: str = ROOM) -> dict[int, int]:
    """The number of messages in the history, by shard."""
    return {number: shard.redis.xlen(Keys().history(number, room)) for number in SHARDS}


def test_each_shard_broadcasts_its_own(rooms: Shard) -> None:
    """To the members there, with the nicknames and the history there."""
    rooms.redis.sadd(keys.history_off(0), ROOM)
    wanted = {3: [put(rooms, 3), put(rooms, 3, BOB)], 0: [put(rooms, 0)], 12: [put(rooms, 12, CAROL)]}
    assert broadcast(rooms, wanted) == [2, 1, 1]
    assert events(rooms) == {
        3: [(ROOM, f"{BOB} {CAROL}", "Alice 3"), (ROOM, f"{ALICE} {CAROL}", "")],
        0: [(ROOM, f"{BOB} {CAROL}", "Alice 0")],
        12: [(ROOM, f"{ALICE} {BOB}", "")],
    }
    assert kept(rooms) == {3: 2, 0: 0, 12: 1}
    assert not any(rooms.redis.xlen(keys.requests(number)) for number in SHARDS)


@pytest.mark.parametrize("special", [SPECIAL, ROOM])
def test_a_message_that_is_left_leaves_nothing_to_the_next_shard(rooms: Shard, special: str) -> None:
    """A stranger's, or one from a device that is away: the shard's later ones stay, other shards go on."""
    device = f"{BOB};gr=1"
    rooms.redis.hset(keys.devices(3, SPECIAL), device, "device away")
    rooms.redis.hset(keys.devices(3, SPECIAL), f"{BOB};gr=2", "device")
    ids = [put(rooms, 3)]
    ids.append(put(rooms, 3, BOB, SPECIAL, device=device) if special is SPECIAL else put(rooms, 3, EVE))
    ids.append(put(rooms, 3))
    assert broadcast(rooms, {3: ids, 0: [put(rooms, 0)]}) == [1, 1]
    assert events(rooms) == {
        3: [(ROOM, f"{BOB} {CAROL}", "Alice 3")],
        0: [(ROOM, f"{BOB} {CAROL}", "Alice 0")],
        12: [],
    }
    assert [entry for entry, _ in decoded(rooms.redis.xrange(keys.requests(3)))] == ids[1:]


def test_devices_are_those_of_the_shard(rooms: Shard) -> None:
    """A key that no argument names is made for the shard whose turn it is."""
    rooms.redis.hset(keys.devices(0, SPECIAL), f"{BOB};gr=2", "device")
    wanted = {number: [put(rooms, number, room=SPECIAL)] for number in SHARDS}
    assert broadcast(rooms, wanted) == [1, 1, 1]
    found = {
        number: [to for _, to, _ in each if to.startswith(BOB)] for number, each in events(rooms).items()
    }
    assert found == {3: [f"{BOB};gr=1"], 0: [f"{BOB};gr=1 {BOB};gr=2"], 12: [f"{BOB};gr=1"]}


def test_a_shard_without_its_first_request_does_nothing(rooms: Shard) -> None:
    """It was handled before, or an older one stands before it; other shards go on."""
    put(rooms, 3)
    wanted = {3: [put(rooms, 3)], 0: [put(rooms, 0)], 12: ["1-1"]}
    assert broadcast(rooms, wanted) == [0, 1, 0]
    assert broadcast(rooms, wanted) == [0, 0, 0]
    assert {number: len(each) for number, each in events(rooms).items()} == {3: 0, 0: 1, 12: 0}


def test_the_recipients_of_all_shards_are_bounded(rooms: Shard) -> None:
    """Redis does nothing else while a script runs."""
    wanted = {number: [put(rooms, number), put(rooms, number)] for number in SHARDS}
    assert broadcast(rooms, wanted, most=5) == [2, 1, 0]


def test_a_full_redis_drains_all_shards(real_shard: Shard) -> None:
    """The first write frees memory, and lets all others pass."""
    for number in SHARDS:
        real_shard.redis.hset(Keys().members(number, ROOM), mapping={ALICE: "owner", BOB: "member"})
    wanted = {number: [put(real_shard, number)] for number in SHARDS}
    real_shard.redis.config_set("maxmemory", 1)
    assert broadcast(real_shard, {3: ["1-1"], 0: wanted[0], 12: wanted[12]}) == [0, 1, 1]
    assert broadcast(real_shard, wanted) == [1, 0, 0]
    assert {number: len(each) for number, each in events(real_shard).items()} == dict.fromkeys(SHARDS, 1)


@pytest.mark.parametrize("more", [-1, 1])
def test_each_shard_needs_its_three_keys(rooms: Shard, more: int) -> None:
    """No more and no less than the arguments name."""
    names = [keys.requests(3), keys.events(3), keys.history_off(3)] * 3
    args: list[Any] = [64, 1000, 500, 1000, 1, *"mhra", "1-1", "", *"mhra", "1-1"]
    before = rooms.dump()
    with pytest.raises(redis.ResponseError, match="three keys"):
        rooms.run("broadcast_messages", names[: 6 + more], args)
    assert rooms.dump() == before


def test_the_scripts_are_for_the_shards_of_one_server() -> None:
    """All others have keys of one shard."""
    spanning = {name for name, source in SCRIPTS.sources.items() if "of each further shard" in source}
    assert spanning == {"accept_many", "broadcast_messages"}
