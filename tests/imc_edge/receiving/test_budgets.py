"""What one user may do how often, as one edge counts it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from imc_common.rooms.request import RoomRequest
from imc_common.settings import Settings
from imc_common.sip.message import Response
from imc_common.store import Command, ReplyError
from imc_edge.receiving.budgets import LARGE, Budgets, Charge, Meter, Report
from tests.imc_edge.doubles import Edge, FakeFlow, accepts_of, edge, message
from tests.imc_edge.sending import Clock

ALICE, BOB = "alice@example.org", "bob@example.org"


class Desk:
    """One meter with a burst of 16, so in chunks of 2, and Redis's part played by the test."""

    def __init__(self, **options: int) -> None:
        self.clock = Clock()
        self.reports: list[Report] = []
        self.is_full = False
        self.meter = Meter(16, lambda who, cost: (who, cost), self.tell, self.clock, **options)

    def tell(self, command: Command, report: Report) -> bool:
        """Keep it."""
        if not self.is_full:
            self.reports.append(report)
        return not self.is_full

    def answer(self, reply: Any) -> None:
        """To all that was told."""
        told, self.reports = self.reports, []
        for report in told:
            report.on_reply(reply)

    def waits(self, count: int, who: str = ALICE) -> list[float]:
        """So many at once."""
        return [self.meter.wait(who) for _ in range(count)]


def test_redis_is_told_in_chunks() -> None:
    """Of each user by itself."""
    desk = Desk()
    assert desk.waits(5) == [0.0] * 5
    assert desk.waits(1, BOB) == [0.0]
    assert [(report.user, report.cost) for report in desk.reports] == [(ALICE, 2), (ALICE, 2)]


def test_who_is_overdrawn_waits() -> None:
    """Nobody is asked meanwhile; others go on."""
    desk = Desk()
    desk.waits(2)
    desk.answer(3000)
    assert desk.waits(3) == [3.0] * 3
    assert desk.waits(1, BOB) == [0.0]
    assert not desk.reports
    desk.clock.now += 3.5
    assert desk.waits(2) == [0.0, 0.0]
    assert [report.cost for report in desk.reports] == [2]


def test_what_costs_more_than_one_is_counted_so() -> None:
    """And what costs nothing is not, but waits like the rest."""
    desk = Desk()
    assert [desk.meter.wait(ALICE, cost) for cost in (0, 1, 0, 40, 0)] == [0.0] * 5
    assert [report.cost for report in desk.reports] == [41]
    assert desk.meter.wait(ALICE, 2) == 1.0  # more is in the air than a budget holds
    desk.answer(25_000)
    assert desk.meter.wait(ALICE, 0) == 25.0


def test_what_turns_out_later_is_told_even_of_those_who_wait() -> None:
    """Too little is made good, too much given back with the next."""
    desk = Desk()
    desk.meter.add(ALICE, 1)
    desk.meter.add(ALICE, 9)
    desk.meter.add(ALICE, -5)
    assert desk.waits(6) == [0.0] * 6
    assert [report.cost for report in desk.reports] == [10]
    desk.answer(3000)
    desk.meter.add(ALICE, 7)
    assert [report.cost for report in desk.reports] == [7]
    assert desk.waits(1) == [3.0]
    desk.is_full = True
    desk.meter.add(BOB, 9)
    desk.is_full = False
    desk.waits(1, BOB)
    assert desk.reports[-1].cost == 10


def test_while_redis_says_nothing_a_burst_may_pass() -> None:
    """And no more: Redis may be slow."""
    desk = Desk()
    assert desk.waits(17) == [0.0] * 17
    assert desk.waits(2) == [1.0, 1.0]
    desk.answer(0)
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
def test_memory_is_bounded(messages: int) -> None:
    """However many names a flood makes up, and however little each of them sends."""
    desk = Desk(max_known=50, max_held_back=100)
    for number in range(1000):
        desk.waits(messages, f"user{number}@example.org")
        desk.answer(60_000)
        assert [len(each) <= 100 for each in known_to(desk.meter)] == [True] * 3


def test_memory_is_bounded_when_redis_answers_late() -> None:
    """By then many of those it speaks of have been forgotten."""
    desk = Desk(max_known=50, max_held_back=100)
    for number in range(1000):
        desk.waits(2, f"user{number}@example.org")
    desk.answer(60_000)
    assert [len(each) <= 100 for each in known_to(desk.meter)] == [True] * 3


