"""Counts and checks the entries in a service's streams."""

from __future__ import annotations

import redis as client

from tests.chaos.servers import Single, redis_cli

WAITING = (":in", ":out")
FAILED = (":dead", ":undelivered")


def backlog(redis: Single, kinds: tuple[str, ...] = WAITING + FAILED) -> int:
    """The number of entries in all in- and out-streams, dead letters and failed deliveries."""
    total = 0
    for port in redis.primaries():
        for key in redis_cli(port, "--scan", "--pattern", "imc:{*").split():
            if key.endswith(kinds):
                total += int(redis_cli(port, "XLEN", key) or 0)
    return total


def still_away(redis: Single) -> list[str]:
    """The users and devices that the service counts as away, with the room.

    The list of a user's rooms may also have some that the user has left since.
    """
    found = []
    for port in redis.primaries():
        for key in redis_cli(port, "--scan", "--pattern", "imc:{*}:away_rooms:*").split():
            _, shard, _, user = key.split(":", 3)
            for entry in redis_cli(port, "SMEMBERS", key).splitlines():
                room, _, device = entry.partition(" ")
                if redis_cli(port, "HEXISTS", f"imc_rooms:{shard}:{room}", f"away:{device or user}") == "1":
                    found.append(f"{device or user} is away in {room}")
    return sorted(found)


def unexpected_failures(redis: Single, failing_rooms: list[str], absent: set[str]) -> list[str]:
    """Failures that should not have happened, and expected ones that are missing.

    The dead letters must be requests of each of ``failing_rooms`` and nothing else. Deliveries may only have
    failed to users who were ``absent`` at times.
    """
    dead = _values(redis, ":dead", b"room")
    wrong = [f"a dead letter of {room}" for room in dead if room not in failing_rooms]
    wrong += [f"no dead letter of {room}" for room in failing_rooms if room not in dead]
    wrong += [
        f"a delivery to {user} failed"
        for user in _values(redis, ":undelivered", b"from")
        if user not in absent
    ]
    return wrong


def _values(redis: Single, suffix: str, field: bytes) -> list[str]:
    """The user part of one address field of all entries in these streams."""
    found = []
    for port in redis.primaries():
        with client.Redis(port=port) as server:
            for key in server.scan_iter(match=f"imc:{{*{suffix}"):
                for _, entry in server.xrange(key):  # type: ignore[union-attr] # the stubs cover sync and async clients
                    found.append(entry.get(field, b"").decode().partition("@")[0])
    return found


def leftovers(redis: Single) -> list[str]:
    """What an idle service should not have: pending entries, lag, more than one group or consumer.

    Redis may state a lag of an empty stream: it estimates the number of entries read where some were deleted.
    """
    found = []
    for port in redis.primaries():
        for key in redis_cli(port, "--scan", "--pattern", "imc:{*").split():
            if key.endswith((":in", ":out")):
                words = redis_cli(port, "XINFO", "GROUPS", key).splitlines()
                about = dict(zip(words[::2], words[1::2], strict=False))
                names = ("pending", "lag") if redis_cli(port, "XLEN", key) != "0" else ("pending",)
                wrong = {name: about.get(name) for name in names if about.get(name) not in {"0", ""}}
                if wrong or about.get("consumers") not in {"0", "1"} or words[::2].count("name") > 1:
                    found.append(f"{key} is not idle: {about}")
    return found
