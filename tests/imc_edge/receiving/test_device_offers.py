"""Which devices are offered which rooms when they register; also client_devices.py and command_group.py."""

from __future__ import annotations

from typing import Any

import pytest

from imc_common import client_devices
from imc_common.store import Command, ReplyError
from imc_edge.receiving.device_offers import (
    AGAIN_SECONDS,
    DELAY_SECONDS,
    MAX_NOTED,
    MAX_OFFERED,
    MAX_TRIES,
    PAGE,
)
from tests.imc_edge.doubles import Edge, FakeStore, edge
from tests.imc_edge.receiving.test_registration import CAROL, read, register

INSTANCE = '+sip.instance="<urn:uuid:1>"'
SPECS = '+org.linphone.specs="ephemeral/1.1,groupchat/1.1"'
LINPHONE = f"<sip:carol@192.0.2.7>;{INSTANCE};{SPECS}"
DEVICE = f"{CAROL};gr=urn:uuid:1"
ROOMS = ["chat-a@example.org", "chat-b@example.org"]


class Shards(FakeStore):
    """A store with the hash of one user, in which rooms are found as a test says."""

    def __init__(self, *rooms: str) -> None:
        super().__init__()
        self.hash: dict[str, int] = {}
        self.pages: list[list[Any]] = [[0, 0, *(room.encode() for room in rooms)]]
        """Replies to find_rooms, one after the other; then nothing is found."""
        self.is_down = False
        self.reply = self._reply
        self._find = self.script("find_rooms", (), ())[1]

    def _reply(self, command: Command) -> Any:
        name, at = command[0], [str(each) for each in command[2:]]
        if self.is_down:
            return ReplyError("OOM")
        match name:
            case "EVALSHA" if command[1] == self._find:
                return self.pages.pop(0) if self.pages else [0, 0]
            case "HSETNX":
                return self.hash.setdefault(at[0], int(at[1]))
            case "HSET":
                self.hash[at[0]] = int(at[1])
            case "HINCRBY":
                self.hash[at[0]] = self.hash.get(at[0], 0) + 1
            case "HDEL":
                self.hash.pop(at[0], None)
            case "DEL":
                self.hash.clear()
            case "HLEN":
                return len(self.hash)
            case "HMGET":
                return [str(self.hash[each]).encode() if each in self.hash else None for each in at]
            case "SMEMBERS":
                return []
        return 1 if name != "EVALSHA" else self.remember(command)

    @property
    def sent(self) -> list[Command]:
        return [command for batch in self.batches for command in batch]

    @property
    def offers(self) -> list[tuple[str, str]]:
        """Room and device of each request that an edge has written since the last time."""
        found = []
        for command in self.sent:
            if command[0] == "XADD":
                fields = dict(zip(command[3::2], command[4::2], strict=True))
                assert (fields["type"], fields["from"]) == ("invite_device", CAROL)
                found.append((str(fields["room"]), str(fields["device"])))
        self.batches.clear()
        return found


async def come(at: Edge, contact: str = LINPHONE) -> None:
    """A REGISTER, and the time until the rooms are offered."""
    assert (await at.ask_one(register(contact))).status == 200
    at.monotonic += DELAY_SECONDS
    if at.acceptor.device_offers._waiting:
        await at.acceptor.device_offers.go()


async def test_a_new_device_is_offered_the_rooms_of_its_user() -> None:
    """After a moment, in which a client that was started again subscribes to those that it knows."""
    store = Shards(*ROOMS)
    async with edge(store) as at:
        await at.ask_one(register(LINPHONE))
        await at.acceptor.device_offers.go()
        assert (store.offers, store.hash) == ([], {DEVICE: -1})
        at.monotonic += DELAY_SECONDS
        await at.acceptor.device_offers.go()
        assert store.offers == [(room, DEVICE) for room in ROOMS]


async def test_a_refresh_costs_a_look_and_no_more() -> None:
    """A registrar that restarts has thousands of them."""
    store = Shards(*ROOMS)
    async with edge(store) as at:
        await come(at)
        store.batches.clear()
        await come(at)
        names = [command[0] for command in store.sent]
        assert sorted(map(str, names)) == ["HLEN", "HMGET", "HSETNX", "PEXPIRE", "PUBLISH", "SMEMBERS"]


