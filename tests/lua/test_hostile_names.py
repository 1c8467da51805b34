"""Names that could break out of their key, hash slot or field."""

import pytest
from redis.crc import key_slot

from imc_common import keys
from tests.lua.shard import ALICE, BOB, DAVE, IN, OUT, SHARD, Shard, decoded

HOSTILE = {
    "braces": "a}:{b@example.org",
    "other shard's tag": "{7}@example.org",
    "pattern": "*@example.org",
    "NUL": "a\x00b@example.org",
    "10 KB": "x" * 10240 + "@example.org",
    "line ends": "a\r\nDEL imc:config@example.org",
    "quotes": "\"'\\@example.org",
    "Lua": "]]..redis.call('FLUSHALL')--@example.org",
    "colons": "a:imc:{3}:in@example.org",
    "not ASCII": "ümläut😀@example.org",
}
hostile = pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())


def whole_life(shard: Shard, room: str, user: str) -> None:
    """Every room command once, on this room and about this user; at the end the room is gone."""
    shard.ask("create", ALICE, room, private="1")
    shard.ask("invite", ALICE, room, user=user)
    shard.ask("accept", user, room)
    shard.ask("add", ALICE, room, user=DAVE)
    shard.ask("message", user, room)
    shard.ask("list", user, room)
    shard.ask("modify", ALICE, room, user=user, role="owner")
    shard.ask("exit", user, room)
    shard.ask("invite", ALICE, room, user=user)
    shard.ask("deny", user, room)
    shard.ask("add", ALICE, room, user=user)
    shard.report("mark_away", "message", user, "404", room, of="1-1")
    shard.redis.zadd(keys.probes(SHARD), {user: 1})
    shard.run("probe_users", *shard.call_probes())  # ends it, because no room keeps anything
    shard.ask("remove", ALICE, room, user=user)
    shard.ask("join", user, room)
    shard.ask("add", ALICE, room, user=user)
    for key in shard.redis.keys("*"):
        assert key_slot(key) == key_slot(IN.encode()), key
    shard.ask("destroy", ALICE, room)


@hostile
def test_a_room_with_a_hostile_name_uses_only_its_own_keys(shard: Shard, name: str) -> None:
    """All are in the shard's slot, and all are deleted with the room."""
    whole_life(shard, name, BOB)
    assert set(decoded(shard.redis.keys("*"))) == {IN, OUT}


@hostile
def test_a_user_with_a_hostile_name_uses_only_its_own_keys(shard: Shard, name: str) -> None:
    """All are in the shard's slot, and all are deleted with the room."""
    whole_life(shard, "chat-000@example.org", name)
    assert set(decoded(shard.redis.keys("*"))) == {IN, OUT}


@hostile
def test_a_room_with_a_hostile_name_does_not_change_another(shard: Shard, name: str) -> None:
    """The other keeps members, indexes and place in the shard's list."""
    other = "a@example.org"
    shard.ask("create", BOB, other, private="1")
    before = shard.dump()
    whole_life(shard, name, ALICE if name == BOB else "carol@example.org")
    assert shard.dump() == before


@hostile
def test_a_hostile_name_is_in_the_event_unchanged(shard: Shard, name: str) -> None:
    """Byte for byte, as the value of one field."""
    shard.ask("create", ALICE, name)
    entry_id = shard.put("join", BOB, name)
    shard.run("join_room", *shard.command("join_room", entry_id, BOB, name))
    assert [fields["room"] for _, fields in decoded(shard.redis.xrange(OUT))] == [name, name]


def test_no_text_of_a_user_becomes_part_of_a_script(real_shard: Shard) -> None:
    """The number of scripts that Redis caches is constant."""

    def cached() -> int:
        return int(real_shard.redis.info("memory")["number_of_cached_scripts"])

    whole_life(real_shard, "chat-000@example.org", BOB)
    before = cached()
    for name in HOSTILE.values():
        whole_life(real_shard, name, BOB)
        whole_life(real_shard, "chat-001@example.org", name)
    assert cached() == before


def test_a_room_of_10000_members_works(real_shard: Shard) -> None:
    """A message reaches each member but its sender once, the list has all, and the room can be destroyed."""
    room, members = "large@example.org", [f"user{number}@example.org" for number in range(10_000)]
    real_shard.settings["max_members"] = 0
    real_shard.ask("create", ALICE, room)
    real_shard.redis.hset(real_shard.keys.members(SHARD, room), mapping=dict.fromkeys(members, "member"))
    real_shard.redis.sadd(keys.owned_rooms(SHARD, ALICE), room)
    told = real_shard.ask("message", ALICE, room)
    assert sorted(who for event in told for who in event.to) == sorted(members)
    assert max(len(event.to) for event in told) == 64
    (listed,) = real_shard.ask("list", ALICE, room)
    assert len(listed.more["list"].split(" ")) == 10_001
    assert sum(len(event.to) for event in real_shard.ask("destroy", ALICE, room)) == 10_001
    assert not real_shard.exists(room)
