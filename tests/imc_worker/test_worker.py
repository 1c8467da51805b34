"""Requests go in, events come out: every type of entry, through all parts of a worker.

Covers delivery_reports.py, committer.py, dispatcher.py, actions.py, all_shards.py and retrial.py.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest
from structlog.testing import capture_logs

from imc_common import keys
from imc_common.keys import Keys, shard_of
from imc_common.store import Command, ReplyError, StoreUnreachable
from imc_worker import committer as committer_module
from imc_worker import retrial as retrial_module
from imc_worker.message_batches import MAX_BATCH
from tests.fake_store import FakeStore
from tests.imc_worker.conftest import ALICE, BOB, CAROL, ROOM, Bench

SHARD = shard_of(ROOM, 4)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer_module, "PAUSE_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(retrial_module, "FIRST_PAUSE", 0.001)


async def test_a_conversation(bench: Bench) -> None:
    """Create, join, invite, accept, message, modify, list, remove, exit, destroy: each has its events.

    Those concerned are told alone, so an event of the room is two entries or three.
    """
    await bench.ask("create", ALICE)
    await bench.ask("join", BOB)
    await bench.ask("invite", ALICE, user=CAROL)
    await bench.ask("accept", CAROL)
    await bench.ask("message", BOB)
    await bench.ask("modify", ALICE, user=BOB, role="admin")
    await bench.ask("list", CAROL)
    await bench.ask("remove", BOB, user=CAROL)
    await bench.ask("add", BOB, user=CAROL)
    await bench.ask("exit", CAROL)
    await bench.ask("destroy", ALICE)
    await bench.work()
    assert [event for event, _ in await bench.events()] == [
        *("created", *["joined"] * 2, "invitation_sent", "invited", *["joined"] * 2, "message"),
        *(*["role_changed"] * 3, "members", "you_were_removed", *["removed"] * 2),
        *(*["added"] * 3, *["left"] * 2, *["destroyed"] * 2),
    ]
    assert await bench.left() == 0


async def test_a_message_goes_to_all_but_its_sender(bench: Bench) -> None:
    """Never to the invited."""
    await bench.ask("create", ALICE)
    await bench.ask("join", BOB)
    await bench.ask("invite", ALICE, user=CAROL)
    await bench.ask("message", ALICE)
    await bench.work()
    assert (await bench.events())[-1] == ("message", BOB)


async def test_requests_about_no_room_get_a_notice(bench: Bench) -> None:
    """Help, and what the edge refused with the edge's reason."""
    await bench.ask("help", ALICE)
    await bench.ask("refused", ALICE, reason="unknown_command", command="#foo", detail="foo")
    await bench.work()
    assert await bench.events() == [("help", ALICE), ("refused", ALICE)]
    refusal = (await bench.stream(keys.events(SHARD)))[-1]
    assert (refusal["reason"], refusal["command"], refusal["detail"]) == ("unknown_command", "#foo", "foo")


async def test_rooms_of_all_shards_are_listed(bench: Bench) -> None:
    """Public ones and the sender's private ones, by address; no others."""
    public = [f"room-{number}@example.org" for number in range(20)]
    for room in public:
        await bench.ask("create", BOB, room)
    await bench.ask("create", ALICE, "secret@example.org", private=True)
    await bench.ask("create", BOB, "hidden@example.org", private=True)
    await bench.work()
    await bench.ask("rooms", ALICE, "manager@example.org")
    await bench.work()
    shard = shard_of("manager@example.org", 4)
    notice = (await bench.stream(keys.events(shard)))[-1]
    expected = [f"public:{room}" for room in sorted(public)] + ["private:secret@example.org"]
    assert notice["list"].split() == expected
    assert (notice["event"], notice["to"], notice["more"]) == ("rooms", ALICE, "0")


