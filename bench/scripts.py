"""``python -m bench.scripts OLD``: what the scripts that every message needs cost Redis, beside another
version.

OLD is the folder `lua` of a checkout of that version. Both versions run in turn on one redis-server, and the
time is Redis's own (``INFO commandstats``), so a busy machine disturbs both alike. KEYS and ARGV are those
that each version's header names; a script with an argument that is not known here is left out.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any, NamedTuple

import redis

from imc_common import keys
from imc_common.keys import Keys
from imc_common.rooms.request import RequestData, RoomRequest
from imc_common.scripts import Scripts

CALLS = 20_000
BLOCK = 50
"""Calls of one version before it is the other's turn."""
SHARD, ROOM, MEMBERS, BATCH = 3, "room@example.org", 20, 16
USERS = [f"user{number}@example.org" for number in range(MEMBERS)]
IN, OUT = keys.requests(SHARD), keys.events(SHARD)
DATA = RequestData(body=b"x" * 60).pack()
MESSAGE = RoomRequest("message", USERS[1], ROOM, data=DATA).to_fields()
EVENT = ["event", "message", "room", ROOM, "from", USERS[1], "data", DATA, "to", " ".join(USERS)]
KEY = dict(zip(("recent", "older", "clock", "requests"), keys.accepting(SHARD), strict=True)) | {
    "events": OUT,
    "rooms": Keys().rooms(SHARD),
    "room": Keys().room(SHARD, ROOM),
    "members": Keys().members(SHARD, ROOM),
    "settled": keys.settled(SHARD, "1-1"),
    "undelivered": keys.undelivered(SHARD),
    "history": Keys().history(SHARD, ROOM),
    "history_off": keys.history_off(SHARD),
    "recent_authors": keys.authors(SHARD, ROOM, "recent"),
    "older_authors": keys.authors(SHARD, ROOM, "older"),
}
ARGUMENT: dict[str, Any] = {
    "delivery_chunk": 64,
    "max_recipients": 5000,
    "most": 5000,
    "seen_ms": 64_000,
    "complete": 0,
}
ARGUMENT |= {"members_prefix": Keys().members(SHARD, ""), "room_prefix": Keys().room(SHARD, "")}
ARGUMENT |= {"history_prefix": Keys().history(SHARD, ""), "history_max": 0, "history_age_ms": 0}
ARGUMENT |= {"authors_prefix": keys.authors_prefix(SHARD)}
ARGUMENT |= {"shows_nicknames": 0, "max_backlog": 0, "settled_ttl_ms": 60_000, "undelivered_max": 1000}


class Call(NamedTuple):
    """One call: ARGV of its own, and the list at the end of ARGV."""

    named: dict[str, Any]
    more: list[Any]


def _append(client: redis.Redis, stream: str, fields: list[Any], count: int) -> list[Any]:
    pipeline: Any = client.pipeline(transaction=False)
    for _ in range(count):
        pipeline.execute_command("XADD", stream, "*", *fields)
    return list(pipeline.execute())


def _broadcast_one(client: redis.Redis) -> Iterator[Call]:
    for entry in _append(client, IN, MESSAGE, BLOCK):
        yield Call({"entry_id": entry}, [])


def _broadcast_many(client: redis.Redis) -> Iterator[Call]:
    entries = _append(client, IN, MESSAGE, BLOCK * BATCH)
    for first in range(0, len(entries), BATCH):
        yield Call({}, entries[first : first + BATCH])


def _accept(client: redis.Redis) -> Iterator[Call]:
    for number in range(BLOCK):
        more = [part for each in range(BATCH) for part in (f"{number} {each}", len(MESSAGE), *MESSAGE)]
        yield Call({"members_prefix": Keys().members(SHARD, "")}, more)


def _settle(client: redis.Redis) -> Iterator[Call]:
    for entry in _append(client, OUT, EVENT, BLOCK):
        more = [part for user in USERS[2:] for part in (user, "200", 0)]
        yield Call({"entry_id": entry, "call_id": "c@h"}, more)


