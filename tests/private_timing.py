"""Times a stranger's requests to a private room and to no room: ``python -m tests.private_timing``.

It alternates between the two, with names of the same length, and prints the median of each, round trip
included. `tests/lua/test_private.py` tests that both are handled the same way.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import redis

from tests.lua.shard import ALICE, DAVE, IN, OUT, SCRIPT_OF, SHARD, Shard, decoded
from tests.servers import running

HIDDEN, ABSENT = "hidden@example.org", "absent@example.org"
COMMANDS = ("message", "list", "invite", "exit", "join")


def measure(shard: Shard, kind: str, count: int) -> dict[str, float]:
    """Median microseconds of one kind of request, by room."""
    taken: dict[str, list[float]] = {HIDDEN: [], ABSENT: []}
    script = SCRIPT_OF[kind]
    for number in range(count):
        for room, times in taken.items():
            request = {"type": kind, "from": DAVE, "room": room, "data": ""}
            if kind == "invite":
                request["user"] = ALICE
            entry_id = decoded(shard.redis.xadd(IN, request))
            keys, args = shard.command(script, entry_id, DAVE, room, request.get("user", ""))
            begun = time.perf_counter()
            assert shard.run(script, keys, args) == "done"
            times.append(time.perf_counter() - begun)
        if number % 50 == 0:
            shard.redis.xtrim(OUT, maxlen=0)
    return {room: statistics.median(times) * 1e6 for room, times in taken.items()}


def main() -> None:
    """Measure and print the results."""
    with tempfile.TemporaryDirectory() as name, running("redis-server", Path(name)) as server:
        client = redis.Redis(unix_socket_path=server.socket)
        for members in (5, 500):
            client.flushall()
            shard = Shard(client)
            shard.settings["create_on_join"] = 0
            shard.ask("create", ALICE, HIDDEN, private="1")
            people = {f"u{number}@example.org": "member" for number in range(members - 1)}
            client.hset(shard.keys.members(SHARD, HIDDEN), mapping=people)
            for kind in COMMANDS:
                measure(shard, kind, 100)
                found = measure(shard, kind, 2000)
                print(
                    f"{members} members, {kind}: private room {found[HIDDEN]:.0f} us, no room"
                    f" {found[ABSENT]:.0f} us",
                    flush=True,
                )


if __name__ == "__main__":
    main()