def test_who_is_held_back_is_not_let_go_by_others_that_speak() -> None:
    """However many there are meanwhile; what others spent is forgotten, less than a chunk of each."""
    desk = Desk(max_known=2)
    desk.waits(2, BOB)
    desk.answer(3000)
    desk.waits(1)
    for number in range(9):
        desk.waits(1, f"user{number}@example.org")
    assert desk.waits(1, BOB) == [3.0]
    assert desk.waits(1) == [0.0]
    assert desk.reports == []
    desk.clock.now += 3.5
    assert desk.waits(1, BOB) == [0.0]


def known_to(meter: Meter) -> list[Any]:
    return [meter._spent, meter._held_until, meter._in_flight]


async def burst(at: Edge, count: int, **headers: str) -> list[Response]:
    """The answers to so many messages, one after the other."""
    return [await at.ask_one(message(b"hello", Call_ID=f"c{number}", **headers)) for number in range(count)]


def overdrawn(at: Edge, wait: int = 2500) -> None:
    """From now on every budget is."""
    spend, take_invitation = (
        at.store.script(name, (), ())[1] for name in ("charge_budget", "charge_invitation")
    )

    def reply(command: Command) -> Any:
        if command[1] == spend:
            return wait
        if command[1] == take_invitation:
            return [wait, 1]
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


