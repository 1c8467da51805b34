"""Clients that follow the rosters of a room through anything end with the members that the room has.

Covers the scripts that change members, roles, devices and the topic, with subscribe, notify_devices and
settle_notify. Requests come in any order; NOTIFY requests fail, or are sent twice after the death of an edge.
A device may have several subscriptions, and may not know all of them any more. No client ever sees a gap in
the versions, or a version with two contents.
"""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from imc_common import keys
from imc_common.devices import is_device, user_of
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
        self.told: dict[int, dict[str, Any]] = {}
        """By version."""
        self.users: dict[str, tuple[str, frozenset[str]]] = {}
        self.seen: set[str] = set()
        """Users and devices that it has ever been told of."""
        self.subject = ""
        self.dialogs: list[str] = []
        """Call-IDs of the subscriptions that it knows, the latest at the end."""
        self.ending: set[str] = set()
        """Those that it has ended, if it still waits for their last NOTIFY."""
        self.calls = 0

    def take(self, call_id: str, content: dict[str, Any]) -> bool:
        """One NOTIFY (RFC 4575 §4.6): a partial one follows the version before. Returns whether it knows the
        dialog.
        """
        version = content["version"]
        if call_id not in {*self.dialogs, *self.ending}:
            return False
        if content["terminated"]:
            self.dialogs = [each for each in self.dialogs if each != call_id]
            self.ending.discard(call_id)
        if version <= self.version:  # sent again, or what is said to others than members
            assert content["terminated"] == "noresource" or self.told[version] == content
            return True
        self.told[version] = content
        if content["full"]:
            self.users = {}
        else:
            assert version == self.version + 1, "no gap"
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
        return True


class World:
    """A room, the clients of its users, and an edge that may die."""

    def __init__(self, shard: Shard, seed: int) -> None:
        self.shard = shard
        self.random = random.Random(seed)
        self.clients: dict[str, Client] = {PHONE: Client(PHONE)}
        self.subjects = 0
        self.invited: set[str] = set()
        """Users of the devices that are invited again, perhaps after a BYE."""
        opened(shard, *USERS[:2])
        self.deliver()

    def subscribe(self, client: Client, seconds: int = 600, *, anew: bool = False) -> None:
        if anew or not client.dialogs:
            client.calls += 1
            client.dialogs.append(f"{client.calls} {client.device}")
        call_id = client.dialogs[-1] if seconds else self.random.choice(client.dialogs)
        about = {"device": client.device, "dialog": dialog(call_id), "detail": f"{seconds} {client.version}"}
        handle(self.shard, "subscribe", user_of(client.device), **about)
        if seconds == 0:
            client.dialogs.remove(call_id)
            client.ending |= {call_id} if self.random.random() < 0.5 else set()

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
            if kind == "restart" and self.random.random() < 0.5:
                client.dialogs, client.ending = [], set()  # or else it has several
                if self.random.random() < 0.5:  # it was installed anew
                    client.version, client.told, client.users, client.seen = 0, {}, {}, set()
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
                self.invited |= {user_of(to)} if name in {"invite", "bye"} and is_device(to) else set()
                self.shard.redis.xdel(OUT, entry)

    def notify(self, entry: str, to: str, fields: dict[str, str], *, lossy: bool) -> bool:
        """Whether the edge has lived long enough to report it; if not, its successor sends the same again."""
        client, call_id = self.clients.get(to), json.loads(fields["dialog"])["call_id"]
        status = self.random.choice(["200"] * 6 + ["408", "500"]) if lossy else "200"
        arrives = status == "200" or self.random.random() < 0.5
        if client is not None and arrives:
            if not client.take(call_id, json.loads(fields["detail"])):
                status = "481"
            if lossy and self.random.random() < 0.1:
                return False
        self.shard.redis.xdel(OUT, entry)
        report(self.shard, "settle_notify", to, status, event="notify", of=entry)
        return True

    def settle(self) -> None:
        """Everything is delivered."""
        for _ in range(100):
            if not self.shard.redis.xlen(OUT):
                return
            self.deliver()
        raise AssertionError("the room never comes to rest")


@pytest.mark.parametrize("seed", range(20))
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
    has_devices = {user for user, value in shard.members().items() if "devices" in value}
    here = {user_of(device) for device in present}
    assert here <= has_devices <= here | world.invited, "a client that has no roster is invited again"