async def test_a_long_list_of_rooms_is_cut_and_the_rest_counted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first by address are named; `more` says how many are not."""
    monkeypatch.setattr("imc_worker.all_shards.MAX_ROOMS", 3)
    for number in range(10):
        await bench.ask("create", BOB, f"room-{number}@example.org")
    await bench.work()
    await bench.ask("rooms", ALICE)
    await bench.work()
    notice = (await bench.stream(keys.events(SHARD)))[-1]
    assert notice["list"].split() == [f"public:room-{number}@example.org" for number in range(3)]
    assert notice["more"] == "7"


async def test_rooms_owned_in_other_shards_count_for_the_limit() -> None:
    """A user who owns as many rooms as allowed, in whatever shards, gets no further one."""
    bench = Bench(max_rooms_per_owner=3)
    for number in range(3):
        await bench.ask("create", ALICE, f"room-{number}@example.org")
    await bench.work()
    await bench.ask("create", ALICE, "one-more@example.org")
    await bench.ask("join", ALICE, "or-so@example.org")
    await bench.work()
    for room in ("one-more@example.org", "or-so@example.org"):
        assert (await bench.events(room))[-1] == ("refused", ALICE)
    await bench.store.close()


async def test_rooms_created_at_the_same_time_count_for_the_limit() -> None:
    """In different shards, from different ports: requests of one pipeline see each other."""
    bench = Bench(max_rooms_per_owner=3)
    rooms = [f"room-{number}@example.org" for number in range(20)]
    for number, room in enumerate(rooms):
        await bench.ask("create", f"{ALICE}:{5000 + number}" if number % 2 else ALICE, room)
    await bench.ask("create", BOB, "another@example.org")
    await bench.work()
    all_rooms = (*rooms, "another@example.org")
    there = await bench.store.run([("EXISTS", Keys().room(shard_of(room, 4), room)) for room in all_rooms])
    assert sum(there[:-1]) == 3
    assert there[-1] == 1
    await bench.store.close()


async def test_joining_an_existing_room_looks_up_no_other_shard(bench: Bench) -> None:
    """The look-up is made only if it matters."""
    await bench.ask("create", BOB)
    await bench.work()
    bench.store.ran.clear()
    await bench.ask("join", ALICE)
    await bench.work()
    assert (await bench.events())[-1][0] == "joined"
    assert not any(command[0] == "SCARD" for commands in bench.store.ran for command in commands)


async def test_entries_read_together_go_into_one_pipeline(bench: Bench) -> None:
    await bench.ask("create", ALICE)
    await bench.work()
    for _ in range(50):
        await bench.ask("list", ALICE)
    bench.store.ran.clear()
    await bench.work()
    assert max(sum(c[0] == "EVALSHA" for c in commands) for commands in bench.store.ran) >= 50


async def test_consecutive_messages_share_scripts(bench: Bench) -> None:
    """Up to the maximum of a script; none is left over or handled twice."""
    for who in (ALICE, BOB):
        await bench.ask("create" if who == ALICE else "join", who)
    await bench.work()
    for _ in range(2 * MAX_BATCH + 2):
        await bench.ask("message", ALICE)
    bench.store.ran.clear()
    await bench.work()
    scripts = [bench.store.script(name, [], [])[1] for name in ("broadcast_messages", "broadcast_message")]
    ran = [command[1] for commands in bench.store.ran for command in commands if command[0] == "EVALSHA"]
    assert [ran.count(script) for script in scripts] == [3, 0]
    assert [event for event, _ in await bench.events()].count("message") == 2 * MAX_BATCH + 2
    assert await bench.left() == 0


ROOMS = {shard_of(f"room-{number}@example.org", 4): f"room-{number}@example.org" for number in range(64)}
"""A room of each shard."""


async def scripts_for_all_shards(bench: Bench, *, broken: int | None = None) -> int:
    """Alice writes two messages in a room of each shard; the number of scripts for many messages.

    ``broken`` is a shard that has no history any more, but a key of a wrong type in its place.
    """
    for room in ROOMS.values():
        await bench.ask("create", ALICE, room=room)
        await bench.ask("join", BOB, room=room)
    await bench.work()
    for room in (*ROOMS.values(), *ROOMS.values()):
        await bench.ask("message", ALICE, room=room)
    if broken is not None:
        await bench.store.run([("SET", keys.history_off(broken), "no set")])
    bench.store.ran.clear()
    await bench.work()
    script = bench.store.script("broadcast_messages", [], [])[1]
    return sum(command[1:2] == (script,) for commands in bench.store.ran for command in commands)


async def test_messages_of_all_shards_share_a_script(bench: Bench) -> None:
    """Each room gets its own, in order."""
    assert len(ROOMS) == 16
    assert await scripts_for_all_shards(bench) == 1
    for room in ROOMS.values():
        assert [event for event, to in await bench.events(room) if to == BOB][-2:] == ["message"] * 2
        assert await bench.left(room) == 0


async def test_on_a_cluster_each_shard_has_its_script() -> None:
    """A script there has keys of one slot."""
    bench = Bench(db_url="redis+cluster://127.0.0.1:7000")
    assert await scripts_for_all_shards(bench) == 16
    assert [await bench.left(room) for room in ROOMS.values()] == [0] * 16
    await bench.store.close()


async def test_a_shard_with_a_key_of_a_wrong_type_is_no_concern_of_the_others(bench: Bench) -> None:
    """Their messages are delivered at once."""
    await scripts_for_all_shards(bench, broken=7)
    for shard, room in ROOMS.items():
        found = [event for event, to in await bench.events(room) if to == BOB].count("message")
        assert (found, await bench.left(room)) == ((0, 2) if shard == 7 else (2, 0))


async def test_messages_are_handled_one_by_one_if_the_shared_script_fails(bench: Bench) -> None:
    """The log says why, because it costs more: for example a Redis user without a permission."""
    for who in (ALICE, BOB):
        await bench.ask("create" if who == ALICE else "join", who)
    await bench.work()
    for _ in range(3):
        await bench.ask("message", ALICE)
    Failing(bench, ReplyError("ERR The user executing the script can't run this command"), times=1)
    with capture_logs() as lines:
        await bench.work()
    assert [event for event, _ in await bench.events()][-3:] == ["message"] * 3
    assert await bench.left() == 0
    (line,) = lines
    assert (line["log_level"], line["event"]) == ("warning", "messages are handled one by one")
    assert "can't run" in line["reason"]


async def test_a_refused_message_keeps_its_place_in_the_order(bench: Bench) -> None:
    """Its notice comes between the messages around it."""
    for who in (ALICE, BOB):
        await bench.ask("create" if who == ALICE else "join", who)
    await bench.work()
    before = len(await bench.events())
    for who in (ALICE, CAROL, ALICE):
        await bench.ask("message", who)
    await bench.ask("list", ALICE)
    await bench.ask("message", BOB)
    await bench.work()
    assert [event for event, _ in await bench.events()][before:] == [
        "message", "refused", "message", "members", "message",
    ]  # fmt: skip
    assert await bench.left() == 0


async def test_a_failed_invitation_is_withdrawn(bench: Bench) -> None:
    """By the report that the user refuses it; the inviter is told. Users who are not there get it later."""
    await bench.ask("create", ALICE)
    await bench.ask("invite", ALICE, user=CAROL)
    await bench.work()
    (((entry_id, _),),) = [
        (await bench.store.run([("XREVRANGE", keys.events(SHARD), "+", "-", "COUNT", 1)]))[0]
    ]
    await report(bench, "invited", CAROL, "486", user=ALICE, of=entry_id.decode())
    await bench.work()
    assert (await bench.events())[-1] == ("invitation_failed", ALICE)
    assert await bench.left() == 0


@pytest.mark.parametrize("history_max", [0, 500])
async def test_a_member_who_is_not_there_is_away_if_the_room_keeps_messages(history_max: int) -> None:
    """Otherwise nothing follows."""
    bench = Bench(history_max_messages=history_max)
    await bench.ask("create", ALICE)
    await bench.ask("join", BOB)
    await report(bench, "message", BOB, "480", history_id=f"{2**50}-1")
    await bench.work()
    (values,) = await bench.store.run([("HGETALL", Keys().members(SHARD, ROOM))])
    assert (b"member away" in values) == (history_max > 0)
    assert await bench.left() == 0
    await bench.store.close()


async def report(bench: Bench, event: str, recipient: str, status: str, **more: str) -> None:
    fields = {"type": "delivery_report", "event": event, "from": recipient, "room": ROOM, "status": status}
    await bench.put(*[part for pair in {"user": ALICE, **fields, **more}.items() for part in pair])


@pytest.mark.parametrize(
    "fields",
    [
        ["type", "no such thing", "from", ALICE, "room", ROOM],
        ["type", "message"],
        ["type", "message", "from", ALICE, "room", b"\xff"],
        ["type", "invite", "from", ALICE, "room", b"\xff", "user", BOB],
        ["type", "remove", "from", ALICE, "room", ROOM],
        ["type", "rooms", "room", ROOM],
        ["type", "create", "room", ROOM],
        ["type", "create", "from", b"\xff", "room", ROOM],
        ["type", "join", "from", b"\xff", "room", ROOM],
        ["rubbish", ""],
        [b"\xff", b"\xff"],
    ],
)
async def test_an_entry_that_cannot_be_read_becomes_a_dead_letter(
    bench: Bench, fields: list[str | bytes]
) -> None:
    """After max_attempts, with the reason; entries behind it are handled."""
    await bench.ask("create", ALICE)
    entry_id = await bench.put(*fields)
    await bench.ask("join", BOB)
    for _ in range(30):
        await bench.work()
        await asyncio.sleep(0.01)
    assert [event for event, _ in await bench.events()] == ["created", "joined", "joined"]
    (letter,) = await bench.stream(keys.dead(SHARD))
    assert letter["dead_entry"] == entry_id.decode()
    assert letter["dead_reason"]
    assert letter["dead_at"] == "1700000000000"
    assert await bench.left() == 0
    assert await bench.store.run([("EXISTS", keys.attempts(SHARD, "in", entry_id.decode()))]) == [0]


async def test_a_script_that_fails_is_tried_max_attempts_times(bench: Bench) -> None:
    """The reason of the dead letter is the script's error."""
    names = Keys()
    await bench.ask("create", ALICE)
    await bench.work()
    await bench.store.run([("DEL", names.members(SHARD, ROOM)), ("SET", names.members(SHARD, ROOM), "x")])
    await bench.ask("message", ALICE)
    bench.store.ran.clear()
    for _ in range(30):
        await bench.work()
        await asyncio.sleep(0.01)
    (letter,) = await bench.stream(keys.dead(SHARD))
    assert "WRONGTYPE" in letter["dead_reason"]
    sha = bench.store.script("broadcast_message", [], [])[1]
    attempts = sum(command[:2] == ("EVALSHA", sha) for commands in bench.store.ran for command in commands)
    assert attempts == bench.settings.max_attempts