@pytest.mark.parametrize("identity", ["from", "asserted", "digest"])
def test_a_user_is_the_same_at_every_port(identity: str) -> None:
    """Who lets a request pass has looked at user and domain; the port is the sender's own choice."""
    spent: list[str] = []
    store = SimpleNamespace(script=lambda name, keys, args: spent.extend(keys) or ())
    settings = Settings(identity=identity, max_message_burst=8, max_commands_per_minute=8)  # type: ignore[arg-type]
    limits = Budgets(settings, store, lambda command, report: True, Clock())  # type: ignore[arg-type]
    for port in (5071, 5072):
        sender = f"{ALICE}:{port}"
        charge = limits.count(RoomRequest("message", sender, "r@example.org"))
        invite = RoomRequest("invite", sender, "r@example.org", BOB)
        assert limits.count(invite) is None
        limits.invitation(invite, "digest")
        assert isinstance(charge, Charge)
        limits.settle(charge, port // 20)  # more than a chunk
    kinds = ("message", "command", "invitation", "delivery")
    names = {(kind, key.partition(f"{kind}:")[2]) for key in spent for kind in kinds if f":{kind}:" in key}
    assert names == {(kind, ALICE) for kind in kinds} | {("invitation", f"{ALICE} {BOB}")}


def deliveries(at: Edge, *replies: Any, wait: int = 0) -> list[int]:
    """Redis answers messages so, in turn, and reports of deliveries with this wait; the reports' costs."""
    accept, spend = at.store.accept_many, at.store.script("charge_budget", (), ())[1]
    costs: list[int] = []
    turn = iter(replies)

    def reply(command: Command) -> Any:
        if command[1] == spend and ":delivery:" in str(command[3]):
            costs.append(int(command[4]))
            return wait
        if command[1] == accept:
            return [next(turn) for _ in accepts_of(command)]
        return at.store.remember(command)

    at.store.reply = reply
    return costs


async def test_deliveries_are_counted_not_messages() -> None:
    """Failure case 46: as many as Redis says each message goes to; then others may still, and commands."""
    async with edge(max_deliveries_per_second=8) as at:  # in chunks of 10
        costs = deliveries(at, 400, 3, b"overloaded", wait=2000)
        assert [answer.status for answer in await burst(at, 2)] == [202, 403]
        assert costs == [400]
        told = [entry for entry in at.store.entries if entry.type == "refused"]
        assert [(entry.reason, entry.detail) for entry in told] == [("too_many_deliveries", "2")]
        assert b'imc_over_limit_total{limit="deliveries"} 1.0' in at.metrics.page()
        assert (await at.ask_one(message(Call_ID="x", From=f"<sip:{BOB}>;tag=1"))).status == 202
        assert (await at.ask_one(message(Call_ID="c", From="<sip:carol@example.org>;tag=1"))).status == 503


async def test_what_is_not_taken_anew_costs_nothing() -> None:
    """A repetition, or what finds no room in Redis."""
    async with edge(max_deliveries_per_second=8) as at:
        costs = deliveries(at, 30, b"duplicate", 30, b"overloaded", 30, 30)
        assert [answer.status for answer in await burst(at, 6)] == [202, 202, 202, 503, 202, 202]
        assert sum(costs) == 4 * 30


async def test_while_redis_says_nothing_a_message_counts_as_the_last_to_its_room() -> None:
    """So a flood into one large room ends before the first answer."""
    async with edge(max_deliveries_per_second=8) as at:  # 80 at once
        costs = deliveries(at, *[30] * 20)
        assert [answer.status for answer in await burst(at, 1)] == [202]
        at.store.gate.clear()
        at.acceptor.receive(message(Call_ID="first"), FakeFlow())
        await at.settle()
        flows = [FakeFlow() for _ in range(6)]
        for number, flow in enumerate(flows):
            at.acceptor.receive(message(Call_ID=f"m{number}"), flow)
        at.store.gate.set()
        await at.settle()
        assert [flow.answers[0].status for flow in flows] == [202, 202, 403, 403, 403, 403]
        assert costs == [30] * 4


async def test_where_nobody_limits_deliveries_redis_is_not_asked() -> None:
    """The script is not to look at the room, and nothing is kept."""
    async with edge(max_deliveries_per_second=0) as at:
        assert (await at.ask_one(message())).status == 202
        ((command,),) = at.store.batches
        assert command[9] == ""
        assert len(at.acceptor._admission._budgets._deliveries_of_last) == 0
    async with edge() as at:
        await at.ask_one(message())
        assert str(at.store.batches[0][0][9]).startswith("imc_members:{")


def test_a_limit_that_is_switched_off_meanwhile_counts_no_more() -> None:
    """Redis's word on messages that were on their way comes later."""
    store = SimpleNamespace(script=lambda name, keys, args: ())
    limits = Budgets(Settings(), store, lambda command, report: True, Clock())  # type: ignore[arg-type]
    charge = limits.count(RoomRequest("message", ALICE, "r@example.org"))
    assert isinstance(charge, Charge)
    limits.reload(Settings(max_deliveries_per_second=0))
    limits.settle(charge, 500)
    assert limits.count(RoomRequest("message", ALICE, "r@example.org")) is None


def test_sizes_of_rooms_are_remembered_within_bounds() -> None:
    """However many rooms and users there are."""
    store = SimpleNamespace(script=lambda name, keys, args: ())
    settings = Settings(max_messages_per_second=0)
    limits = Budgets(settings, store, lambda command, report: True, Clock(), max_known=10)  # type: ignore[arg-type]
    for number in range(100):
        charge = limits.count(RoomRequest("message", ALICE, f"r{number}@example.org"))
        assert isinstance(charge, Charge)
        limits.settle(charge, LARGE)
        assert len(limits._deliveries_of_last) <= 20


def test_of_small_rooms_nothing_is_remembered() -> None:
    """Unless it was large: then that is no longer so."""
    store = SimpleNamespace(script=lambda name, keys, args: ())
    limits = Budgets(Settings(), store, lambda command, report: True, Clock())  # type: ignore[arg-type]

    def say(deliveries: int) -> int:
        charge = limits.count(RoomRequest("message", ALICE, "r@example.org"))
        assert isinstance(charge, Charge)
        limits.settle(charge, deliveries)
        return charge.expected

    assert [say(LARGE - 1), say(LARGE - 1)] == [0, 0]
    assert len(limits._deliveries_of_last) == 0
    assert [say(LARGE), say(1), say(1)] == [0, LARGE, 1]


def test_a_small_room_is_remembered_where_the_limit_is_as_small() -> None:
    """Else many messages were on their way before the first is counted."""
    store = SimpleNamespace(script=lambda name, keys, args: ())
    settings = Settings(max_deliveries_per_second=4)  # in chunks of 5
    limits = Budgets(settings, store, lambda command, report: True, Clock())  # type: ignore[arg-type]
    for deliveries, expected in ((4, 0), (5, 0), (5, 5)):
        charge = limits.count(RoomRequest("message", ALICE, "r@example.org"))
        assert isinstance(charge, Charge)
        assert charge.expected == expected
        limits.settle(charge, deliveries)


async def test_limits_of_0_are_none() -> None:
    """Nothing is counted and nobody asked."""
    async with edge(
        max_messages_per_second=0,
        max_deliveries_per_second=0,
        max_commands_per_minute=0,
        max_invitations_per_hour=0,
        max_invitations_per_target=0,
    ) as at:
        overdrawn(at)
        assert {answer.status for answer in await burst(at, 300)} == {202}
        assert (await at.ask_one(message(b"#invite bob", Call_ID="a"))).status == 202
        await asyncio.sleep(0)
        assert [len(batch) for batch in at.store.batches] == [1] * 301
