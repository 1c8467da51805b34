"""How often one user may do something, as one edge counts it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from imc_common.rooms.request import RoomRequest
from imc_common.settings import Settings
from imc_common.sip.message import Response
from imc_common.store import Command, ReplyError
from imc_edge.receiving.budgets import MIN_EXPECTED, Budgets, Charge, Meter, Report
from tests.imc_edge.doubles import Edge, FakeFlow, accepts_of, edge, message
from tests.imc_edge.sending import Clock

ALICE, BOB = "alice@example.org", "bob@example.org"


class Counting:
    """One meter with a burst of 16, so with chunks of 2; the test replies for Redis."""

    def __init__(self, **options: int) -> None:
        self.clock = Clock()
        self.reports: list[Report] = []
        self.is_full = False
        self.meter = Meter(16, lambda user, cost: (user, cost), self.submit, self.clock, **options)

    def submit(self, command: Command, report: Report) -> bool:
        """Keep it."""
        if not self.is_full:
            self.reports.append(report)
        return not self.is_full

    def reply(self, reply: Any) -> None:
        """To all reports so far."""
        reports, self.reports = self.reports, []
        for report in reports:
            report.on_reply(reply)

    def waits(self, count: int, user: str = ALICE) -> list[float]:
        """Of so many messages at once."""
        return [self.meter.wait(user) for _ in range(count)]


def test_a_user_s_messages_are_reported_to_redis_in_chunks() -> None:
    """Each user's apart."""
    counting = Counting()
    assert counting.waits(5) == [0.0] * 5
    assert counting.waits(1, BOB) == [0.0]
    assert [(report.user, report.cost) for report in counting.reports] == [(ALICE, 2), (ALICE, 2)]


def test_a_user_whose_budget_is_overdrawn_waits() -> None:
    """Meanwhile nothing is reported; others do not wait."""
    counting = Counting()
    counting.waits(2)
    counting.reply(3000)
    assert counting.waits(3) == [3.0] * 3
    assert counting.waits(1, BOB) == [0.0]
    assert not counting.reports
    counting.clock.now += 3.5
    assert counting.waits(2) == [0.0, 0.0]
    assert [report.cost for report in counting.reports] == [2]


def test_a_cost_above_one_is_counted_in_full() -> None:
    """What costs nothing is not counted, but waits like the rest."""
    counting = Counting()
    assert [counting.meter.wait(ALICE, cost) for cost in (0, 1, 0, 40, 0)] == [0.0] * 5
    assert [report.cost for report in counting.reports] == [41]
    assert counting.meter.wait(ALICE, 2) == 1.0  # more is in flight than a budget holds
    counting.reply(25_000)
    assert counting.meter.wait(ALICE, 0) == 25.0


def test_costs_known_later_are_reported_even_for_users_who_wait() -> None:
    """Too little is added, too much subtracted with the next."""
    counting = Counting()
    counting.meter.add(ALICE, 1)
    counting.meter.add(ALICE, 9)
    counting.meter.add(ALICE, -5)
    assert counting.waits(6) == [0.0] * 6
    assert [report.cost for report in counting.reports] == [10]
    counting.reply(3000)
    counting.meter.add(ALICE, 7)
    assert [report.cost for report in counting.reports] == [7]
    assert counting.waits(1) == [3.0]
    counting.is_full = True
    counting.meter.add(BOB, 9)
    counting.is_full = False
    counting.waits(1, BOB)
    assert counting.reports[-1].cost == 10


def test_a_user_may_send_one_burst_while_redis_does_not_reply() -> None:
    """No more than that."""
    counting = Counting()
    assert counting.waits(17) == [0.0] * 17
    assert counting.waits(2) == [1.0, 1.0]
    counting.reply(0)
    assert counting.waits(1) == [0.0]


def test_nobody_waits_after_an_error_or_an_unsent_report() -> None:
    """What could not be reported is part of the next report."""
    counting = Counting()
    counting.is_full = True
    assert counting.waits(4) == [0.0] * 4
    counting.is_full = False
    counting.waits(1)
    assert [report.cost for report in counting.reports] == [5]
    counting.reply(ReplyError("OOM"))
    assert counting.waits(1) == [0.0]


@pytest.mark.parametrize("messages", [1, 2], ids=["less than a chunk", "a chunk"])
def test_memory_is_bounded(messages: int) -> None:
    """However many names a flood invents, and however little each of them sends."""
    counting = Counting(max_known=50, max_held_back=100)
    for number in range(1000):
        counting.waits(messages, f"user{number}@example.org")
        counting.reply(60_000)
        assert [len(each) <= 100 for each in known_to(counting.meter)] == [True] * 3


