"""One shard under test: requests go in by the names of the commands, and what their scripts did comes out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import redis

from imc_common import keys
from imc_common.keys import Keys
from imc_common.rooms.event import CATCH_UP, OF_CONFERENCES, REPLAY, Event
from imc_common.rooms.history import hand_out
from imc_common.rooms.roles import AWAY
from imc_common.scripts import Command, Scripts
from imc_common.settings import Settings
from imc_worker.actions import MUTE, Action, room_actions
from imc_worker.all_shards import AllShards
from imc_worker.delivery_reports import DeliveryReports
from imc_worker.dispatcher import Dispatcher
from tests.lua.header import header_of

SCRIPTS = Scripts()
SHARD = 3
IN, OUT = keys.requests(SHARD), keys.events(SHARD)
READER = "p1"
"""The process that reads both streams."""
ROOM = "chat-000@example.org"
ALICE, BOB, CAROL, DAVE = (f"{name}@example.org" for name in ("alice", "bob", "carol", "dave"))

SCRIPT_OF = {kind.decode(): action.script for kind, action in room_actions(Settings()).items()}
"""The script of each type of request about a room, from the table of actions."""


@lru_cache(maxsize=256)
def _worker(settings: frozenset[tuple[str, Any]]) -> tuple[Dispatcher, dict[str, Action]]:
    """A worker's dispatcher under these settings, and the actions of all room scripts by script."""
    under = Settings(**dict(settings))
    reports = DeliveryReports(under)
    actions = [*room_actions(under).values(), *MUTE]
    actions += [*reports.actions.values()]
    nothing: Any = None  # these commands need no look-up in other shards
    dispatcher = Dispatcher(SCRIPTS, AllShards(nothing, Keys(), 16), under)
    return dispatcher, {action.script: action for action in actions}


class Heard(NamedTuple):
    """One entry of the out-stream, without what is copied from the request."""

    event: str
    to: tuple[str, ...]
    by: str
    more: dict[str, str]


def heard(event: str, *to: str, by: str, **more: str) -> Heard:
    """What a test expects to be heard, recipients in any order."""
    return Heard(event, tuple(sorted(to)), by, more)


def told_all(event: str, *to: str, by: str, **more: str) -> list[Heard]:
    """What a test expects where `to` are told: who did it, or became a member or got a role, each alone."""
    first = {"added": [more.get("user"), by], "role_changed": [by, more.get("user")]}.get(event, [by])
    alone = [one for one in dict.fromkeys(first) if one in to]
    others = [one for one in to if one not in alone]
    return [heard(event, *each, by=by, **more) for each in (*([one] for one in alone), others) if each]


def refused(who: str, reason: str, command: str, **more: str) -> list[Heard]:
    """What a test expects of a refusal: one notice, to the sender only."""
    return [heard("refused", who, by=who, reason=reason, command=command, **more)]


