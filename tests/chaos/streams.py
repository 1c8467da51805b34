"""What is in the streams of a service: waiting, at rest, dead, undelivered."""

from __future__ import annotations

import redis as client

from tests.chaos.servers import Single, redis_cli

WAITING = (":in", ":out")
FAILED = (":dead", ":undelivered")


def backlog(redis: Single, kinds: tuple[str, ...] = WAITING + FAILED) -> int:
    """Entries in all in-, out- and dead streams, and failed deliveries."""
    total = 0
    for port in redis.primaries():
        for key in redis_cli(port, "--scan", "--pattern", "imc:{*").split():
            if key.endswith(kinds):
                total += int(redis_cli(port, "XLEN", key) or 0)
    return total


def failed(redis: Single, poisoned: list[str], deaf: set[str]) -> list[str]:
    """What ended as a failure and should not have, and the other way round.

    In the dead letters there has to be a request of each poisoned room and nothing else; deliveries may only
    have failed to those who were deaf.
    """
    dead = _values(redis, ":dead", b"room")
    wrong = [f"a dead letter of {room}" for room in dead if room not in poisoned]
    wrong += [f"no dead letter of {room}" for room in poisoned if room not in dead]
    wrong += [
        f"a delivery to {user} failed" for user in _values(redis, ":undelivered", b"from") if user not in deaf
    ]
    return wrong


def _values(redis: Single, suffix: str, field: bytes) -> list[str]:
    """The user parts of the addresses in a field of all these streams' entries."""
    found = []
    for port in redis.primaries():
        with client.Redis(port=port) as server:
            for key in server.scan_iter(match=f"imc:{{*{suffix}"):
                for _, entry in server.xrange(key):  # type: ignore[union-attr] # its stubs have both kinds of client
                    found.append(entry.get(field, b"").decode().partition("@")[0])
    return found


def unrest(redis: Single) -> list[str]:
    """What is not as it should be at rest: entries pending or behind, a group or consumer too many."""
    found = []
    for port in redis.primaries():
        for key in redis_cli(port, "--scan", "--pattern", "imc:{*").split():
            if key.endswith((":in", ":out")):
                words = redis_cli(port, "XINFO", "GROUPS", key).splitlines()
                about = dict(zip(words[::2], words[1::2], strict=False))
                wrong = {
                    name: about.get(name) for name in ("pending", "lag") if about.get(name) not in {"0", ""}
                }
                if wrong or about.get("consumers") not in {"0", "1"} or words[::2].count("name") > 1:
                    found.append(f"{key} at rest: {about}")
    return found
