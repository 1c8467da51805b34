"""The non-INVITE client transaction: RFC 3261 §17.1.2, timer by timer; also covers transaction_states.py."""

from __future__ import annotations

import asyncio

import pytest

from imc_common.metrics import Metrics
from imc_common.sip.message import Response
from imc_edge.delivering import transaction
from imc_edge.delivering.counts import DeliveryCounts
from imc_edge.delivering.timer_wheel import TICK, TimerWheel
from imc_edge.delivering.transaction import ClientTransactions, TransactionTimeoutError
from imc_edge.delivering.transaction_states import TRANSITIONS, State
from imc_edge.flow import Hop
from tests.imc_edge.sending import Clock, Wires

KEY = b"0123456789abcdef0123456789abcdef00"
UDP = Hop("udp", "127.0.0.1", 5071)
TCP = Hop("tcp", "127.0.0.1", 5071)


class User:
    """A transaction user that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.wanted = True

    def is_wanted(self) -> bool:
        return self.wanted

    def t1_passed(self) -> None:
        self.told.append("T1 passed")

    def accepted(self) -> None:
        self.told.append("accepted")

    def rejected(self, response: Response) -> None:
        self.told.append(response.status)

    def failed(self, error: Exception) -> None:
        self.told.append(type(error))


class Layer:
    """One transaction towards one hop, and time that passes when told."""

    def __init__(self, hop: Hop = UDP) -> None:
        self.clock = Clock()
        self.wires = Wires()
        self.metrics = Metrics()
        self.wheel = TimerWheel(self.clock)
        self.counts = DeliveryCounts(self.metrics)
        self.transactions = ClientTransactions(self.wires, self.wheel, self.counts)
        self.user = User()
        self.started = self.clock.now
        request = (
            b"MESSAGE sip:bob@127.0.0.1:5071 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK"
            + KEY
            + b"\r\n"
            b"To: <sip:bob@127.0.0.1:5071>\r\nFrom: <sip:chat@example.org>;tag=1\r\nCall-ID: a\r\n"
            b"CSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n"
        )
        self.transactions.start(KEY, hop, request, self.user)

    def run_until(self, seconds: float) -> list[float]:
        """Let time pass up to so many seconds after the start; when something was sent meanwhile."""
        sent = []
        while self.clock.now < self.started + seconds - 1e-9:
            before = len(self.wires.sent)
            self.clock.now += 0.01
            self.transactions.advance()
            sent += [self.clock.now - self.started] * (len(self.wires.sent) - before)
        return sent

    def respond(self, status: int, *headers: str) -> None:
        """A response arrives."""
        self.transactions.receive(self.wires.sent[0].response(status, *headers))


def near(times: list[float], expected: list[float]) -> bool:
    """Each at most two ticks and the test's own step after its time, never before."""
    return len(times) == len(expected) and all(
        0 <= time - wanted <= 2 * TICK + 0.01 + 1e-6 for time, wanted in zip(times, expected, strict=True)
    )


def test_17_1_2_2_timer_e_doubles_up_to_t2_and_timer_f_ends_it() -> None:
    """Retransmissions after 0.5, 1, 2, 4, 4, … s; after 64*T1 the user is told of the timeout, once."""
    layer = Layer()
    sent = layer.run_until(33)
    assert near(sent, [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5])
    assert len({each.data for each in layer.wires.sent}) == 1
    assert layer.user.told == ["T1 passed", TransactionTimeoutError]
    assert len(layer.transactions) == 0


def test_17_1_2_2_timer_f_is_64_times_t1() -> None:
    """Not before 32 s, and soon after."""
    layer = Layer()
    layer.run_until(31.9)
    assert layer.user.told == ["T1 passed"]
    layer.run_until(32.2)
    assert layer.user.told == ["T1 passed", TransactionTimeoutError]


def test_17_1_2_2_in_proceeding_timer_e_is_t2() -> None:
    """After a provisional response the request goes on being retransmitted, every 4 s."""
    layer = Layer()
    layer.respond(100)
    assert near(layer.run_until(13), [0.5, 4.5, 8.5, 12.5])
    layer.respond(200)
    assert layer.user.told == ["T1 passed", "accepted"]


def test_a_reliable_transport_has_no_timer_e_but_timer_f() -> None:
    """RFC 3261 §17.1.2.2: retransmissions are for unreliable transports only."""
    layer = Layer(TCP)
    (transaction,) = layer.transactions._untimed.values()
    assert transaction.data == b""  # what is never sent again is not kept
    assert layer.run_until(33) == []
    assert layer.user.told == ["T1 passed", TransactionTimeoutError]


@pytest.mark.parametrize("status", [200, 202, 299])
def test_a_2xx_completes_it(status: int) -> None:
    """The user is told at once, and nothing is sent any more."""
    layer = Layer()
    layer.respond(status)
    assert layer.user.told == ["accepted"]
    assert layer.run_until(10) == []
    assert len(layer.transactions) == 0


@pytest.mark.parametrize("status", [200, 300])
def test_a_response_before_t1_leaves_no_timer_behind(status: int) -> None:
    """At full load that would be tens of thousands."""
    layer = Layer()
    layer.respond(status)
    assert len(layer.transactions) == 0
    assert not any(layer.wheel._slots)


@pytest.mark.parametrize("status", [300, 404, 503, 603])
def test_other_final_responses_are_passed_up(status: int) -> None:
    """With the whole response."""
    layer = Layer()
    layer.respond(status)
    assert layer.user.told == [status]