async def test_attempts_of_an_event_with_the_same_id_are_counted_separately(bench: Bench) -> None:
    """An id is unique only within its stream."""
    entry_id = await bench.put("type", "create", "from", ALICE, "room", ROOM)
    await bench.store.run([("SET", keys.attempts(SHARD, "out", entry_id.decode()), 1000)])
    retrial = retrial_module.Retrial(bench.store, bench.settings.max_attempts, lambda: 0.0)
    assert await retrial.judge([(SHARD, entry_id, {})]) == ["try"]


def test_failed_entries_are_remembered_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries of a shard that was lost meanwhile are never heard of again."""
    monkeypatch.setattr(retrial_module, "MAX_BLAMED", 3)
    monkeypatch.setattr(retrial_module, "FIRST_PAUSE", 0.1)
    retrial = retrial_module.Retrial(FakeStore(), 5, lambda: 0.0)
    for number in range(10):
        entry = (SHARD, b"%d-0" % number, [])
        assert [retrial.blame(entry, "a reason") for _ in range(2)] == [0.1, 0.2]
        assert len(retrial._pauses) <= 3 >= len(retrial._reasons)


async def test_other_shards_continue_while_an_entry_fails(bench: Bench) -> None:
    other = next(f"r{n}@example.org" for n in range(100) if shard_of(f"r{n}@example.org", 4) != SHARD)
    await bench.put("type", "no such thing")
    await bench.ask("create", ALICE, other)
    await bench.work(rounds=2)
    assert await bench.events(other) == [("created", ALICE)]


class Failing:
    """Lets a store's next runs fail."""

    def __init__(self, bench: Bench, fault: Any, times: int) -> None:
        self._run = bench.store.run
        self._fault = fault
        self._times = times
        bench.store.run = self.run  # type: ignore[method-assign]
        bench.dispatcher._all_shards._store = self

    async def run(self, commands: list[Command], **options: Any) -> list[Any]:
        script = any(command[0] == "EVALSHA" and len(command) > 8 for command in commands)
        if not script or not self._times:
            return await self._run(commands, **options)
        self._times -= 1
        if isinstance(self._fault, ReplyError):
            return [self._fault] * len(commands)
        if self._fault == "after":
            await self._run(commands, **options)
        raise StoreUnreachable("gone")


