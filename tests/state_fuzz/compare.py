"""Is what is in Redis what the model says, and was the right news sent to the right users?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from imc_common import keys
from imc_common.rooms.event import Event
from tests.state_fuzz.deployment import Deployment
from tests.state_fuzz.room import Notice, Room
from tests.state_fuzz.rules import Rules

Contents = dict[str, Any]


def check_rooms(rules: Rules, deployment: Deployment) -> None:
    """Every key that holds rooms, members or an index has exactly what follows from the rules."""
    expected, found = _expected(rules, deployment), _found(deployment)
    assert found == expected, _differences(found, expected)


def check_events(events: list[Event], expected: list[tuple[str, list[Notice]]], chunk: int) -> None:
    """The events of one shard are these notices: of one request after the other, in any order within one.

    ``expected``: for each request its Call-ID and the notices.
    """
    heard = [(event, to) for event in events for to in event.to]
    for call_id, notices in expected:
        mine, heard = heard[: len(notices)], heard[len(notices) :]
        got = Counter(_shown(event, to) for event, to in mine)
        wanted = Counter(_shown_notice(notice, mine) for notice in notices)
        assert got == wanted, f"{call_id}: {got - wanted} instead of {wanted - got}"
        assert {event.call_id for event, _ in mine} <= {call_id}, f"another request caused {mine}"
    assert not heard, f"nobody should have heard {heard}"
    for event in events:
        assert 1 <= len(event.to) <= chunk, f"{len(event.to)} recipients in {event}"
        # who caused it and who is concerned read "you", so they are told alone; but all ports that are banned
        # read the same
        assert (
            len(event.to) == 1
            or event.name == "you_were_banned"
            or not {event.actor, event.user} & {*event.to}
        ), f"not told alone: {event}"


def _shown(event: Event, to: str) -> tuple[Any, ...]:
    listed = " ".join(sorted(event.list.split()))
    more = {"list": listed} if event.name in {"members", "rooms", "bans"} else {}
    more |= {"detail": event.detail} if event.name == "nickname_set" else {}
    more |= {"more": str(event.more)} if event.name == "rooms" else {}
    for name in ("user", "role", "reason", "command", "detail", "text", "nick"):
        if value := getattr(event, name):
            more[name] = value
    return event.name, to, event.actor, tuple(sorted(more.items()))


def _shown_notice(notice: Notice, heard: list[tuple[Event, str]]) -> tuple[Any, ...]:
    """A notice as `_shown` shows events; of several right reasons, the one that was given."""
    more = dict(notice.more)
    if notice.reasons:
        given = {event.reason for event, to in heard if event.name == notice.event and to == notice.to}
        more["reason"] = next(iter(sorted(notice.reasons & given)), "/".join(sorted(notice.reasons)))
    return notice.event, notice.to, notice.by, tuple(sorted(more.items()))


def _expected(rules: Rules, deployment: Deployment) -> Contents:
    names = deployment.names
    found: Contents = {}
    for address, room in rules.rooms.items():
        shard = deployment.shard_of(address)
        found.setdefault(names.rooms(shard), {})[address] = int(room.private)
        found[names.room(shard, address)] = _fields(room)
        found[names.members(shard, address)] = room.roles | dict.fromkeys(room.invited, "invited")
        for owner in room.owners():
            found.setdefault(keys.owned_rooms(shard, owner), set()).add(address)
        for member in room.roles if room.private else ():
            found.setdefault(keys.private_rooms(shard, member), set()).add(address)
    return found


def _fields(room: Room) -> dict[str, str]:
    fields = {"private": str(int(room.private)), "owner": room.created_by}
    fields |= {"topic": room.topic} if room.topic else {}
    fields |= {} if room.announce is None else {"announce": str(int(room.announce))}
    fields |= {f"nick:{user}": name for user, name in room.nicknames.items()}
    fields |= {f"invitation:{user}": "" for user in room.invited}
    fields |= {f"ban:{user}": "" for user in room.bans}
    fields |= {f"joined:{user}": "" for user in room.joined}
    return fields


def _found(deployment: Deployment) -> Contents:
    names = sorted(key.decode() for key in deployment.control.keys("*"))
    pipeline = deployment.control.pipeline(transaction=False)
    readers: dict[str, Callable[[Any], Any]] = {}
    for name in names:
        if ":private_rooms:" in name or ":owned_rooms:" in name:
            pipeline.smembers(name)
            readers[name] = _shown_set
        elif name.startswith(f"{deployment.names.members_table}:"):
            pipeline.hgetall(name)
            readers[name] = _shown_hash
        elif name in map(deployment.names.rooms, deployment.shards):
            pipeline.zrange(name, 0, -1, withscores=True)
            readers[name] = _shown_scores
        elif name.startswith(f"{deployment.names.rooms_table}:"):
            pipeline.hgetall(name)
            readers[name] = _shown_fields
        else:
            _check_other(name, deployment.control)
    return {name: readers[name](value) for name, value in zip(readers, pipeline.execute(), strict=True)}


def _check_other(name: str, control: Any) -> None:
    """No entry was given up, and nothing is kept that ends with its entry."""
    assert not name.endswith(":dead"), f"dead letters: {control.xrange(name)}"
    assert ":attempts:" not in name, f"attempts are still counted: {name}"
    assert ":settled:" not in name, f"an event that has ended is remembered: {name}"


def _shown_set(members: set[bytes]) -> set[str]:
    return {member.decode() for member in members}


def _shown_hash(fields: dict[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in fields.items()}


def _shown_scores(members: list[tuple[bytes, float]]) -> dict[str, int]:
    return {member.decode(): int(score) for member, score in members}


def _shown_fields(fields: dict[bytes, bytes]) -> dict[str, str]:
    """A room's fields, without what depends on the time."""
    shown = {}
    for name, value in _shown_hash(fields).items():
        kind = name.partition(":")[0]
        if kind != "created_at":
            shown[name] = {
                "invitation": "",
                "ban": "",
                "joined": "",
                "failures": value.partition(" ")[0],
            }.get(kind, value)
    return shown


def _differences(found: Contents, expected: Contents) -> str:
    lines = [
        f"{name}: {found.get(name)!r}, expected {expected.get(name)!r}"
        for name in sorted(found.keys() | expected.keys())
        if found.get(name) != expected.get(name)
    ]
    return "\n".join(lines)