class Shard:
    """A shard on one server.

    `settings` are settings by name, and other arguments of scripts; a test changes them at will.
    """

    def __init__(self, client: redis.Redis) -> None:
        self.redis = client
        self.keys = Keys()
        self.settings: dict[str, Any] = {"owned_elsewhere": 0}
        self.start()

    def start(self, reader: str = READER) -> list[str]:
        """This process begins to read both streams; how far each was read before."""
        roles = ((IN, "worker"), (OUT, "edge"))
        return [str(self.run("claim_stream", [s, keys.lease(SHARD, role)], [reader])) for s, role in roles]

    def run(self, script: str, script_keys: list[str], args: list[Any]) -> Any:
        """The reply of a script, decoded. A server that has seen the script gets its digest only."""
        command = SCRIPTS.command(script, script_keys, args)
        try:
            reply = self.redis.execute_command(*command)
        except redis.exceptions.NoScriptError:
            reply = self.redis.eval(SCRIPTS.sources[script], *command[2:])
        return decoded(reply)

    def put(self, kind: str, sender: str, room: str = ROOM, **fields: str) -> str:
        """Appends a request to the in-stream, as an edge does; its id."""
        entry = {"type": kind, "from": sender, "room": room, **fields}
        entry["data"] = "\x81"
        return str(decoded(self.redis.xadd(IN, entry)))

    def command(
        self, script: str, entry_id: str, sender: str, room: str = ROOM, user: str = ""
    ) -> tuple[list[str], list[Any]]:
        """KEYS and ARGV of a room script, as a worker's dispatcher gives them."""
        of_worker = frozenset((n, value) for n, value in self.settings.items() if n in Settings.model_fields)
        dispatcher, actions = _worker(of_worker)
        fields = {b"from": sender.encode(), b"room": room.encode(), b"user": (user or sender).encode()}
        elsewhere = self.settings["owned_elsewhere"]
        command = dispatcher.room_command(actions[script], SHARD, entry_id.encode(), fields, elsewhere)
        count = 3 + int(command[2])
        script_keys, args = [str(key) for key in command[3:count]], list(command[count:])
        args[0] = entry_id
        for place, name in enumerate(header_of(script).names("ARGV")):
            if name in self.settings and name not in Settings.model_fields:
                args[place] = self.settings[name]
        return script_keys, args

    def ask(self, kind: str, sender: str, room: str = ROOM, **fields: str) -> list[Heard]:
        """Sends a request through its script, which must say it is done; what was heard of it."""
        entry_id = self.put(kind, sender, room, **fields)
        return self.handle(SCRIPT_OF[kind], entry_id, sender, room, fields.get("user", ""))

    def report(
        self, script: str, event: str, recipient: str, status: str, room: str = ROOM, **fields: str
    ) -> list[Heard]:
        """Sends the report of a delivery that ended through `script`; what was heard of it."""
        entry_id = self.put("delivery_report", recipient, room, event=event, status=status, **fields)
        return self.handle(script, entry_id, recipient, room)

    def handle(
        self, script: str, entry_id: str, sender: str, room: str = ROOM, user: str = ""
    ) -> list[Heard]:
        """Runs a room script on an entry of the in-stream; what was heard of it."""
        reply = self.run(script, *self.command(script, entry_id, sender, room, user))
        assert reply == "done", reply
        assert not any(entry == entry_id for entry, _ in decoded(self.redis.xrange(IN)))
        self.show()
        return self.drain()

    def show(self) -> None:
        """Shows what members have asked for with `#history`, as an edge does."""
        for item, fields in decoded(self.redis.xrange(OUT)):
            if (fields["event"], fields.get("catch_up")) == (CATCH_UP, REPLAY):
                call = self.call_hand_out(item, fields["to"], fields["room"], catch_up=REPLAY)
                assert isinstance(self.run("show_history", *call), int)

    def time_out(self, user: str, room: str = ROOM) -> list[Heard]:
        """The member has been away for longer than members may be."""
        self.settings["remove_after_days"] = 1
        if user in self.members(room):
            self.send_away(user, room=room)
        return self.ask("remove_absent", user, room)

    def together(self, ids: Sequence[str], *, max_recipients: int = 1000, names: bool = False) -> Any:
        """Runs broadcast_messages on these requests; how many of them were handled."""
        command = self.call_together(ids, max_recipients=max_recipients, names=names)
        (handled,) = self.run("broadcast_messages", *command)
        return handled

    def call_together(
        self, ids: Sequence[str], *, max_recipients: int = 1000, names: bool = False
    ) -> tuple[list[str], list[Any]]:
        """KEYS and ARGV of broadcast_messages."""
        args = [self.settings.get("delivery_chunk", 64), max_recipients]
        args += [self.settings.get("history_max_messages", 0)]
        args += [int(self.settings.get("history_max_age", 7 * 86_400) * 1000), int(names)]
        args += [make(SHARD, "") for make in (self.keys.members, self.keys.history, self.keys.room)]
        args.append(keys.authors_prefix(SHARD))
        return [IN, OUT, keys.history_off(SHARD)], [*args, *ids]

    def call_online(self, entry_id: str, user: str) -> tuple[list[str], list[Any]]:
        """KEYS and ARGV of call_user_back."""
        where = [IN, OUT, keys.away_rooms(SHARD, user), keys.probes(SHARD), keys.probe_waits(SHARD)]
        return where, [entry_id, self.keys.room(SHARD, "")]

    def call_hand_out(
        self, entry_id: str, user: str, room: str = ROOM, *, catch_up: str = ""
    ) -> tuple[list[str], list[Any]]:
        """KEYS and ARGV of hand_out, or of show_history for a replay, as an edge gives them."""
        under = Settings(**{n: value for n, value in self.settings.items() if n in Settings.model_fields})
        item = Event(entry_id, SHARD, CATCH_UP, room, (user,), catch_up=catch_up)
        now = float(self.redis.time()[0])
        command = hand_out(self, under, item, now=now)  # type: ignore[arg-type] # only `script` is called
        count = 3 + int(command[2])
        return [str(key) for key in command[3:count]], list(command[count:])

    def script(self, name: str, script_keys: list[str], args: list[Any]) -> Command:
        """The command of a script."""
        return SCRIPTS.command(name, script_keys, args)

    def call_probes(self, max_probes: int = 10) -> tuple[list[str], list[Any]]:
        """KEYS and ARGV of probe_users."""
        names = ("history_max_messages", "oldest_ms", "max_age_ms")
        args = [max_probes, 600_000, *(self.settings.get(name, 0) for name in names)]
        args.append(keys.away_rooms(SHARD, ""))
        args += [make(SHARD, "") for make in (self.keys.room, self.keys.members, self.keys.history)]
        return [keys.probes(SHARD), keys.probe_waits(SHARD), OUT], args

    def drain(self) -> list[Heard]:
        """The events since the last time, in order; each carries the data of the request."""
        found = []
        for entry_id, fields in decoded(self.redis.xrange(OUT)):
            data = fields.pop("data")
            assert fields["event"] in OF_CONFERENCES or data == (
                "" if fields["event"] == CATCH_UP else "\x81"
            )
            assert fields.pop("room")
            if "catch_up" not in fields:  # the further entries of one event name the first
                fields.pop("history_id", None)
            to, by = tuple(sorted(fields.pop("to").split(" "))), fields.pop("from")
            found.append(Heard(fields.pop("event"), to, by, fields))
            self.redis.xdel(OUT, entry_id)
        return found

    def send_away(self, *users: str, room: str = ROOM, since: str = "1-1") -> None:
        """These members are away since this message; written by no script."""
        for user in users:
            role = self.members(room)[user].removesuffix(AWAY)
            self.redis.hset(self.keys.members(SHARD, room), user, role + AWAY)
            self.redis.hset(self.keys.room(SHARD, room), f"away:{user}", since)

    def members(self, room: str = ROOM) -> dict[str, str]:
        """Address to role, the invited too."""
        members: dict[str, str] = decoded(self.redis.hgetall(self.keys.members(SHARD, room)))
        return members

    def exists(self, room: str = ROOM) -> bool:
        """Is there such a room? Checks that its key and its place in the index agree."""
        there = bool(self.redis.exists(self.keys.room(SHARD, room)))
        assert there == (self.redis.zscore(self.keys.rooms(SHARD), room) is not None)
        return there

    def private_rooms(self, user: str) -> set[str]:
        """The private rooms the index says the user is in."""
        return set(decoded(self.redis.smembers(keys.private_rooms(SHARD, user))))

    def owned_rooms(self, user: str) -> set[str]:
        """The rooms the index says the user owns."""
        return set(decoded(self.redis.smembers(keys.owned_rooms(SHARD, user))))

    def dump(self) -> dict[str, Any]:
        """Everything the server holds, for comparison."""
        return {decoded(key): self._content(key) for key in sorted(self.redis.keys("*"))}

    def _content(self, key: bytes) -> Any:
        kind = decoded(self.redis.type(key))
        if kind == "stream":
            return kind, decoded(self.redis.xrange(key)), decoded(self.redis.xinfo_groups(key))
        read = {
            "string": self.redis.get,
            "hash": self.redis.hgetall,
            "set": self.redis.smembers,
            "list": lambda name: self.redis.lrange(name, 0, -1),
            "zset": lambda name: self.redis.zrange(name, 0, -1, withscores=True),
        }
        return kind, decoded(read[kind](key)), self.redis.ttl(key) >= 0


def decoded(reply: Any) -> Any:
    """A reply with its bytes as text, byte for byte (Latin-1 where it is no UTF-8)."""
    if isinstance(reply, bytes):
        return reply.decode("utf-8", "surrogateescape")
    if isinstance(reply, dict):
        return {decoded(name): decoded(value) for name, value in reply.items()}
    if isinstance(reply, set):
        return {decoded(value) for value in reply}
    if isinstance(reply, (list, tuple)):
        return type(reply)(decoded(value) for value in reply)
    return reply


def entries(shard: Shard, stream: str) -> list[dict[str, str]]:
    """The fields of each entry of a stream."""
    return [fields for _, fields in decoded(shard.redis.xrange(stream))]


def put_event(shard: Shard, *to: str, name: str = "invited") -> str:
    """An event in the out-stream that an edge has read; its id."""
    fields = {"event": name, "room": ROOM, "from": ALICE, "to": " ".join(to)}
    entry_id = shard.redis.xadd(OUT, {**fields, "data": "\x81"})
    return str(decoded(entry_id))