@pytest.mark.parametrize("fault", ["before", "after", ReplyError("OOM full"), ReplyError("BUSY script")])
async def test_failures_of_redis_lose_and_double_nothing(bench: Bench, fault: Any) -> None:
    """Unreachable with unknown outcome, or refusals, more often than max_attempts."""
    Failing(bench, fault, times=12)
    await bench.ask("create", ALICE)
    await bench.ask("join", BOB)
    await bench.ask("message", ALICE)
    await bench.ask("message", BOB)
    for _ in range(20):
        await bench.work()
        await asyncio.sleep(0.005)
    assert [event for event, _ in await bench.events()] == [
        *("created", "joined", "joined", "message", "message"),
    ]
    assert await bench.stream(keys.dead(SHARD)) == []


class FaultError(Exception):
    """An error that nobody has thought of."""


class Faulty:
    """Stands for a part of the worker in which one entry causes an error."""

    def __init__(self, part: Any, method: str, entry_id: bytes) -> None:
        self._call = getattr(part, method)
        self._entry_id = entry_id
        setattr(part, method, self)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        if self._entry_id.decode() in str(arguments) and "move_to_dead_letters" not in str(arguments):
            raise FaultError
        return self._call(*arguments, **options)


@pytest.mark.uncompiled  # replaces methods of compiled classes
@pytest.mark.parametrize("kind", ["message", "join"])
@pytest.mark.parametrize("part", ["dispatcher.commands", "dispatcher.messages", "tracer.handled", "store"])
async def test_an_unforeseen_error_of_one_entry_fails_this_entry_only(
    bench: Bench, part: str, kind: str
) -> None:
    """Wherever it occurs between reading and the end of the attempt; the worker goes on."""
    await bench.ask("create", ALICE)
    await bench.ask("join", BOB)
    await bench.work()
    await bench.ask("message", ALICE)
    entry_id = await bench.ask(kind, CAROL if kind == "join" else BOB)
    await bench.ask("message", ALICE)
    if part == "store":
        FaultyStore(bench, entry_id)
    elif part == "tracer.handled":
        bench.committer._tracer.enabled = True
        Faulty(bench.committer._tracer, "handled", b"")
    else:
        Faulty(bench.dispatcher, part.partition(".")[2], entry_id)
    for _ in range(30):
        await bench.work()
        await asyncio.sleep(0.01)
    assert [event for event, _ in await bench.events()].count("message") >= 2
    assert await bench.left() == 0
    dead = [letter["dead_entry"] for letter in await bench.stream(keys.dead(SHARD))]
    # messages share a script that needs no command of each; if it cannot be built, each is handled alone
    fails = part == "store" or (part, kind) == ("dispatcher.commands", "join")
    assert dead == ([entry_id.decode()] if fails else [])


