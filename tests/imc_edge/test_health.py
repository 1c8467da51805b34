"""Whether an edge is available; what a balancer sees of it is in `receiving/test_options.py`."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from imc_common.settings import Settings
from imc_common.store import Command, ReplyError, StoreUnreachable
from imc_edge.health import Health


class Redis:
    """Two shards; replies with their lengths and accepts writes, unless a test says otherwise."""

    def __init__(self) -> None:
        self.lengths = [0, 0]
        self.write: Any = None
        self.error: StoreUnreachable | None = None

    async def run(self, commands: list[Command]) -> list[Any]:
        assert [command[0] for command in commands] == ["XLEN", "XLEN", "SET", "SET"]
        if self.error is not None:
            raise self.error
        return [*self.lengths, self.write, self.write]


async def test_an_edge_is_available_once_redis_was_checked() -> None:
    """Not before: nobody knows then."""
    redis = Redis()
    health = Health(redis, 2, 100)  # type: ignore[arg-type]
    assert health.trouble == "redis not checked yet"
    await health.check()
    assert health.trouble == ""


@pytest.mark.parametrize(
    ("change", "trouble"),
    [
        ({"error": StoreUnreachable("refused")}, "redis is unreachable: refused"),
        ({"write": ReplyError("OOM command not allowed")}, "redis: OOM command not allowed"),
        ({"write": ReplyError("READONLY replica")}, "redis: READONLY replica"),
        ({"lengths": [99, 100]}, "shard 1 has a backlog of 100 requests"),
    ],
)
async def test_trouble_names_the_cause_and_each_change_is_logged_once(
    change: dict[str, Any], trouble: str
) -> None:
    """Redis is unreachable or refuses writes, or a backlog is too long."""
    redis = Redis()
    health = Health(redis, 2, 100)  # type: ignore[arg-type]
    await health.check()
    before = dict(vars(redis))
    with capture_logs() as lines:
        vars(redis).update(change)
        await health.check()
        await health.check()
        assert health.trouble == trouble
        vars(redis).update(before)
        await health.check()
        await health.check()
    assert health.trouble == ""
    assert [(line["event"], line.get("reason", "")) for line in lines] == [
        ("edge unavailable", trouble),
        ("edge available", ""),
    ]


async def test_a_reload_changes_the_longest_backlog() -> None:
    """0 is no limit."""
    redis = Redis()
    redis.lengths = [500, 0]
    health = Health(redis, 2, 100)  # type: ignore[arg-type]
    await health.check()
    assert health.trouble
    health.reload(Settings(max_backlog=0))
    await health.check()
    assert health.trouble == ""


async def test_a_draining_edge_stays_unavailable() -> None:
    """Whatever Redis says."""
    health = Health(Redis(), 2, 100)  # type: ignore[arg-type]
    health.drain()
    await health.check()
    assert health.trouble == "draining"