def test_17_1_2_2_timer_k_absorbs_retransmitted_responses() -> None:
    """Two copies of a request may get two responses: the second is absorbed during T4, later it is stray."""
    layer = Layer()
    layer.run_until(0.7)
    layer.respond(200)
    layer.respond(200)
    layer.respond(404)
    assert layer.user.told == ["T1 passed", "accepted"]
    assert len(layer.transactions) == 1
    assert layer.counts.stray.value == 0
    layer.run_until(6)
    assert len(layer.transactions) == 0
    layer.respond(200)
    assert layer.counts.stray.value == 1


def test_a_response_of_another_branch_is_dropped() -> None:
    """RFC 3261 §17.1.3, RFC 3261 §18.1.2: no transaction, no effect."""
    layer = Layer()
    response = layer.wires.sent[0].response(200).replace(KEY, KEY[::-1])
    layer.transactions.receive(response)
    layer.transactions.receive(response.replace(b"200", b"404"))
    assert layer.user.told == []
    assert layer.counts.stray.value == 2


@pytest.mark.parametrize("status", [100, 200, 486])
def test_a_response_that_matches_nothing_is_dropped_unparsed(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many magic cookies it has: a flood of such responses costs little."""
    layer = Layer()
    monkeypatch.setattr(transaction, "parse_message", lambda _data: pytest.fail("it was parsed"))
    via = ",SIP/2.0/UDP a;branch=z9hG4bK" + "x" * 34
    layer.transactions.receive(f"SIP/2.0 {status} X\r\nVia: {via * 100}\r\n\r\n".encode())
    assert layer.counts.stray.value == 1


@pytest.mark.parametrize("status", [200, 404])
def test_8_1_3_3_a_response_with_two_vias_is_dropped(status: int) -> None:
    """It was meant for an element behind us, and there is none."""
    layer = Layer()
    response = layer.wires.sent[0].response(status)
    second = b"\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKother\r\nFrom:"
    layer.transactions.receive(response.replace(b"\r\nFrom:", second))
    assert layer.user.told == []
    assert layer.counts.stray.value == 1


def test_17_1_3_the_method_in_cseq_has_to_match() -> None:
    """A response to something else with our branch is not ours."""
    layer = Layer()
    layer.transactions.receive(layer.wires.sent[0].response(404).replace(b"1 MESSAGE", b"1 CANCEL"))
    assert layer.user.told == []


def test_a_response_in_unusual_syntax_is_matched_by_the_full_parser() -> None:
    """Compact names, blanks around the equals sign, other parameters in front."""
    layer = Layer()
    response = layer.wires.sent[0].response(200).replace(b"Via:", b"v :")
    response = response.replace(b";branch=z9hG4bK", b" ; received=127.0.0.1;BRANCH = z9hG4bK").replace(
        b";received=127.0.0.1\r", b"\r"
    )
    layer.transactions.receive(response)
    assert layer.user.told == ["accepted"]


@pytest.mark.parametrize(
    "junk", [b"SIP/2.0 200 OK", b"SIP/2.0 2", b"SIP/2.0 999 X\r\n\r\n", b"\x00\xff", b""]
)
def test_junk_is_dropped(junk: bytes) -> None:
    """Nothing that arrives raises."""
    layer = Layer()
    layer.transactions.receive(junk)
    assert layer.user.told == []


def test_a_request_that_is_no_longer_wanted_is_not_retransmitted() -> None:
    """The user is told so at the next timer, and nothing is left behind."""
    layer = Layer()
    layer.user.wanted = False
    assert layer.run_until(33) == []
    assert layer.user.told == [TransactionTimeoutError]
    assert len(layer.transactions) == 0


async def test_17_1_4_a_transport_error_ends_it() -> None:
    """The user is told, later, and only once."""
    layer = Layer()
    sent = layer.wires.sent[0]
    sent.user.transport_error(ConnectionRefusedError())
    sent.user.transport_error(ConnectionRefusedError())
    assert layer.user.told == []
    await asyncio.sleep(0)
    assert layer.user.told == [ConnectionRefusedError]
    layer.respond(200)
    assert layer.user.told == [ConnectionRefusedError]
    assert layer.run_until(33) == []


def test_every_transition_leads_to_a_state_that_has_a_row() -> None:
    """And nothing leaves the last one."""
    for row in TRANSITIONS.values():
        assert all(state in TRANSITIONS for state, _ in row.values())
    assert TRANSITIONS["terminated"] == {}


@pytest.mark.parametrize("state", ["trying", "proceeding"])
def test_the_short_way_for_a_2xx_does_what_the_table_says(state: State) -> None:
    """`receive` sets the state without a look at the row: it must be the same in both states it may be in."""
    layer = Layer()
    if state == "proceeding":
        layer.respond(100)
    (transaction,) = layer.transactions._untimed.values()
    assert transaction.state == state
    layer.respond(200)
    assert (transaction.state, "pass up") == TRANSITIONS[state]["final to a request sent once"]
    assert layer.user.told == ["accepted"]


def test_a_transaction_that_ends_leaves_a_later_one_of_the_same_branch_alone() -> None:
    """A shard was lost and came back: the same event goes out again while Timer K of the first runs."""
    layer = Layer()
    layer.run_until(0.7)
    layer.respond(200)
    again = User()
    layer.transactions.start(KEY, UDP, layer.wires.sent[0].data, again)
    layer.run_until(6.5)
    layer.respond(200)
    assert again.told[-1] == "accepted"