async def test_after_its_user_got_a_room_a_device_is_searched_for_again() -> None:
    """A worker has counted it; the device may have been off then."""
    store = Shards(*ROOMS)
    async with edge(store) as at:
        await come(at)
        store.batches.clear()
        store.hash["rooms"] = 1
        store.pages = [[0, 0, b"chat-c@example.org"]]
        await come(at)
        assert store.offers == [("chat-c@example.org", DEVICE)]


@pytest.mark.parametrize(
    "contact",
    [
        f"<sip:carol@192.0.2.7>;{INSTANCE}",
        f"<sip:carol@192.0.2.7>;{SPECS}",
        f'<sip:carol@192.0.2.7>;{INSTANCE};+org.linphone.specs="lime/1.1,nogroupchat"',
        f"{LINPHONE};expires=0",
    ],
    ids=["no group chat", "no instance", "something else", "leaves"],
)
async def test_other_clients_are_offered_nothing(contact: str) -> None:
    """A user with such a client only never gets an INVITE."""
    store = Shards(*ROOMS)
    async with edge(store) as at:
        await come(at, contact)
        assert (store.offers, store.hash) == ([], {})


@pytest.mark.parametrize("last", [f"{LINPHONE};expires=0", "*"])
async def test_a_device_that_leaves_is_forgotten(last: str) -> None:
    """Also while it waits: when it comes again, it is offered what it has missed."""
    store = Shards()
    async with edge(store) as at:
        await come(at)
        await at.ask_one(register(last, Expires="0"))
        assert store.hash == {}


async def test_a_room_without_group_chats_is_not_offered() -> None:
    """`conference_factory` is off."""
    store = Shards(*ROOMS)
    async with edge(store, conference_factory="") as at:
        await come(at)
        assert store.offers == []


async def test_a_device_that_could_not_be_searched_for_is_found_by_its_next_register() -> None:
    """Nothing is marked before the requests are in Redis."""
    store = Shards(*ROOMS)
    async with edge(store) as at:
        await at.ask_one(register(LINPHONE))
        store.is_down = True
        at.monotonic += DELAY_SECONDS
        await at.acceptor.device_offers.go()
        store.is_down = False
        store.batches.clear()
        await come(at)
        assert store.offers == [(room, DEVICE) for room in ROOMS]


async def test_a_device_whose_user_is_being_asked_is_searched_for_again() -> None:
    """Once, a minute later: the INVITE to the user may have reached another device only."""
    store = Shards()
    async with edge(store) as at:
        store.pages = [[0, 1]]
        await come(at)
        assert store.offers == []
        store.pages = [[0, 0, ROOMS[0].encode()]]
        at.monotonic += AGAIN_SECONDS
        await at.acceptor.device_offers.go()
        assert store.offers == [(ROOMS[0], DEVICE)]
        assert store.hash[DEVICE] == 0


async def test_public_rooms_are_looked_through_page_by_page() -> None:
    """A full page has a next one."""
    store = Shards()
    async with edge(store, hash_size=0) as at:
        store.pages = [[PAGE, 0, b"chat-a@example.org"], [PAGE, 0], [1, 0, b"chat-b@example.org"]]
        await come(at)
        assert store.offers == [(room, DEVICE) for room in ROOMS]


async def test_a_device_gets_many_rooms_bit_by_bit() -> None:
    """The rest follows with its next REGISTER."""
    rooms = [f"chat-{number:03}@example.org" for number in range(MAX_OFFERED + 1)]
    store = Shards(*rooms)
    async with edge(store) as at:
        await come(at)
        assert len(store.offers) == MAX_OFFERED
        store.pages = [[0, 0, rooms[-1].encode()]]
        await come(at)
        assert store.offers == [(rooms[-1], DEVICE)]


