"""Programs that answer every message are muted, people who write fast never are.

Covers the include echo.lua.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pytest

from imc_common.rooms.request import RequestData
from tests.lua.shard import ALICE, BOB, CAROL, DAVE, IN, OUT, ROOM, SHARD, Shard, decoded

START = 1_700_000_000_000
MEMBERS = (ALICE, BOB, CAROL, DAVE)


class Line(NamedTuple):
    """One message: ms since the first one, who wrote it, and what."""

    at: int
    sender: str
    text: str


def typed(gaps: Sequence[int], *lines: tuple[str, str]) -> list[Line]:
    """Lines of people with these gaps in ms, again and again."""
    at, said = 0, []
    for number, (sender, text) in enumerate(lines):
        at += gaps[number % len(gaps)]
        said.append(Line(at, sender, text))
    return said


def busy(seed: int, text: str, share: float) -> list[Line]:
    """A busy room: ten lines a second, and this share of them is Bob's, who writes the same all the time."""
    source = random.Random(seed)
    said = []
    for number in range(120):
        is_bob = source.random() < share
        said.append(
            Line(
                number * 100,
                BOB if is_bob else source.choice((ALICE, CAROL, DAVE)),
                text if is_bob else f"{number}",
            )
        )
    return said


PROGRAMS: dict[str, tuple[list[Line], dict[str, int]]] = {
    "three members offline behind msilo": ([Line(0, ALICE, "hello all")], {BOB: 5, CAROL: 9, DAVE: 3}),
    "two, through a slow proxy": ([Line(0, ALICE, "hello all")], {BOB: 600, CAROL: 700}),
    "two answer each other": ([Line(0, ALICE, "hello all")], {BOB: 1, CAROL: 1}),
    "one answers a person who goes on": (typed([4000], *[(ALICE, f"{n}") for n in range(20)]), {BOB: 30}),
}
"""What people say, and after how many ms each program answers."""
PEOPLE = {
    "one word, again and again": typed([700], *[(BOB, "ok")] * 30),
    "a flood of one line": typed([80], *[(BOB, "first!!!")] * 30),
    "two who agree, at the speed of people": typed([1400], *[(ALICE, "yes"), (BOB, "yes")] * 15),
    "counting down together": typed(
        [300], *[(who, f"{n}") for n in range(10) for who in (ALICE, BOB, CAROL)]
    ),
    "a vote": typed([150], *[(who, "+1") for who in (ALICE, BOB, CAROL, DAVE)] * 3),
    "fast, and now and then the same": typed(
        [400], *[(who, text) for text in ("no", "no", "yes", "no") * 5 for who in (ALICE, BOB)]
    ),
    **{f"the same in a busy room, {seed}": busy(seed, "lol", 0.15) for seed in range(3)},
    **{f"three times a second in a busy room, {seed}": busy(seed, "spam", 0.3) for seed in range(3)},
    "a greeting each morning": typed([86_400_000], *[(ALICE, "good morning"), (BOB, "good morning")] * 12),
    "answers, but different ones": [
        line
        for number in range(20)
        for line in (
            Line(number * 2000, ALICE, "and then?"),
            Line(number * 2000 + 200, BOB, f"then {number}"),
        )
    ],
}


