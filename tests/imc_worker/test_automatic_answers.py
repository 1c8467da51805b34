"""Programs that answer every message are muted, people who write fast never are."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from pathlib import Path
from typing import NamedTuple

import pytest

from imc_common.settings import Settings
from imc_worker import automatic_answers
from imc_worker.automatic_answers import AutomaticAnswers

START = 1_700_000_000_000
ALICE, BOB, CAROL, DAVE = MEMBERS = ("alice", "bob", "carol", "dave")
MAX_MESSAGES = 100_000

Delay = Callable[[random.Random], int]


class Line(NamedTuple):
    """One message: ms since the first one, and who wrote it."""

    at: int
    sender: str


def typed(gaps: Sequence[int], *senders: str) -> list[Line]:
    """Lines of these people, with these gaps in ms again and again."""
    at, said = 0, []
    for number, sender in enumerate(senders):
        at += gaps[number % len(gaps)]
        said.append(Line(at, sender))
    return said


def always(ms: int) -> Delay:
    """A program that takes always the same time."""
    return lambda source: ms


def between(least: int, most: int) -> Delay:
    """A program that takes more or less time."""
    return lambda source: source.randint(least, most)


def chat(seed: int, count: int, least: int, most: int, people: Sequence[str] = (ALICE, BOB)) -> list[Line]:
    """People who talk by turns, with pauses in this range. One in ten writes a second line, or nothing."""
    source, at, said = random.Random(seed), 0, []
    turn = 0
    for _ in range(count):
        at += source.randint(least, most)
        said.append(Line(at, people[turn % len(people)]))
        turn += 1 if source.random() < 0.9 else source.choice((0, 2))
    return said


def by_turns(
    seed: int, count: int, least: int, most: int, people: Sequence[str] = (ALICE, BOB)
) -> list[Line]:
    """The same without one exception."""
    source, at, said = random.Random(seed), 0, []
    for number in range(count):
        at += source.randint(least, most)
        said.append(Line(at, people[number % len(people)]))
    return said


def answered(questions: int, gap: int, delay: int) -> list[Line]:
    """Alice asks every `gap` ms, Bob presses the key for "yes" `delay` ms after each question."""
    lines = [(number * gap, ALICE) for number in range(questions)]
    return sorted(Line(*each) for each in (*lines, *((at + delay, BOB) for at, _ in lines)))


def busy(seed: int, share: float, gap: int = 100, people: Sequence[str] = MEMBERS) -> list[Line]:
    """A busy room, in which Bob writes this share of the lines."""
    source = random.Random(seed)
    others = [who for who in people if who != BOB]
    return [
        Line(number * gap, BOB if source.random() < share else source.choice(others))
        for number in range(2000)
    ]


HELLO = [Line(0, ALICE)]
GOES_ON = typed([4000], *[ALICE] * 100)
PROGRAMS: dict[str, tuple[list[Line], dict[str, Delay]]] = {
    "three offline behind a store": (HELLO, {BOB: always(5), CAROL: always(9), DAVE: always(3)}),
    "twelve of these": (HELLO, {f"offline{n}": always(3 + n) for n in range(12)}),
    "two, at once": (HELLO, {BOB: always(1), CAROL: always(1)}),
    "two, 0.3 s late": (HELLO, {BOB: always(300), CAROL: always(300)}),
    "two, 1.5 s late": (HELLO, {BOB: always(1500), CAROL: always(1500)}),
    "two, up to 2 s late": (HELLO, {BOB: between(0, 2000), CAROL: between(0, 2000)}),
    "two, one of them slow": (HELLO, {BOB: always(5), CAROL: between(1000, 2000)}),
    "two, 5 s late, more or less": (HELLO, {BOB: between(500, 10_000), CAROL: between(500, 10_000)}),
    "two, half a minute late": (HELLO, {BOB: always(30_000), CAROL: between(10_000, 50_000)}),
    "three, more or less late": (HELLO, {BOB: between(0, 900), CAROL: between(0, 900), DAVE: always(300)}),
    "two among people": (
        chat(1, 300, 1000, 9000, (ALICE, DAVE)),
        {BOB: between(50, 800), CAROL: between(50, 800)},
    ),
    "one answers a person who goes on": (GOES_ON, {BOB: always(30)}),
    "one among people": (chat(2, 300, 500, 9000, (ALICE, CAROL, DAVE)), {BOB: between(200, 900)}),
}
"""What people say, and after how many ms each program answers."""
PEOPLE = {
    "one line, again and again": typed([700], *[BOB] * 300),
    "a flood of one line": typed([80], *[BOB] * 300),
    "two who agree": by_turns(3, 60, 1200, 1600),
    "a dialogue, fast and by turns": by_turns(4, 60, 2000, 5000),
    "the same for a quarter of an hour": by_turns(5, 300, 2000, 5000),
    "a game by turns, half an hour": by_turns(6, 380, 1500, 9000),
    "counting to 70 together": by_turns(7, 70, 300, 900),
    **{f"a lively dialogue, {seed}": chat(seed, 2000, 600, 4000) for seed in range(20)},
    **{f"hours of a dialogue, {seed}": chat(seed, 4000, 1000, 50_000) for seed in range(5)},
    **{f"four who talk by turns, {seed}": chat(seed, 2000, 300, 3000, MEMBERS) for seed in range(5)},
    "a roll call of 30": answered(30, 1500, 250),
    "20 questions, a key for yes": answered(20, 4000, 250),
    "38 questions, a key for yes": answered(38, 2000, 400),
    "counting down, three": typed([300], *[ALICE, BOB, CAROL] * 100),
    "a vote": typed([150], *[ALICE, BOB, CAROL, DAVE] * 3),
    **{f"a busy room, {seed}": busy(seed, 0.15) for seed in range(5)},
    **{f"three lines a second in a busy room, {seed}": busy(seed, 0.3) for seed in range(5)},
    **{f"every second line in a busy room, {seed}": busy(seed, 0.5, 300) for seed in range(20)},
    **{f"the same, of two, {seed}": busy(seed, 0.5, 700, (ALICE, BOB)) for seed in range(20)},
    "a crowd": busy(1, 0.02, 2, [BOB, *map(str, range(200))]),
    "a greeting each morning": typed([86_400_000], *[ALICE, BOB] * 1000),
}


class Room:
    """A conversation of people and programs, with what the worker's rule lets through."""

    def __init__(self, programs: dict[str, Delay], *, answers_notices: bool = True) -> None:
        self.programs = programs
        self.said: dict[str, int] = {}
        self.muted: dict[str, int] = {}
        """After how many messages."""
        self.delivered = 0
        self.last = 0
        """When something was delivered last."""
        self._rule = AutomaticAnswers(Settings())
        self._answers_notices = answers_notices
        self._source = random.Random(1)

    def play(self, lines: Sequence[Line]) -> Room:
        """All that is said; fails if it does not end."""
        waiting = list(lines)
        heapify(waiting)
        for number in range(MAX_MESSAGES):
            if not waiting:
                return self
            line = heappop(waiting)
            for answer in self._say(line, number):
                heappush(waiting, answer)
        raise AssertionError("they go on for ever")

    def _say(self, line: Line, number: int) -> Iterator[Line]:
        self.said[line.sender] = self.said.get(line.sender, 0) + 1
        entry_id = b"%d-%d" % (START + line.at, number)
        fields = [b"type", b"message", b"from", line.sender.encode(), b"room", b"r", b"data", b""]
        told = self._rule.among([(1, entry_id, fields)]).get((1, entry_id))
        to = [] if told is not None else [one for one in self.programs if one != line.sender]
        if told:
            self.muted.setdefault(line.sender, self.said[line.sender])
            to = [line.sender] if self._answers_notices and line.sender in self.programs else []
        elif told is None:
            self.delivered += 1
            self.last = line.at
        for each in to:
            yield Line(line.at + self.programs[each](self._source), each)