def test_memory_is_bounded_when_redis_replies_late() -> None:
    """By then many of the users have been forgotten."""
    counting = Counting(max_known=50, max_held_back=100)
    for number in range(1000):
        counting.waits(2, f"user{number}@example.org")
    counting.reply(60_000)
    assert [len(each) <= 100 for each in known_to(counting.meter)] == [True] * 3


def test_a_user_who_waits_is_not_forgotten_when_many_others_send() -> None:
    """Of the others less than a chunk each is forgotten."""
    counting = Counting(max_known=2)
    counting.waits(2, BOB)
    counting.reply(3000)
    counting.waits(1)
    for number in range(9):
        counting.waits(1, f"user{number}@example.org")
    assert counting.waits(1, BOB) == [3.0]
    assert counting.waits(1) == [0.0]
    assert counting.reports == []
    counting.clock.now += 3.5
    assert counting.waits(1, BOB) == [0.0]


def known_to(meter: Meter) -> list[Any]:
    """All that a meter remembers."""
    return [meter._spent, meter._held_until, meter._in_flight]


async def burst(at: Edge, count: int, **headers: str) -> list[Response]:
    """The responses to so many messages, one after the other."""
    return [await at.ask_one(message(b"hello", Call_ID=f"c{number}", **headers)) for number in range(count)]


def overdrawn(at: Edge, wait: int = 2500) -> None:
    """From now on Redis says so of every budget."""
    budget, invitation = (at.store.script(name, (), ())[1] for name in ("charge_budget", "charge_invitation"))

    def reply(command: Command) -> Any:
        if command[1] == budget:
            return wait
        if command[1] == invitation:
            return [wait, 1]
        return at.store.remember(command)

    at.store.reply = reply


async def test_over_the_limit_requests_get_403_with_retry_after_and_one_notice() -> None:
    """At a 503 a balancer would take the edge out of service."""
    async with edge(max_messages_per_second=1, max_message_burst=8) as at:
        overdrawn(at)
        responses = await burst(at, 6)
        assert [response.status for response in responses] == [202] + [403] * 5
        assert [response.headers.get("Retry-After") for response in responses] == [None] + ["3"] * 5
        notices = [entry for entry in at.store.entries if entry.type == "refused"]
        assert [(entry.sender, entry.reason, entry.command, entry.detail) for entry in notices] == [
            (ALICE, "too_many_messages", "message", "3")
        ]
        assert b'imc_over_limit_total{limit="messages"} 5.0' in at.metrics.page()
        others = await at.ask_one(message(Call_ID="x", From=f"<sip:{BOB}>;tag=1"))
        assert others.status == 202


async def test_a_duplicate_over_the_limit_gets_the_response_of_its_first_copy() -> None:
    """RFC 3261 §8.2.7."""
    async with edge(max_messages_per_second=1, max_message_burst=8) as at:
        overdrawn(at)
        first, second, again = [
            await at.ask_one(message(Call_ID=call_id)) for call_id in ("first", "second", "first")
        ]
        assert [first.status, second.status, again.status] == [202, 403, 202]


async def test_commands_have_a_limit_of_their_own() -> None:
    """Unknown ones count, too."""
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


async def test_an_invitation_is_charged_before_it_is_accepted() -> None:
    """If the budget is overdrawn it is refused, with one notice; other commands are not."""
    async with edge() as at:
        assert (await at.ask_one(message(b"#invite bob", Call_ID="a"))).status == 202
        overdrawn(at)
        refusals = [
            await at.ask_one(message(body, Call_ID=f"r{number}"))
            for number, body in enumerate((b"#invite bob", b"#add carol", b"#invite bob"))
        ]
        assert [response.status for response in refusals] == [403] * 3
        assert (await at.ask_one(message(b"#list", Call_ID="l"))).status == 202
        types = [(entry.type, entry.reason) for entry in at.store.entries]
        assert types == [("invite", ""), ("refused", "too_many_invitations"), ("list", "")]


async def test_the_limit_of_the_whole_service_gets_503_and_no_notice() -> None:
    """It is no fault of the sender, and a balancer may use another edge."""
    async with edge(max_total_messages_per_second=1) as at:
        overdrawn(at)
        responses = await burst(at, 3)
        assert [response.status for response in responses] == [202, 503, 503]
        assert responses[1].headers.get("Retry-After") == "3"
        assert [entry.type for entry in at.store.entries] == ["message"]


