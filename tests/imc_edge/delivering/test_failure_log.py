"""The log says why deliveries fail: one line per kind of failure and next hop, with what to do."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from imc_edge.delivering.failure_log import MAX_KINDS, PERIOD_SECONDS, FailureLog
from imc_edge.flow import Hop
from tests.imc_edge.sending import Clock, Sending, on_loopback

PROXY = Hop("udp", "192.0.2.1", 5060)
Lines = list[MutableMapping[str, Any]]


@pytest.fixture(name="lines")
def fixture_lines() -> Iterator[Lines]:
    """The log lines about failed deliveries, as they come."""
    with capture_logs() as lines:
        yield lines


def about_failures(lines: Lines) -> list[tuple[str, str, int]]:
    """Outcome, next hop and count of each line."""
    return [(e["outcome"], e["next_hop"], e["count"]) for e in lines if e["event"] == "deliveries fail"]


def test_the_first_failure_is_logged_at_once_and_the_others_together_after_a_minute(lines: Lines) -> None:
    """80 failures make two lines; then it is quiet."""
    clock = Clock()
    failures = FailureLog(clock)
    for number in range(80):
        failures.note("407", PROXY, f"user{number}@example.org")
        failures.turn()
    assert about_failures(lines) == [("407", "udp:192.0.2.1:5060", 1)]
    clock.now += PERIOD_SECONDS
    failures.turn()
    assert about_failures(lines)[1:] == [("407", "udp:192.0.2.1:5060", 79)]
    assert lines[1]["last"] == "user79@example.org"
    for _ in range(5):
        clock.now += PERIOD_SECONDS
        failures.turn()
    assert len(lines) == 2


def test_a_kind_that_was_quiet_for_a_minute_is_logged_at_once_again(lines: Lines) -> None:
    """Nobody has to wait a minute for news."""
    clock = Clock()
    failures = FailureLog(clock)
    failures.note("408", PROXY, "bob@example.org")
    clock.now += PERIOD_SECONDS
    failures.turn()
    failures.note("408", PROXY, "bob@example.org")
    assert about_failures(lines) == [("408", "udp:192.0.2.1:5060", 1)] * 2


def test_each_outcome_and_each_next_hop_has_its_own_line(lines: Lines) -> None:
    """One broken proxy does not hide another one."""
    failures = FailureLog(Clock())
    for outcome in ("407", "404"):
        for host in ("192.0.2.1", "192.0.2.2"):
            failures.note(outcome, Hop("tcp", host, 5060), "bob@example.org")
    assert [line[:2] for line in about_failures(lines)] == [
        ("407", "tcp:192.0.2.1:5060"),
        ("407", "tcp:192.0.2.2:5060"),
        ("404", "tcp:192.0.2.1:5060"),
        ("404", "tcp:192.0.2.2:5060"),
    ]


def test_what_an_operator_can_mend_is_a_warning_that_says_how(lines: Lines) -> None:
    """A recipient that does not exist is none."""
    failures = FailureLog(Clock())
    failures.note("407", PROXY, "bob@example.org")
    failures.note("403", PROXY, "bob@example.org")
    failures.note("403", None, "bob@example.org")
    failures.note("404", PROXY, "bob@example.org")
    assert [(line["log_level"], line.get("advice")) for line in lines] == [
        ("warning", "let deliveries bypass authentication at the next hop, or set `credentials`"),
        ("warning", "allow requests from the edges' addresses at the next hop"),
        ("warning", "allow the destination with `destination_networks`, or set `outbound_proxy`"),
        ("info", None),
    ]


def test_next_hops_that_recipients_choose_do_not_fill_the_memory(lines: Lines) -> None:
    """Past the limit they are counted together."""
    clock = Clock()
    failures = FailureLog(clock)
    for number in range(3 * MAX_KINDS):
        failures.note("503", Hop("udp", f"10.0.{number // 256}.{number % 256}", 5060), "bob@example.org")
    clock.now += PERIOD_SECONDS
    failures.turn()
    assert len(about_failures(lines)) == MAX_KINDS + 2
    assert about_failures(lines)[-1] == ("503", "others", 2 * MAX_KINDS - 1)


async def test_a_proxy_that_asks_for_credentials_shows_in_the_log(lines: Lines) -> None:
    """80 deliveries past a proxy with authentication for everybody: one line names it."""
    async with Sending(settings=on_loopback(outbound_proxy="sip:127.0.0.9")) as sending:
        await sending.event(to=[f"user{number}@example.org" for number in range(80)])
        for sent in list(sending.wires.sent):
            sending.deliver.response(sent.response(407))
        await sending.settle_down()
        assert about_failures(lines) == [("407", "udp:127.0.0.9:5060", 1)]
        await sending.pass_time(PERIOD_SECONDS, step=1)
        assert about_failures(lines)[1:] == [("407", "udp:127.0.0.9:5060", 79)]


async def test_a_silent_recipient_and_what_waits_for_it_are_counted(lines: Lines) -> None:
    """Also what is offered while it is backed off."""
    async with Sending() as sending:
        for _ in range(3):
            await sending.event(to=("bob@127.0.0.5",))
        await sending.pass_time(33, step=0.5)
        await sending.event(to=("bob@127.0.0.5",))
        await sending.pass_time(PERIOD_SECONDS, step=1)
        assert about_failures(lines) == [("408", "udp:127.0.0.5:5060", 1), ("408", "udp:127.0.0.5:5060", 3)]


async def test_an_address_that_cannot_be_sent_to_is_logged_without_a_next_hop(lines: Lines) -> None:
    """It came from an import, for instance."""
    async with Sending() as sending:
        await sending.event(to=("no-address",))
        await sending.settle_down()
    assert about_failures(lines) == [("unsendable", "none", 1)]