def muted_in(shard: Shard, said: Sequence[Line], programs: Mapping[str, int] | None = None) -> dict[str, int]:
    """Who is muted in this conversation, and after how many texts of theirs. Nobody is told twice."""
    shard.ask("create", ALICE)
    for user in MEMBERS[1:]:
        shard.ask("add", ALICE, user=user)
    shard.settings["history_max_messages"] = 500
    history = shard.keys.history(SHARD, ROOM)
    texts: dict[str, list[str]] = {member: [] for member in MEMBERS}
    muted: dict[str, int] = {}
    kept: list[tuple[str, str]] = []
    waiting = sorted(said)
    for number in range(800):
        if not waiting:
            return muted
        line = waiting.pop(0)
        entry_id = f"{START + line.at}-{number}"
        data = RequestData(body=line.text.encode(), call_id=f"c{number}", at=line.at)
        fields: dict[Any, Any] = {"type": "message", "from": line.sender, "room": ROOM, "data": data.pack()}
        if texts[line.sender][-1:] == [line.text]:
            fields["echo"] = "1"
        texts[line.sender].append(line.text)
        shard.redis.delete(history, IN)  # ids follow the server's clock: here the time of the lines counts
        for position, sender in kept:
            shard.redis.xadd(history, {sender: "x"}, position)
        shard.redis.xadd(IN, fields, entry_id)
        reply = shard.run("broadcast_message", *shard.command("broadcast_message", entry_id, line.sender))
        assert reply == "done"
        for _, event in decoded(shard.redis.xrange(OUT)):
            if event["event"] == "muted":
                assert event["to"] == line.sender
                assert line.sender not in muted
                muted[line.sender] = len(texts[line.sender])
                continue
            kept.append((entry_id, line.sender))
            for each in {*event["to"].split()} & {*(programs or {})}:
                waiting.append(Line(line.at + (programs or {})[each], each, f"*** {each} is offline"))
        waiting.sort()
        shard.redis.xtrim(OUT, maxlen=0)
    raise AssertionError("they go on for ever")


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_that_answers_is_muted_and_told_once(shard: Shard, name: str) -> None:
    """Within a few answers, and then it ends. Who writes is not muted."""
    said, programs = PROGRAMS[name]
    muted = muted_in(shard, said, programs)
    assert muted
    assert muted.keys() <= programs.keys()
    assert max(muted.values()) <= 20


@pytest.mark.parametrize("name", PEOPLE)
def test_people_are_never_taken_for_a_program(shard: Shard, name: str) -> None:
    """However fast they write, and however often the same."""
    assert muted_in(shard, PEOPLE[name]) == {}


@pytest.fixture
def room(shard: Shard) -> Shard:
    """Bob's client answers, and is muted."""
    assert muted_in(shard, *PROGRAMS["one answers a person who goes on"]).keys() == {BOB}
    shard.redis.delete(shard.keys.history(SHARD, ROOM), IN)
    shard.redis.xadd(IN, {"x": "x"})
    shard.redis.xtrim(IN, maxlen=0)
    return shard


def say(shard: Shard, sender: str, text: str, *, together: bool = False) -> list[str]:
    """A message; who gets it."""
    data = RequestData(body=text.encode(), call_id="new").pack()
    entry_id = decoded(shard.redis.xadd(IN, {"type": "message", "from": sender, "room": ROOM, "data": data}))
    if not together or not shard.together([entry_id]):
        shard.run("broadcast_message", *shard.command("broadcast_message", entry_id, sender))
    to = [user for _, event in decoded(shard.redis.xrange(OUT)) for user in event["to"].split()]
    shard.redis.xtrim(OUT, maxlen=0)
    return sorted(to)


@pytest.mark.parametrize("together", [False, True])
def test_a_muted_member_gets_messages_and_its_answers_go_nowhere(room: Shard, together: bool) -> None:
    """The store that answers for it keeps the messages."""
    assert room.members()[BOB] == "member muted"
    assert say(room, ALICE, "hello again", together=together) == [BOB, CAROL, DAVE]
    for _ in range(3):
        assert say(room, BOB, f"*** {BOB} is offline", together=together) == []


@pytest.mark.parametrize("together", [False, True])
def test_the_person_behind_it_speaks_with_any_other_text(room: Shard, together: bool) -> None:
    """And is muted no longer."""
    assert say(room, BOB, "I am back", together=together) == [ALICE, CAROL, DAVE]
    assert room.members()[BOB] == "member"
    assert f"muted:{BOB}" not in decoded(room.redis.hgetall(room.keys.room(SHARD, ROOM)))


def test_who_was_muted_keeps_the_role_and_loses_it_all_with_the_membership(room: Shard) -> None:
    """Roles, lists and leaving are as before."""
    room.ask("modify", ALICE, user=BOB, role="admin")
    assert room.members()[BOB] == "admin muted"
    room.ask("exit", BOB)
    room.ask("join", BOB)
    assert room.members()[BOB] == "member"
    about = decoded(room.redis.hgetall(room.keys.room(SHARD, ROOM)))
    assert not {name for name in about if name.endswith(f":{BOB}")} - {f"joined:{BOB}"}


def test_without_history_nothing_is_judged(shard: Shard) -> None:
    """There is no record of what was answered."""
    shard.settings["history_max_messages"] = 0
    shard.ask("create", ALICE)
    shard.ask("add", ALICE, user=BOB)
    for _ in range(20):
        shard.ask("message", ALICE)
        assert shard.ask("message", BOB, echo="1")[0].event == "message"
    assert shard.members()[BOB] == "member"