class FaultyStore:
    """Raises if a pipeline has a script that handles this entry."""

    def __init__(self, bench: Bench, entry_id: bytes) -> None:
        self._run = bench.store.run
        self._entry_id = entry_id
        self._dead = bench.store.script("move_to_dead_letters", [], [])[1]
        bench.store.run = self.run  # type: ignore[method-assign]

    async def run(self, commands: list[Command], **options: Any) -> list[Any]:
        for command in commands:
            is_script = command[0] == "EVALSHA" and command[1] != self._dead
            if is_script and (self._entry_id in command or self._entry_id.decode() in command):
                raise FaultError
        return await self._run(commands, **options)


async def test_entries_of_a_lost_shard_are_left_to_its_new_owner(bench: Bench) -> None:
    """Entries that were read before the lease ended are not handled after it."""
    await bench.ask("create", ALICE)
    await bench.ownership.step()
    for batch in await bench.consumer.read():
        bench.committer.put(batch)
    assert bench.committer.has_pending(SHARD)
    bench.now += 10
    await bench.handle()
    assert not bench.committer.has_pending(SHARD)
    assert await bench.events() == []
    await bench.work()
    assert await bench.events() == [("created", ALICE)]


def test_a_worker_imports_no_part_of_the_edge() -> None:
    code = "import sys, imc_worker.__main__; sys.exit(any(m.startswith('imc_edge') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