@pytest.mark.parametrize("answers_notices", [True, False])
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_that_answer_are_muted_and_the_loop_ends(name: str, answers_notices: bool) -> None:
    """Whatever they write and however late they are, also if they answer the notice. No person is muted."""
    lines, programs = PROGRAMS[name]
    room = Room(programs, answers_notices=answers_notices).play(lines)
    assert room.muted
    assert room.muted.keys() <= programs.keys()
    assert max(room.muted.values()) <= automatic_answers.NEEDED[-1][2] + 1


@pytest.mark.parametrize(
    ("name", "messages", "seconds"),
    [
        ("two, at once", 82, 1),
        ("two, 0.3 s late", 82, 13),
        ("three offline behind a store", 300, 1),
        ("two, 5 s late, more or less", 1610, 4400),
    ],
)
def test_a_loop_ends_as_early_as_documented(name: str, messages: int, seconds: int) -> None:
    """docs/receiving.md has these figures."""
    lines, programs = PROGRAMS[name]
    room = Room(programs).play(lines)
    assert room.delivered <= messages
    assert room.last <= seconds * 1000


def test_the_numbers_are_documented() -> None:
    """docs/receiving.md has them in a table."""
    page = (Path(__file__).parents[2] / "docs/receiving.md").read_text()
    for delay, alone, lagging in automatic_answers.NEEDED:
        assert f"| {delay // 1000} s | {alone} | {lagging:,} |" in page
    assert f"Up to {2 * automatic_answers.MAX_ROOMS:,} rooms" in page


