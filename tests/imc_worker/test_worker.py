"""Requests go in, events come out: every type of entry, through all parts of a worker.

Also covers receipts.py.
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
    """And never to the invited."""
    await bench.ask("create", ALICE)
    await bench.ask("join", BOB)
    await bench.ask("invite", ALICE, user=CAROL)
    await bench.ask("message", ALICE)
    await bench.work()
    assert (await bench.events())[-1] == ("message", BOB)


async def test_answers_without_a_room(bench: Bench) -> None:
    """Help and what the edge refused become notices to the sender, with the edge's reason."""
    await bench.ask("help", ALICE)
    await bench.ask("refused", ALICE, reason="unknown_command", command="#foo", detail="foo")
    await bench.work()
    assert await bench.events() == [("help", ALICE), ("refused", ALICE)]
    refusal = (await bench.stream(keys.events(SHARD)))[-1]
    assert (refusal["reason"], refusal["command"], refusal["detail"]) == ("unknown_command", "#foo", "foo")


async def test_rooms_of_all_shards_are_listed(bench: Bench) -> None:
    """Public ones and the asker's private ones, by address; others' private ones are not told."""
    public = [f"room-{number}@example.org" for number in range(20)]
    for room in public:
        await bench.ask("create", BOB, room)
    await bench.ask("create", ALICE, "secret@example.org", private=True)
    await bench.ask("create", BOB, "hidden@example.org", private=True)
    await bench.work()
    await bench.ask("rooms", ALICE, "manager@example.org")
    await bench.work()
    shard = shard_of("manager@example.org", 4)
    answer = (await bench.stream(keys.events(shard)))[-1]
    expected = [f"public:{room}" for room in sorted(public)] + ["private:secret@example.org"]
    assert answer["list"].split() == expected
    assert (answer["event"], answer["to"], answer["more"]) == ("rooms", ALICE, "0")


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
    answer = (await bench.stream(keys.events(SHARD)))[-1]
    assert answer["list"].split() == [f"public:room-{number}@example.org" for number in range(3)]
    assert answer["more"] == "7"


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


async def test_rooms_asked_for_at_once_count_for_the_limit() -> None:
    """In whatever shards, at whatever ports: what goes to Redis together is not counted apart."""
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


async def test_joining_a_room_that_is_there_counts_nothing(bench: Bench) -> None:
    """The look-up through all shards is made only where its answer can matter."""
    await bench.ask("create", BOB)
    await bench.work()
    bench.store.ran.clear()
    await bench.ask("join", ALICE)
    await bench.work()
    assert (await bench.events())[-1][0] == "joined"
    assert not any(command[0] == "SCARD" for commands in bench.store.ran for command in commands)


async def test_one_pipeline_for_all_that_was_read(bench: Bench) -> None:
    """Entries read together are handled in one round trip."""
    await bench.ask("create", ALICE)
    await bench.work()
    for _ in range(50):
        await bench.ask("list", ALICE)
    bench.store.ran.clear()
    await bench.work()
    assert max(sum(c[0] == "EVALSHA" for c in commands) for commands in bench.store.ran) >= 50


async def test_messages_that_follow_one_another_share_scripts(bench: Bench) -> None:
    """As many as a script takes; none is left over, and none is handled again."""
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


async def test_messages_that_redis_does_not_handle_together_are_handled_one_by_one(bench: Bench) -> None:
    """And the log says why, for it costs more: a Redis user, say, that may not do what the script does."""
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


async def test_messages_that_take_more_are_handled_one_by_one_in_their_order(bench: Bench) -> None:
    """A stranger's among them gets its refusal between the messages around it."""
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
    """The receipt of an invitation's delivery ends it, and the inviter is told."""
    await bench.ask("create", ALICE)
    await bench.ask("invite", ALICE, user=CAROL)
    await bench.work()
    (((entry_id, _),),) = [
        (await bench.store.run([("XREVRANGE", keys.events(SHARD), "+", "-", "COUNT", 1)]))[0]
    ]
    await receipt(bench, "invited", CAROL, "404", user=ALICE, of=entry_id.decode())
    await bench.work()
    assert (await bench.events())[-1] == ("invitation_failed", ALICE)
    assert await bench.left() == 0


async def test_a_member_that_is_gone_for_good_is_dropped(bench: Bench) -> None:
    """After evict_after times 404 the member is out and the rest are told; a 503 counts for nothing."""
    await bench.ask("create", ALICE)
    await bench.ask("join", BOB)
    await receipt(bench, "message", BOB, "503")
    for _ in range(bench.settings.evict_after):
        await receipt(bench, "message", BOB, "404")
    await bench.work()
    assert (await bench.events())[-1] == ("dropped", ALICE)
    assert await bench.left() == 0


async def receipt(bench: Bench, event: str, recipient: str, status: str, **more: str) -> None:
    fields = {"type": "receipt", "event": event, "from": recipient, "room": ROOM, "status": status}
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
        ["rubbish", ""],
    ],
)
async def test_an_entry_that_cannot_be_read_is_buried(bench: Bench, fields: list[str | bytes]) -> None:
    """After max_attempts it is in dead with the reason, and those behind it are handled."""
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
    """A key of the wrong type: the script's error is the reason, counted attempts are the setting's."""
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


async def test_an_event_of_the_same_id_does_not_count_for_a_request(bench: Bench) -> None:
    """Both streams of a shard may give an entry the same id; their attempts are counted apart."""
    entry_id = await bench.put("type", "create", "from", ALICE, "room", ROOM)
    await bench.store.run([("SET", keys.attempts(SHARD, "out", entry_id.decode()), 1000)])
    retrial = retrial_module.Retrial(bench.store, bench.settings.max_attempts, lambda: 0.0)
    assert await retrial.judge([(SHARD, entry_id, {})]) == ["try"]


async def test_other_shards_go_on_while_one_is_stuck(bench: Bench) -> None:
    """A failing entry holds up nobody but its own shard."""
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
async def test_redis_trouble_delays_but_loses_and_doubles_nothing(bench: Bench, fault: Any) -> None:
    """Unknown outcome or refusal, more often than max_attempts: each takes effect once, in order."""
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


async def test_entries_of_a_lost_shard_are_left_to_its_new_owner(bench: Bench) -> None:
    """What was read before the lease ended is not handled after."""
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


def test_workers_know_nothing_of_edges() -> None:
    """Importing the worker's process brings in no part of the edge."""
    code = "import sys, imc_worker.__main__; sys.exit(any(m.startswith('imc_edge') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