@pytest.mark.parametrize("identity", ["from", "asserted", "digest"])
def test_a_user_is_the_same_at_every_port(identity: str) -> None:
    """A proxy authenticates user and domain; the sender chooses the port, and perhaps the case."""
    spent: list[str] = []
    store = SimpleNamespace(script=lambda name, keys, args: spent.extend(keys) or ())
    settings = Settings(identity=identity, max_message_burst=8, max_commands_per_minute=8)  # type: ignore[arg-type]
    limits = Budgets(settings, store, lambda command, report: True, Clock())  # type: ignore[arg-type]
    for port, name in ((5071, ALICE), (5072, ALICE.replace("alice", "aLICE"))):
        sender = f"{name}:{port}"
        charge = limits.count(RoomRequest("message", sender, "r@example.org"))
        invited = f"{BOB if port == 5071 else BOB.replace('bob', 'Bob')}:{port}"
        invite = RoomRequest("invite", sender, "r@example.org", user=invited)
        assert limits.count(invite) is None
        limits.invitation(invite, "digest")
        assert isinstance(charge, Charge)
        limits.settle(charge, port // 20)  # more than a chunk
    kinds = ("message", "command", "invitation", "delivery")
    names = {(kind, key.partition(f"{kind}:")[2]) for key in spent for kind in kinds if f":{kind}:" in key}
    assert names == {(kind, ALICE) for kind in kinds} | {("invitation", f"{ALICE} {BOB}")}


def deliveries(at: Edge, *replies: Any, wait: int = 0) -> list[int]:
    """Redis replies so to messages, in turn, and with ``wait`` to reports of deliveries; their costs."""
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
    """As many as Redis says that a message causes; other users may go on."""
    async with edge(max_deliveries_per_second=8) as at:  # in chunks of 10
        costs = deliveries(at, 400, 3, b"overloaded", wait=2000)
        assert [response.status for response in await burst(at, 2)] == [202, 403]
        assert costs == [400]
        notices = [entry for entry in at.store.entries if entry.type == "refused"]
        assert [(entry.reason, entry.detail) for entry in notices] == [("too_many_deliveries", "2")]
        assert b'imc_over_limit_total{limit="deliveries"} 1.0' in at.metrics.page()
        assert (await at.ask_one(message(Call_ID="x", From=f"<sip:{BOB}>;tag=1"))).status == 202
        assert (await at.ask_one(message(Call_ID="c", From="<sip:carol@example.org>;tag=1"))).status == 503


async def test_a_duplicate_or_a_refused_message_costs_no_deliveries() -> None:
    """Only what Redis accepts now is counted."""
    async with edge(max_deliveries_per_second=8) as at:
        costs = deliveries(at, 30, b"duplicate", 30, b"overloaded", 30, 30)
        assert [response.status for response in await burst(at, 6)] == [202, 202, 202, 503, 202, 202]
        assert sum(costs) == 4 * 30


async def test_a_history_counts_as_the_messages_that_it_asks_for() -> None:
    """Twenty, a number, or as many as one may show. Then the user may not write either, and is told why."""
    async with edge(max_deliveries_per_second=800, max_commands_per_minute=0) as at:  # in chunks of 1000
        costs = deliveries(at, *[b"accepted"] * 13, wait=30_000)
        asked = ["", "30", "9999", "2h", "since 2026-11-28", "more", *["100"] * 6, "90"]
        for number, span in enumerate(asked):
            response = await at.ask_one(message(f"#history {span}".encode(), Call_ID=f"h{number}"))
            assert response.status == (202 if number < 12 else 403), span
        assert costs == [20 + 30 + 10 * 100]
        assert (await at.ask_one(message(Call_ID="m"))).status == 403
        (notice,) = [entry for entry in at.store.entries if entry.type == "refused"]
        assert (notice.reason, notice.command, notice.detail) == ("too_many_deliveries", "history", "30")


async def test_a_history_that_is_not_accepted_or_a_duplicate_costs_nothing() -> None:
    async with edge(max_deliveries_per_second=80) as at:  # in chunks of 100
        costs = deliveries(at, b"accepted", b"duplicate", b"overloaded", *[b"accepted"] * 3)
        for number, span in enumerate(["60"] * 5 + ["100"]):
            await at.ask_one(message(f"#history {span}".encode(), Call_ID=f"h{number}"))
        assert sum(costs) == 3 * 60 + 100


async def test_without_a_limit_of_deliveries_a_history_costs_nothing() -> None:
    async with edge(max_deliveries_per_second=0) as at:
        costs = deliveries(at, *[b"accepted"] * 30)
        for number in range(30):
            assert (await at.ask_one(message(b"#history 100", Call_ID=f"h{number}"))).status == 202
        assert costs == []


async def test_until_redis_replies_a_message_counts_as_the_last_one_to_its_room() -> None:
    """So a flood into one large room ends before the first reply."""
    async with edge(max_deliveries_per_second=8) as at:  # 80 at once
        costs = deliveries(at, *[30] * 20)
        assert [response.status for response in await burst(at, 1)] == [202]
        at.store.gate.clear()
        at.acceptor.receive(message(Call_ID="first"), FakeFlow())
        await at.settle()
        flows = [FakeFlow() for _ in range(6)]
        for number, flow in enumerate(flows):
            at.acceptor.receive(message(Call_ID=f"m{number}"), flow)
        at.store.gate.set()
        await at.settle()
        assert [flow.responses[0].status for flow in flows] == [202, 202, 403, 403, 403, 403]
        assert costs == [30] * 4


async def test_without_a_limit_of_deliveries_recipients_are_not_counted() -> None:
    """The script does not look at the room, and nothing is remembered."""
    async with edge(max_deliveries_per_second=0) as at:
        assert (await at.ask_one(message())).status == 202
        ((command,),) = at.store.batches
        assert command[9] == ""
        assert len(at.acceptor._admission.budgets._deliveries_of_last) == 0
    async with edge() as at:
        await at.ask_one(message())
        assert str(at.store.batches[0][0][9]).startswith("imc_members:{")


def test_a_reply_after_a_limit_is_switched_off_is_not_counted() -> None:
    """The message was in flight meanwhile."""
    store = SimpleNamespace(script=lambda name, keys, args: ())
    limits = Budgets(Settings(), store, lambda command, report: True, Clock())  # type: ignore[arg-type]
    charge = limits.count(RoomRequest("message", ALICE, "r@example.org"))
    assert isinstance(charge, Charge)
    limits.reload(Settings(max_deliveries_per_second=0))
    limits.settle(charge, 500)
    assert limits.count(RoomRequest("message", ALICE, "r@example.org")) is None


def test_memory_of_deliveries_by_room_is_bounded() -> None:
    """However many rooms and users there are."""
    store = SimpleNamespace(script=lambda name, keys, args: ())
    settings = Settings(max_messages_per_second=0)
    limits = Budgets(settings, store, lambda command, report: True, Clock(), max_known=10)  # type: ignore[arg-type]
    for number in range(100):
        charge = limits.count(RoomRequest("message", ALICE, f"r{number}@example.org"))
        assert isinstance(charge, Charge)
        limits.settle(charge, MIN_EXPECTED)
        assert len(limits._deliveries_of_last) <= 20


def test_small_rooms_are_not_remembered() -> None:
    """Unless the room was large before."""
    store = SimpleNamespace(script=lambda name, keys, args: ())
    limits = Budgets(Settings(), store, lambda command, report: True, Clock())  # type: ignore[arg-type]

    def say(deliveries: int) -> int:
        charge = limits.count(RoomRequest("message", ALICE, "r@example.org"))
        assert isinstance(charge, Charge)
        limits.settle(charge, deliveries)
        return charge.expected

    assert [say(MIN_EXPECTED - 1), say(MIN_EXPECTED - 1)] == [0, 0]
    assert len(limits._deliveries_of_last) == 0
    assert [say(MIN_EXPECTED), say(1), say(1)] == [0, MIN_EXPECTED, 1]


def test_a_small_room_is_remembered_if_the_limit_is_as_small() -> None:
    """Else many messages would be in flight before the first is counted."""
    store = SimpleNamespace(script=lambda name, keys, args: ())
    settings = Settings(max_deliveries_per_second=4)  # in chunks of 5
    limits = Budgets(settings, store, lambda command, report: True, Clock())  # type: ignore[arg-type]
    for deliveries, expected in ((4, 0), (5, 0), (5, 5)):
        charge = limits.count(RoomRequest("message", ALICE, "r@example.org"))
        assert isinstance(charge, Charge)
        assert charge.expected == expected
        limits.settle(charge, deliveries)


async def test_0_switches_a_limit_off() -> None:
    """Nothing is counted or reported."""
    async with edge(
        max_messages_per_second=0,
        max_deliveries_per_second=0,
        max_commands_per_minute=0,
        max_invitations_per_hour=0,
        max_invitations_per_target=0,
    ) as at:
        overdrawn(at)
        assert {response.status for response in await burst(at, 300)} == {202}
        assert (await at.ask_one(message(b"#invite bob", Call_ID="a"))).status == 202
        await asyncio.sleep(0)
        assert [len(batch) for batch in at.store.batches] == [1] * 301


def test_an_invitation_to_another_room_or_of_another_user_is_another_one_to_charge() -> None:
    """With the same Call-ID, CSeq, From and To: a command may name a room in another shard."""
    charged: list[Any] = []
    store = SimpleNamespace(script=lambda name, keys, args: charged.append(args[0]) or ())
    limits = Budgets(Settings(), store, lambda command, report: True, Clock())  # type: ignore[arg-type]
    for room, user in (("r1@example.org", BOB), ("r2@example.org", BOB), ("r1@example.org", ALICE)):
        for _ in range(2):  # the second one is a retransmission
            limits.invitation(RoomRequest("invite", ALICE, room, user=user), "digest")
    assert len(charged) == 6
    assert len(set(charged)) == 3
