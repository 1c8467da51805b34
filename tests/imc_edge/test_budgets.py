"""What one user may do how often, as one edge counts it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from imc_common.request import Request
from imc_common.settings import Settings
from imc_common.sip.message import Response
from imc_common.store import Command, ReplyError
from imc_edge import budgets
from imc_edge.budgets import Budgets, Meter, Report
from tests.imc_edge.doubles import Edge, edge, message
from tests.imc_edge.sending import Clock

ALICE, BOB = "alice@example.org", "bob@example.org"


class Desk:
    """One meter with a burst of 16, so in chunks of 2, and Redis's part played by the test."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.reports: list[Report] = []
        self.is_full = False
        self.meter = Meter(16, lambda who, cost: (who, cost), self.tell, self.clock)

    def tell(self, command: Command, report: Report) -> bool:
        """Keep it."""
        if not self.is_full:
            self.reports.append(report)
        return not self.is_full

    def answer(self, reply: Any) -> None:
        """To all that was told."""
        told, self.reports = self.reports, []
        for report in told:
            self.meter.heard(report, reply)

    def waits(self, count: int, who: str = ALICE) -> list[float]:
        """So many at once."""
        return [self.meter.wait(who) for _ in range(count)]


def test_redis_is_told_in_chunks() -> None:
    """Of each user by itself."""
    desk = Desk()
    assert desk.waits(5) == [0.0] * 5
    assert desk.waits(1, BOB) == [0.0]
    assert [(report.who, report.cost) for report in desk.reports] == [(ALICE, 2), (ALICE, 2)]


def test_who_is_overdrawn_waits_and_is_told_once() -> None:
    """Nobody is asked meanwhile; others go on."""
    desk = Desk()
    desk.waits(2)
    desk.answer([3000, 1])
    assert desk.waits(3) == [3.0] * 3
    assert [desk.meter.is_untold(ALICE) for _ in range(2)] == [True, False]
    assert desk.waits(1, BOB) == [0.0]
    assert not desk.reports
    desk.clock.now += 3.5
    assert desk.waits(2) == [0.0, 0.0]
    assert [report.cost for report in desk.reports] == [2]


def test_another_edge_has_told_already() -> None:
    """Then this one only refuses."""
    desk = Desk()
    desk.waits(2)
    desk.answer([3000, 0])
    assert desk.waits(1) == [3.0]
    assert not desk.meter.is_untold(ALICE)


def test_while_redis_says_nothing_a_burst_may_pass() -> None:
    """And no more: Redis may be slow."""
    desk = Desk()
    assert desk.waits(17) == [0.0] * 17
    assert desk.waits(2) == [1.0, 1.0]
    desk.answer([0, 0])
    assert desk.waits(1) == [0.0]


def test_an_error_or_no_room_for_a_report_holds_nobody_back() -> None:
    """What could not be told is told with the next."""
    desk = Desk()
    desk.is_full = True
    assert desk.waits(4) == [0.0] * 4
    desk.is_full = False
    desk.waits(1)
    assert [report.cost for report in desk.reports] == [5]
    desk.answer(ReplyError("OOM"))
    assert desk.waits(1) == [0.0]


@pytest.mark.parametrize("messages", [1, 2], ids=["less than a chunk", "a chunk"])
def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch, messages: int) -> None:
    """However many names a flood makes up, and however little each of them sends."""
    monkeypatch.setattr(budgets, "MOST_KNOWN", 100)
    desk = Desk()
    for number in range(1000):
        desk.waits(messages, f"user{number}@example.org")
        desk.answer([60_000, 1])
        assert [len(each) <= 100 for each in known_to(desk.meter)] == [True] * 4


def test_memory_is_bounded_when_redis_answers_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """By then many of those it speaks of have been forgotten."""
    monkeypatch.setattr(budgets, "MOST_KNOWN", 100)
    desk = Desk()
    for number in range(1000):
        desk.waits(2, f"user{number}@example.org")
    desk.answer([60_000, 1])
    assert [len(each) <= 100 for each in known_to(desk.meter)] == [True] * 4


