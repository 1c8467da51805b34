"""set_topic: owners and admins set the topic of a room, members read it, new members get it."""

from __future__ import annotations

from typing import Any

import pytest

from imc_cli.migration.dump import dump
from imc_cli.migration.load import load
from imc_cli.resharding import Resharding
from imc_common import keys
from imc_common.keys import Keys, shard_of
from imc_common.rooms.commands import MAX_TEXT, CommandParser, Parsed
from imc_common.rooms.event import Event
from imc_common.rooms.texts import render
from imc_common.settings import Settings
from imc_worker.mi.rooms import Rooms
from tests.fake_store import FakeStore
from tests.imc_worker.conftest import ROOM as BENCH_ROOM
from tests.imc_worker.conftest import Bench
from tests.lua.shard import ALICE, BOB, CAROL, DAVE, ROOM, SHARD, Shard, heard, refused

EVE = "eve@example.org"
TOPIC = "Grüße: next meeting at 9:00 %s {x}"


@pytest.fixture(params=["public", "private"])
def room(request: pytest.FixtureRequest, shard: Shard) -> Shard:
    """Alice owns the room, Bob is admin, Carol member, Dave invited."""
    shard.ask("create", ALICE, **({"private": "1"} if request.param == "private" else {}))
    shard.ask("add", ALICE, user=BOB)
    shard.ask("modify", ALICE, user=BOB, role="admin")
    shard.ask("add", ALICE, user=CAROL)
    shard.ask("invite", ALICE, user=DAVE)
    return shard


def topic(shard: Shard) -> bytes | None:
    """What the room's hash has."""
    found: bytes | None = shard.redis.hget(shard.keys.room(SHARD, ROOM), "topic")
    return found


@pytest.mark.parametrize(("who", "others"), [(ALICE, (BOB, CAROL)), (BOB, (ALICE, CAROL))])
def test_owners_and_admins_set_the_topic(room: Shard, who: str, others: tuple[str, ...]) -> None:
    """It is in the room's hash; all members are told, the sender in words of its own."""
    assert room.ask("topic", who, text=TOPIC) == [
        heard("topic_set", who, by=who, text=TOPIC),
        heard("topic_set", *others, by=who, text=TOPIC),
    ]
    assert topic(room) == TOPIC.encode()
    room.ask("topic", who, text="another")
    assert topic(room) == b"another"


def test_a_plain_member_reads_the_topic_and_does_not_set_it(room: Shard) -> None:
    """Without a topic the notice says so."""
    assert room.ask("topic", CAROL) == [heard("no_topic", CAROL, by=CAROL)]
    assert room.ask("topic", CAROL, text=TOPIC) == refused(CAROL, "admins_only", "topic", detail=TOPIC)
    assert topic(room) is None
    room.ask("topic", ALICE, text=TOPIC)
    assert room.ask("topic", CAROL) == [heard("topic", CAROL, by=CAROL, text=TOPIC)]


@pytest.mark.parametrize("text", [{}, {"text": TOPIC}])
@pytest.mark.parametrize("who", [DAVE, EVE])
def test_the_invited_and_strangers_neither_read_nor_set_it(
    room: Shard, who: str, text: dict[str, str]
) -> None:
    """A stranger gets the same notice as for a room that does not exist."""
    hidden = room.redis.hget(room.keys.room(SHARD, ROOM), "private") == b"1" and who == EVE
    reason = "unknown_room" if hidden else "not_member"
    more = {"detail": TOPIC} if text else {}
    assert room.ask("topic", who, **text) == refused(who, reason, "topic", **more)
    assert topic(room) is None