@pytest.mark.parametrize("name", PEOPLE)
def test_people_are_never_taken_for_a_program(name: str) -> None:
    """However fast they write, and whatever."""
    room = Room({}).play(PEOPLE[name])
    assert room.muted == {}
    assert room.delivered == len(PEOPLE[name])


def heard(lines: Sequence[Line]) -> list[bool | None]:
    """What the rule says of each line."""
    rule, found = AutomaticAnswers(Settings()), []
    for number, line in enumerate(lines):
        entry = entry_of(line, number)
        found.append(rule.among([entry]).get(entry[:2]))
    return found


def entry_of(line: Line, number: int) -> tuple[int, bytes, list[bytes]]:
    """The line as a worker reads it."""
    fields = [b"type", b"message", b"from", line.sender.encode(), b"room", b"r", b"data", b""]
    return 1, b"%d-%d" % (START + line.at, number), fields


LOOP = answered(41, 2000, 100)
"""Bob's last answer is the first that is not delivered."""


def test_the_first_answer_that_goes_nowhere_is_told_and_no_other() -> None:
    """All others are delivered."""
    found = heard(answered(60, 2000, 100))
    told = found.index(True)
    assert found[told::2] == [True] + [False] * (len(found[told::2]) - 1)
    assert {*found[:told], *found[told + 1 :: 2]} == {None}


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        ([Line(2000, BOB)], [False]),  # the notice had an answer
        ([Line(2000, BOB), Line(3000, BOB)], [False, None]),
        ([Line(60_001, BOB)], [None]),
        ([Line(1000, ALICE), Line(1500, BOB)], [None, False]),
        ([Line(1000, ALICE), Line(12_000, BOB)], [None, None]),
        ([Line(1000, ALICE), Line(62_000, BOB)], [None, None]),
        ([*typed([1000], *[ALICE] * 61), Line(61_500, BOB)], [None] * 62),
    ],
)
def test_who_is_muted_is_heard_with_all_that_is_no_answer(
    later: list[Line], expected: list[bool | None]
) -> None:
    """A person behind a program, or a person who was taken for one: two in a row, or a minute later."""
    end = LOOP[-1].at
    found = heard([*LOOP, *(Line(end + line.at, line.sender) for line in later)])
    assert found[-len(later) :] == expected


def test_entries_that_are_read_again_get_the_same_answer() -> None:
    """After a failure of Redis a worker reads them once more. The order counts, not how often."""
    rule = AutomaticAnswers(Settings())
    entries = [entry_of(line, number) for number, line in enumerate(LOOP)]
    for at in range(0, len(entries), 7):
        rule.among(entries[at : at + 7])
        rule.among(entries[max(0, at - 3) : at + 7])
    assert rule.among(entries[-4:]) == {entries[-1][:2]: True}


def test_only_messages_count_and_operators_are_always_heard() -> None:
    """Notices of operators are messages of others."""
    rule = AutomaticAnswers(Settings())
    for number, line in enumerate(LOOP):
        shard, entry_id, fields = entry_of(line, number)
        broken = [b"type"], [b"type", b"list", *fields[2:]], [b"type", b"message", b"room", b"r", b"x", b"y"]
        assert rule.among([(shard, entry_id, each) for each in broken]) == {}
        further = [b"operator", b"1"] if line.sender == BOB else []
        assert rule.among([(shard, entry_id, [*fields, *further])]) == {}


def test_operators_can_let_programs_talk() -> None:
    """A change takes effect with the next message."""
    entries = [entry_of(line, number) for number, line in enumerate(LOOP)]
    rule = AutomaticAnswers(Settings(mute_automatic_answers=False))
    assert rule.among(entries) == {}
    rule.reload(Settings())
    assert rule.among(entries)
    rule.reload(Settings(mute_automatic_answers=False))
    assert rule.among(entries) == {}


def test_memory_is_bounded() -> None:
    """In messages of a room, in members of a room, and in rooms."""
    rule = AutomaticAnswers(Settings())
    for number in range(5 * automatic_answers.MAX_ROOMS):
        fields = [b"type", b"message", b"from", b"u%d" % number, b"room", b"r%d" % number]
        rule.among([(1, b"%d-%d" % (START + number, number), fields)])
        assert len(rule._rooms) + len(rule._older) <= 2 * automatic_answers.MAX_ROOMS
    rule = AutomaticAnswers(Settings())
    for number in range(5000):
        fields = [b"type", b"message", b"from", b"u%d" % number, b"room", b"r"]
        rule.among([(1, b"%d-%d" % (START + number * 100, number), fields)])
    (room,) = rule._rooms.values()
    assert len(room.said) <= automatic_answers.MAX_KNOWN
    assert len(room.runs) <= 2 * automatic_answers.MAX_KNOWN
