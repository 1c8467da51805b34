"""What scripts cost in a room of maximum size: commands, which are the same on every machine."""

from __future__ import annotations

import math

import pytest

from tests.lua.cases import ROOM_CASES, Case
from tests.lua.shard import ROOM, SHARD, Shard

FEW, MANY = 4, 490
"""The larger room is almost full by the default of `max_members`: one more may come in."""
PER_DELETED_MEMBER = 2
DELIVERY_CHUNK = 64
"""The default of the setting, which the cases have."""


@pytest.mark.parametrize("case", ROOM_CASES.values(), ids=ROOM_CASES.keys())
def test_no_script_calls_redis_for_each_member_of_a_full_room(real_shard: Shard, case: Case) -> None:
    """It calls it for each part of an event. Only a script that deletes the room looks after each member."""
    few, many = commands(real_shard, case, FEW), commands(real_shard, case, MANY)
    parts = math.ceil(MANY / DELIVERY_CHUNK)
    is_deleted = not real_shard.redis.exists(real_shard.keys.members(SHARD, ROOM))
    assert many - few <= parts + (PER_DELETED_MEMBER * MANY if is_deleted else 0)


def commands(shard: Shard, case: Case, members: int) -> int:
    """How many commands one run calls when the room has so many members more."""
    shard.redis.flushall()
    shard.start()
    script_keys, args = case.prepare(shard)
    crowd = {f"member{number}@example.org": "member" for number in range(members)}
    shard.redis.hset(shard.keys.members(SHARD, ROOM), mapping=crowd)  # type: ignore[arg-type]
    shard.redis.config_resetstat()
    assert shard.run(case.script, script_keys, args) == "done"
    stats = shard.redis.info("commandstats")
    return sum(about["calls"] for name, about in stats.items() if not name.startswith("cmdstat_eval"))  # type: ignore[union-attr]