def test_whoever_becomes_a_member_is_shown_the_topic(shard: Shard) -> None:
    """By join, by add, by an invitation that is accepted, and by create of a room that exists."""
    shard.ask("create", ALICE)
    assert [event.event for event in shard.ask("join", BOB)] == ["joined", "joined"]
    shard.ask("topic", ALICE, text=TOPIC)
    shard.ask("invite", ALICE, user=DAVE)
    ways = [
        (CAROL, shard.ask("join", CAROL)),
        (DAVE, shard.ask("accept", DAVE)),
        (EVE, shard.ask("add", ALICE, user=EVE)),
        ("frank@example.org", shard.ask("create", "frank@example.org")),
    ]
    for who, told in ways:
        assert [(event.to, event.more) for event in told if event.event == "topic"] == [
            ((who,), {"text": TOPIC})
        ]
        assert told[-1].event == "topic", "the notice that it joined comes first"


def test_the_topic_goes_with_the_room(room: Shard) -> None:
    """A room of the same name that is created later has none."""
    room.ask("topic", ALICE, text=TOPIC)
    room.ask("destroy", ALICE)
    room.ask("create", CAROL)
    assert room.ask("topic", CAROL) == [heard("no_topic", CAROL, by=CAROL)]


def parse(body: str) -> Parsed:
    return CommandParser(Settings()).parse(body.encode(), ROOM)


def test_a_topic_is_the_rest_of_the_line() -> None:
    """A text is not an address: it may have blanks and quotes; none asks for the topic."""
    assert parse(f"#Topic  {TOPIC}\r\nmore") == Parsed("topic", ROOM, text=TOPIC)
    assert parse("#topic") == parse("#topic ") == Parsed("topic", ROOM)


@pytest.mark.parametrize("text", ["x" * (MAX_TEXT + 1), "red \x1b[31m", "a\x00b", "reversed \u202e"])
def test_a_topic_that_is_too_long_or_has_control_characters_is_refused(text: str) -> None:
    """As in every command that takes a text."""
    parsed = parse(f"#topic {text}")
    assert (parsed.type, parsed.reason, parsed.command) == ("refused", "bad_text", "topic")


def notice(name: str, *to: str) -> str:
    event = Event("1-0", SHARD, name, ROOM, to, actor=ALICE, text=TOPIC)
    [text] = render(event, Settings())
    return text.body.decode()


def test_the_notices_show_the_topic_as_it_is() -> None:
    """Whatever a template would make of its braces."""
    assert notice("topic", BOB) == f"*** Topic: {TOPIC}"
    assert notice("topic_set", BOB, CAROL) == f"*** {ALICE} has set the topic: {TOPIC}"
    assert notice("topic_set", ALICE) == f"*** You have set the topic: {TOPIC}"
    assert notice("no_topic", BOB).startswith("*** This room has no topic.")


async def no_sleep(_seconds: float) -> None:
    """The wait for retransmissions is over at once."""


async def test_mi_import_export_and_reshard_carry_the_topic() -> None:
    """They need not know it: MI and export show the room as before, import and reshard keep it."""
    bench = Bench()
    store: Any = bench.store
    assert isinstance(store, FakeStore)
    await bench.ask("create", ALICE)
    await bench.ask("topic", ALICE, text=TOPIC)
    await bench.work()
    delivered = ("XTRIM", keys.events(shard_of(BENCH_ROOM, 4)), "MAXLEN", 0)
    await store.run([("HSET", keys.CONFIG, "hash_size", 4), delivered])
    [exported] = [each async for each in dump(store, bench.settings)]
    assert (exported.address, exported.members) == (BENCH_ROOM, {ALICE: "owner"})
    exported.members[BOB] = "member"
    assert (await load(store, bench.settings, [exported], 1)).completed == 1
    await bench.ownership.release_all()
    await Resharding(store, bench.settings, 6, sleep=no_sleep).run()
    moved = bench.settings.model_copy(update={"hash_size": 6})
    found = await Rooms(store, moved).get(BENCH_ROOM)
    assert found is not None
    assert found.members == {ALICE: "owner", BOB: "member"}
    key = Keys().room(shard_of(BENCH_ROOM, 6), BENCH_ROOM)
    assert await store.run([("HGET", key, "topic")]) == [TOPIC.encode()]
    await store.close()