def _settle_delivered(client: redis.Redis) -> Iterator[Call]:
    entries = _append(client, OUT, EVENT, BLOCK * BATCH)
    for first in range(0, len(entries), BATCH):
        yield Call({}, entries[first : first + BATCH])


CASES: dict[str, Callable[[redis.Redis], Iterator[Call]]] = {
    "broadcast_message": _broadcast_one,
    "broadcast_messages": _broadcast_many,
    "accept_many": _accept,
    "settle": _settle,
    "settle_delivered": _settle_delivered,
}


def header(text: str, section: str) -> list[str]:
    """The names that the section of a script's header lists."""
    below = text.partition(f"-- {section}:\n")[2].partition("\n--\n")[0].partition("\nlocal")[0]
    rows = [line.removeprefix("--   ") for line in below.splitlines() if line.startswith("--   ")]
    return [row.split()[0] for row in rows if not row.startswith(" ")]


def commands(client: redis.Redis, script: str, text: str) -> list[tuple[Any, ...]]:
    """The calls of one block. Raises KeyError for a name of the header that is not known here."""
    found: list[tuple[Any, ...]] = []
    sha = client.script_load(text)
    for call in CASES[script](client):
        wanted = header(text, "KEYS")
        names = [KEY[name] for name in wanted if name != "..."]
        values = ARGUMENT | call.named
        args = [values[name] for name in header(text, "ARGV") if name != "..."] + call.more
        found.append(("EVALSHA", sha, len(names), *names, *args))
    return found


def measure(client: redis.Redis, script: str, text: str) -> float:
    """Microseconds of one call, as the mean of a block on a shard with one room."""
    client.flushdb()
    roles = dict.fromkeys(USERS, "member")
    client.hset(KEY["members"], mapping=roles)  # type: ignore[arg-type]
    client.hset(KEY["room"], "private", "0")
    block = commands(client, script, text)
    client.config_resetstat()
    pipeline: Any = client.pipeline(transaction=False)
    for command in block:
        pipeline.execute_command(*command)
    pipeline.execute()
    stats: Any = client.info("commandstats")
    return float(stats["cmdstat_evalsha"]["usec"]) / len(block)


@contextmanager
def server() -> Iterator[redis.Redis]:
    """A redis-server without persistence, reached by a socket file."""
    with tempfile.TemporaryDirectory() as folder:
        socket = f"{folder}/redis.sock"
        options = ("--port", "0", "--unixsocket", socket, "--save", "", "--dir", folder)
        process = Popen(["redis-server", *options], stdout=DEVNULL)
        client = redis.Redis(unix_socket_path=socket, retry_on_error=[redis.ConnectionError])
        try:
            while not Path(socket).exists() and process.poll() is None:
                time.sleep(0.01)
            yield client
        finally:
            client.close()
            process.terminate()
            process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.scripts", description=__doc__)
    parser.add_argument("old", type=Path, help="folder lua of the version to compare with")
    parser.add_argument("--calls", type=int, default=CALLS, help="calls per script and version")
    options = parser.parse_args()
    versions = {"old": Scripts(options.old).sources, "new": Scripts().sources}
    with server() as client:
        for script in CASES:
            times: dict[str, list[float]] = {"old": [], "new": []}
            try:
                for turn in range(max(2, options.calls // BLOCK)):
                    for version in ("old", "new") if turn % 2 else ("new", "old"):
                        times[version].append(measure(client, script, versions[version][script]))
            except KeyError as unknown:
                print(f"{script}: not measured, one version does not have it or {unknown}", flush=True)
                continue
            old, new = statistics.median(times["old"]), statistics.median(times["new"])
            pairs = statistics.median(n / o for n, o in zip(times["new"], times["old"], strict=True))
            print(
                f"{script}: {old:.1f} us old, {new:.1f} us new, median ratio of pairs {pairs:.3f}", flush=True
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