def test_who_is_known_already_makes_nobody_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room is made for new names only."""
    monkeypatch.setattr(budgets, "MOST_KNOWN", 2)
    desk = Desk()
    desk.waits(2, BOB)
    desk.answer([3000, 1])
    desk.waits(9)
    assert desk.waits(1, BOB) == [3.0]


def known_to(meter: Meter) -> list[Any]:
    return [meter._spent, meter._held_until, meter._untold, meter._in_air]


async def burst(at: Edge, count: int, **headers: str) -> list[Response]:
    """The answers to so many messages, one after the other."""
    return [await at.ask_one(message(b"hello", Call_ID=f"c{number}", **headers)) for number in range(count)]


def overdrawn(at: Edge, wait: int = 2500) -> None:
    """From now on every budget is."""
    scripts = {at.store.script(name, (), ())[1] for name in ("spend", "take_invitation")}
    told: set[Any] = set()

    def reply(command: Command) -> Any:
        if command[1] in scripts:
            first = command[3] not in told
            told.add(command[3])
            return [wait, int(first)]
        return at.store.remember(command)

    at.store.reply = reply


async def test_past_the_limit_comes_403_with_the_time_to_wait_and_one_notice() -> None:
    """A 503 would have a balancer take the edge for failing."""
    async with edge(max_messages_per_second=1, max_message_burst=8) as at:
        overdrawn(at)
        answers = await burst(at, 6)
        assert [answer.status for answer in answers] == [202] + [403] * 5
        assert [answer.headers.get("Retry-After") for answer in answers] == [None] + ["3"] * 5
        told = [entry for entry in at.store.entries if entry.type == "refused"]
        assert [(entry.sender, entry.reason, entry.command, entry.detail) for entry in told] == [
            (ALICE, "too_many_messages", "message", "3")
        ]
        assert b'imc_over_limit_total{limit="messages"} 5.0' in at.metrics.page()
        others = await at.ask_one(message(Call_ID="x", From=f"<sip:{BOB}>;tag=1"))
        assert others.status == 202


async def test_what_was_taken_keeps_its_answer() -> None:
    """A retransmission is answered as its first copy was."""
    async with edge(max_messages_per_second=1, max_message_burst=8) as at:
        overdrawn(at)
        first, second, again = [
            await at.ask_one(message(Call_ID=call_id)) for call_id in ("first", "second", "first")
        ]
        assert [first.status, second.status, again.status] == [202, 403, 202]


async def test_commands_have_a_limit_of_their_own() -> None:
    """Wrong ones count, too."""
    async with edge(max_commands_per_minute=1) as at:
        overdrawn(at)
        statuses = [
            (await at.ask_one(message(body, Call_ID=f"c{number}"))).status
            for number, body in enumerate((b"#list", b"#nonsense", b"hello", b"hello"))
        ]
        assert statuses == [202, 403, 202, 202]
        assert [(e.reason, e.command) for e in at.store.entries if e.type == "refused"] == [
            ("too_many_commands", "nonsense")
        ]


async def test_an_invitation_is_asked_for_before_it_is_taken() -> None:
    """Refused at once, with one notice; other commands go on."""
    async with edge() as at:
        assert (await at.ask_one(message(b"#invite bob", Call_ID="a"))).status == 202
        overdrawn(at)
        refusals = [
            await at.ask_one(message(body, Call_ID=f"r{number}"))
            for number, body in enumerate((b"#invite bob", b"#add carol", b"#invite bob"))
        ]
        assert [answer.status for answer in refusals] == [403] * 3
        assert (await at.ask_one(message(b"#list", Call_ID="l"))).status == 202
        types = [(entry.type, entry.reason) for entry in at.store.entries]
        assert types == [("invite", ""), ("refused", "too_many_invitations"), ("list", "")]


async def test_the_whole_service_has_a_limit_if_it_is_set() -> None:
    """503, because there a balancer may well go elsewhere; nobody is told beside that."""
    async with edge(max_total_messages_per_second=1) as at:
        overdrawn(at)
        answers = await burst(at, 3)
        assert [answer.status for answer in answers] == [202, 503, 503]
        assert answers[1].headers.get("Retry-After") == "3"
        assert [entry.type for entry in at.store.entries] == ["message"]


async def test_with_passwords_a_user_is_the_same_at_every_port() -> None:
    """Whoever proves to be alice may send as alice at any port, and gets no more for that."""
    for identity, names in (("digest", {ALICE}), ("from", {f"{ALICE}:5071", f"{ALICE}:5072"})):
        told: list[str] = []
        store = SimpleNamespace(script=lambda name, keys, args, told=told: told.append(keys[0]) or ())
        settings = Settings(identity=identity, max_message_burst=8)  # type: ignore[arg-type]
        limits = Budgets(settings, store, lambda command, report: True, Clock())  # type: ignore[arg-type]
        for port in (5071, 5072):
            limits.excess(Request("message", f"{ALICE}:{port}", "r@example.org"))
        assert {key.partition("message:")[2] for key in told} == names


async def test_limits_of_0_are_none() -> None:
    """Nothing is counted and nobody asked."""
    async with edge(
        max_messages_per_second=0,
        max_commands_per_minute=0,
        max_invitations_per_hour=0,
        max_invitations_per_target=0,
    ) as at:
        overdrawn(at)
        assert {answer.status for answer in await burst(at, 300)} == {202}
        assert (await at.ask_one(message(b"#invite bob", Call_ID="a"))).status == 202
        await asyncio.sleep(0)
        assert [len(batch) for batch in at.store.batches] == [1] * 301
