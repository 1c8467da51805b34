"""Clients that follow the rosters of a room through anything end with the members that the room has.

Covers the scripts that change members, roles, devices and the topic, with subscribe, notify_devices and
settle_notify. Requests come in any order; NOTIFY requests fail, or are sent twice after the death of an edge.
"""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from imc_common import keys
from imc_common.devices import user_of
from tests.lua.conference import accept, call_notify, dialog, handle, opened, report
from tests.lua.shard import ALICE, OUT, ROOM, SHARD, Shard, decoded

PHONE = f"{ALICE};gr=urn:uuid:phone"
USERS = [f"user{number}@example.org" for number in range(6)]
STEPS = 150


class Client:
    """What a device shows, and what it asks for."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.version = 0
        self.users: dict[str, tuple[str, frozenset[str]]] = {}
        self.seen: set[str] = set()
        """Users and devices that it has ever been told of."""
        self.subject = ""
        self.is_subscribed = False
        self.has_gap = False
        self.calls = 0

    def take(self, content: dict[str, Any]) -> None:
        """One NOTIFY (RFC 4575 §4.6): a partial one counts only behind the one before."""
        version = content["version"]
        if content["terminated"]:
            self.is_subscribed = self.has_gap = False
            return
        if content["full"] and version != self.version:
            assert version > self.version
            self.users, self.has_gap = {}, False
        elif version <= self.version:
            return  # sent again
        elif version != self.version + 1:
            self.has_gap = True
            return
        elif self.has_gap:
            return
        self.version = version
        self.subject = content.get("subject", self.subject)
        for user, role, present, gone in content["users"]:
            if role == "deleted":
                assert user in self.seen, "what leaves was there"
                self.users.pop(user, None)
                continue
            assert self.seen.issuperset(gone)
            self.seen |= {user, *present}
            known = self.users.get(user, ("", frozenset()))[1]
            assert not set(present) & set(gone)
            self.users[user] = role, (known | set(present)) - set(gone)


class World:
    """A room, the clients of its users, and an edge that may die."""

    def __init__(self, shard: Shard, seed: int) -> None:
        self.shard = shard
        self.random = random.Random(seed)
        self.clients: dict[str, Client] = {PHONE: Client(PHONE)}
        self.subjects = 0
        opened(shard, *USERS[:2])
        self.deliver()

    def subscribe(self, client: Client, seconds: int = 600, *, anew: bool = False) -> None:
        client.calls += anew
        call = dialog(f"{client.calls} {client.device}")
        about = {"device": client.device, "dialog": call, "detail": f"{seconds} {client.version}"}
        handle(self.shard, "subscribe", user_of(client.device), **about)
        client.is_subscribed = seconds > 0
        client.has_gap = False

    def step(self) -> None:
        """Something happens."""
        choice, user = self.random.choice, self.random.choice(USERS)
        kind = choice(
            ["add", "remove", "modify", "topic", "accept", "exit", "subscribe", "restart", "edge", "edge"]
        )
        device = f"{user};gr={self.random.randrange(2)}"
        if kind == "add":
            handle(self.shard, "add", ALICE, user=user, **choice([{}, {"dialog": dialog("alice")}]))
        elif kind == "remove":
            handle(self.shard, "remove", ALICE, user=user)
        elif kind == "modify":
            handle(self.shard, "modify", ALICE, user=user, role=choice(["admin", "member"]))
        elif kind == "topic":
            self.subjects += 1
            handle(self.shard, "topic", ALICE, text=f"Subject {self.subjects}")
        elif kind == "accept" and user in self.shard.members():
            accept(self.shard, device, by=device)
            client = self.clients.setdefault(device, Client(device))
            if self.random.random() < 0.9:
                self.subscribe(client, anew=True)
        elif kind == "exit" and user in self.shard.members():
            handle(self.shard, "exit", user, device=device, dialog=dialog(device))
        elif kind in {"subscribe", "restart"}:
            client = choice(list(self.clients.values()))
            if kind == "restart" and self.random.random() < 0.3:
                client.version, client.users, client.seen = 0, {}, set()  # it was installed anew
            self.subscribe(client, choice([600, 600, 0]), anew=kind == "restart")
        elif kind == "edge":
            self.deliver(lossy=True)

    def deliver(self, *, lossy: bool = False) -> None:
        """An edge handles the out-stream; a lossy one may die at any point. Its successor begins again."""
        for entry, fields in decoded(self.shard.redis.xrange(OUT)):
            if lossy and self.random.random() < 0.1:
                return
            name, to = fields["event"], fields["to"]
            if name == "roster":
                self.shard.run("notify_devices", *call_notify(self.shard, entry))
            elif name == "notify":
                if not self.notify(entry, to, fields, lossy=lossy):
                    return
            else:
                self.shard.redis.xdel(OUT, entry)

    def notify(self, entry: str, to: str, fields: dict[str, str], *, lossy: bool) -> bool:
        """Whether the edge has lived long enough to report it; if not, its successor sends the same again."""
        client = self.clients.get(to)
        status = self.random.choice(["200"] * 6 + ["408", "500"]) if lossy else "200"
        arrives = status == "200" or self.random.random() < 0.5
        if client is not None and arrives:
            client.take(json.loads(fields["detail"]))
            if lossy and self.random.random() < 0.1:
                return False
        self.shard.redis.xdel(OUT, entry)
        report(self.shard, "settle_notify", to, status, event="notify", of=entry)
        return True

    def settle(self) -> None:
        """Everything is delivered; clients with a gap have asked for the roster again."""
        for _ in range(20):
            while self.shard.redis.xlen(OUT):
                self.deliver()
            gaps = [client for client in self.clients.values() if client.has_gap]
            for client in gaps:
                self.subscribe(client)
            if not gaps and not self.shard.redis.xlen(OUT):
                return
        raise AssertionError("a client never got its roster")


@pytest.mark.parametrize("seed", range(12))
def test_every_subscriber_ends_with_the_members_of_the_room(seed: int, shard: Shard) -> None:
    shard.settings["history_max_messages"] = 0
    world = World(shard, seed)
    world.subscribe(world.clients[PHONE], anew=True)
    for _ in range(STEPS):
        world.step()
    world.subscribe(world.clients[PHONE])
    world.settle()
    for user in USERS:  # nobody was there for some NOTIFY requests: these users are back
        entry = shard.put("user_online", user, user)
        assert shard.run("call_user_back", *shard.call_online(entry, user)) == "done"
    world.settle()
    # what failed at last is told with the next change
    handle(shard, "topic", ALICE, text="The last subject")
    world.settle()

    members = {user: value.partition(" ")[0] for user, value in shard.members().items()}
    present = set(decoded(shard.redis.hkeys(keys.devices(SHARD, ROOM))))
    about = decoded(shard.redis.hkeys(shard.keys.room(SHARD, ROOM)))
    wanted = {
        user: (role, frozenset(device for device in present if user_of(device) == user))
        for user, role in members.items()
    }
    subscribed = {field.removeprefix("subscription:") for field in about if field.startswith("subscription:")}
    followed = [client for device, client in world.clients.items() if device in subscribed & present]
    assert followed
    for client in followed:
        assert (client.device, client.subject) == (client.device, "The last subject")
        assert client.users == wanted
    assert {user_of(device) for device in present} <= members.keys()
    assert {user for user, value in shard.members().items() if "devices" in value} == {
        user_of(device) for device in present
    }