async def test_a_herd_of_devices_is_searched_for_one_by_one() -> None:
    """One that registers twice, once; and each in its turn."""
    store = Shards()
    async with edge(store) as at:
        contacts = [f'<sip:c@192.0.2.7>;+sip.instance="<urn:uuid:{n}>";{SPECS}' for n in (0, 1, 2, 1)]
        for contact in contacts:
            await at.ask_one(register(contact))
        at.monotonic += DELAY_SECONDS
        counts = []
        for _ in range(3):
            store.batches.clear()
            await at.acceptor.device_offers.go()
            counts.append(len({command[6] for command in store.sent if command[0] == "EVALSHA"}))
        assert (counts, at.acceptor.device_offers._waiting) == ([1, 1, 1], {})


@pytest.mark.parametrize("when", ["noted", "searched for", "offered"])
async def test_a_device_for_which_redis_has_no_time_is_offered_its_rooms_later(when: str) -> None:
    """Not only with its next REGISTER, which may come in an hour: as when a registrar restarts."""
    store = Shards(*ROOMS)
    good, pages = store.reply, [[0, 0, *(room.encode() for room in ROOMS)]]

    def fail(command: Command) -> Any:
        kind = {"EVALSHA": "searched for", "XADD": "offered"}.get(str(command[0]), "noted")
        is_of_offers = command[0] in {"HSETNX", "XADD"} or command[1] == store._find
        store.pages = [pages[0]]
        return ReplyError("OOM") if is_of_offers and kind == when else good(command)

    async with edge(store) as at:
        store.reply = fail
        offers = at.acceptor.device_offers
        assert (await at.ask_one(register(LINPHONE))).status == 200
        for _ in range(3):
            at.monotonic += DELAY_SECONDS
            await offers.go()
            await at.settle()
        store.pages = pages
        store.reply = good
        store.batches.clear()
        for _ in range(2):
            at.monotonic += DELAY_SECONDS
            await offers.go()
            await at.settle()
        assert store.offers == [(room, DEVICE) for room in ROOMS]
        assert not offers._waiting
        assert not offers._unnoted


async def test_of_thousands_that_redis_had_no_time_for_none_waits_for_all_others() -> None:
    """They are noted many at a time, and searched for one by one. A device that registers again is noted at
    once, and once."""
    store = Shards()
    good = store.reply
    known = 5 * MAX_NOTED
    async with edge(store) as at:
        store.reply = lambda command: ReplyError("OOM") if command[0] == "HSETNX" else good(command)
        offers = at.acceptor.device_offers
        for number in range(known + 1):
            contact = f'<sip:c@192.0.2.7>;+sip.instance="<urn:uuid:{number}>";{SPECS}'
            assert (await at.ask_one(register(contact))).status == 200
        assert len(offers._unnoted) == known + 1
        store.reply = good
        store.batches.clear()
        await at.ask_one(register(f'<sip:c@192.0.2.7>;+sip.instance="<urn:uuid:0>";{SPECS}'))
        assert len(offers._unnoted) == known
        at.monotonic += DELAY_SECONDS
        for turn in range(1, 6):
            await offers.go()
            await at.settle()
            assert len(offers._unnoted) == known - turn * MAX_NOTED
        noted = [str(command[2]) for command in store.sent if command[0] == "HSETNX"]
        assert len(noted) == len(set(noted)) == known + 1


@pytest.mark.parametrize("name", ["HSETNX", "EVALSHA"])
async def test_what_never_works_is_given_up(name: str) -> None:
    """As with a key of a wrong type. Its next REGISTER is another chance."""
    store = Shards(*ROOMS)
    good = store.reply
    async with edge(store) as at:
        store.reply = lambda command: ReplyError("WRONGTYPE") if command[0] == name else good(command)
        offers = at.acceptor.device_offers
        offers.registered(read(register(LINPHONE)))
        for _ in range(3 * MAX_TRIES):
            await at.settle()
            at.monotonic += DELAY_SECONDS
            await offers.go()
        assert not offers._waiting
        assert not offers._unnoted


async def test_a_user_with_endless_devices_is_forgotten() -> None:
    """What Redis keeps of one user is bounded."""
    store = Shards()
    async with edge(store) as at:
        for number in range(3 * client_devices.MAX_KNOWN):
            contact = f'<sip:c@192.0.2.7>;+sip.instance="<urn:uuid:{number}>";{SPECS}'
            await at.ask_one(register(contact))
        assert len(store.hash) <= client_devices.MAX_KNOWN + 1
