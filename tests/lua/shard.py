"""One shard under test: requests go in by the names of the commands, and what their scripts did comes out."""

from __future__ import annotations

from typing import Any, NamedTuple

import redis

from imc_common import keys
from imc_common.keys import Keys
from imc_common.scripts import Scripts

SCRIPTS = Scripts()
SHARD = 3
IN, OUT = keys.requests(SHARD), keys.events(SHARD)
READER = "p1"
"""The process that reads both streams."""
ROOM = "chat-000@example.org"
ALICE, BOB, CAROL, DAVE = (f"{name}@example.org" for name in ("alice", "bob", "carol", "dave"))

SCRIPT_OF = {
    "create": "create_room",
    "join": "join_room",
    "invite": "invite_member",
    "accept": "accept_invitation",
    "deny": "deny_invitation",
    "remove": "remove_member",
    "add": "add_member",
    "modify": "modify_member",
    "exit": "exit_room",
    "destroy": "destroy_room",
    "list": "list_members",
    "message": "broadcast_message",
}

_FURTHER_ARGS = {
    "create_room": ["check_on_create", "max_rooms_per_owner", "owned_elsewhere", "max_members"],
    "join_room": ["create_on_join", "max_rooms_per_owner", "owned_elsewhere", "max_members"],
    "invite_member": ["max_members"],
    "add_member": ["max_members"],
    "modify_member": ["max_rooms_per_owner", "owned_elsewhere"],
    "exit_room": ["owner_exit", "private_rooms_prefix", "owned_rooms_prefix"],
    "destroy_room": ["private_rooms_prefix", "owned_rooms_prefix"],
    "drop_unreachable": ["evict_after", "ttl_ms"],
}


class Heard(NamedTuple):
    """One entry of the out-stream, without what is copied from the request."""

    event: str
    to: tuple[str, ...]
    by: str
    more: dict[str, str]


def heard(event: str, *to: str, by: str, **more: str) -> Heard:
    """What a test expects to be heard, recipients in any order."""
    return Heard(event, tuple(sorted(to)), by, more)


def refused(who: str, reason: str, command: str, **more: str) -> list[Heard]:
    """What a test expects of a refusal: one notice, to the sender only."""
    return [heard("refused", who, by=who, reason=reason, command=command, **more)]


class Shard:
    """A shard on one server. `settings` are the arguments its scripts get; a test changes them at will."""

    def __init__(self, client: redis.Redis, keys_of_rooms: Keys | None = None) -> None:
        self.redis = client
        self.keys = keys_of_rooms or Keys()
        self.settings: dict[str, Any] = {
            "delivery_chunk": 64,
            "check_on_create": 0,
            "create_on_join": 1,
            "max_rooms_per_owner": 50,
            "owned_elsewhere": 0,
            "max_members": 500,
            "owner_exit": "destroy",
            "private_rooms_prefix": keys.private_rooms(SHARD, ""),
            "owned_rooms_prefix": keys.owned_rooms(SHARD, ""),
            "evict_after": 3,
            "ttl_ms": 60000,
        }
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
        entry |= {"call_id": "c1@192.0.2.1", "at": "1700000000000", "data": "\x81"}
        return str(decoded(self.redis.xadd(IN, entry)))

    def keys_for(self, script: str, sender: str, room: str = ROOM, user: str = "") -> list[str]:
        """The KEYS of a room script."""
        common = [
            IN,
            OUT,
            self.keys.rooms(SHARD),
            self.keys.room(SHARD, room),
            self.keys.members(SHARD, room),
        ]
        owned, private, unreachable = (
            keys.owned_rooms(SHARD, user or sender),
            keys.private_rooms(SHARD, user or sender),
            keys.unreachable(SHARD, room),
        )
        further = {
            "create_room": [owned, private],
            "join_room": [owned, private],
            "accept_invitation": [private],
            "remove_member": [private],
            "add_member": [private],
            "modify_member": [owned],
            "exit_room": [private, owned, unreachable],
            "destroy_room": [unreachable],
            "drop_unreachable": [unreachable, private, owned],
        }
        return common + further.get(script, [])

    def args_for(self, script: str, entry_id: str) -> list[Any]:
        """The ARGV of a room script, from the settings."""
        return [entry_id] + [
            self.settings[name] for name in ["delivery_chunk", *_FURTHER_ARGS.get(script, [])]
        ]

    def ask(self, kind: str, sender: str, room: str = ROOM, **fields: str) -> list[Heard]:
        """Sends a request through its script, which must say it is done; what was heard of it."""
        entry_id = self.put(kind, sender, room, **fields)
        return self.handle(SCRIPT_OF[kind], entry_id, sender, room, fields.get("user", ""))

    def report(
        self, script: str, event: str, recipient: str, status: str, room: str = ROOM, **fields: str
    ) -> list[Heard]:
        """Sends the receipt of a failed delivery through `script`; what was heard of it."""
        entry_id = self.put("receipt", recipient, room, event=event, status=status, **fields)
        return self.handle(script, entry_id, recipient, room)

    def handle(
        self, script: str, entry_id: str, sender: str, room: str = ROOM, user: str = ""
    ) -> list[Heard]:
        """Runs a room script on an entry of the in-stream; what was heard of it."""
        reply = self.run(script, self.keys_for(script, sender, room, user), self.args_for(script, entry_id))
        assert reply == "done", reply
        assert not any(entry == entry_id for entry, _ in decoded(self.redis.xrange(IN)))
        return self.drain()

    def drain(self) -> list[Heard]:
        """The events since the last time, in order; each carries the request's call_id, at and data."""
        found = []
        for entry_id, fields in decoded(self.redis.xrange(OUT)):
            copied = fields.pop("call_id"), fields.pop("at"), fields.pop("data")
            assert copied == ("c1@192.0.2.1", "1700000000000", "\x81")
            assert fields.pop("room")
            to, by = tuple(sorted(fields.pop("to").split(" "))), fields.pop("from")
            found.append(Heard(fields.pop("event"), to, by, fields))
            self.redis.xdel(OUT, entry_id)
        return found

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
