"""An error of ours in handling one delivery fails this delivery. All others go on, and so does the process.

The errors come from wrappers around what is passed to the delivering side: sockets, name server, Redis.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from imc_common.scripts import Command
from imc_edge.delivering import settlement
from imc_edge.flow import Hop, TransportUser
from imc_edge.routing.resolver import Destination, Resolver
from imc_edge.routing.targets import Targets
from tests.imc_edge.delivering.test_dialog_request import dialog
from tests.imc_edge.sending import Clock, Redis, Sending, Wires, on_loopback

DIALOG = dialog().replace("127.0.0.1", "127.0.0.1:5071")
BOB, CAROL = "bob@127.0.0.1:5071", "carol@127.0.0.1:5072"


class FaultError(Exception):
    """An error that nobody has thought of."""


class FaultyWires(Wires):
    """Raises in `send` or `via` for bob, from the given call on."""

    def __init__(self) -> None:
        super().__init__()
        self.sends = self.vias = 0
        self.fails_to_send = self.fails_to_name = 1000

    def send(self, hop: Hop, data: bytes, user: TransportUser) -> None:
        if hop.port == 5071:
            self.sends += 1
            if self.sends >= self.fails_to_send:
                raise FaultError
        super().send(hop, data, user)

    def via(self, hop: Hop) -> str:
        if hop.port == 5071:
            self.vias += 1
            if self.vias >= self.fails_to_name:
                raise FaultError
        return super().via(hop)


class FaultyResolver(Resolver):
    """Raises for every name."""

    async def resolve(self, destination: Destination) -> Targets:
        raise FaultError(destination.host)


@asynccontextmanager
async def sending_on() -> AsyncIterator[tuple[Sending, FaultyWires]]:
    """At the end, carol gets messages as before, and the process has not ended."""
    wires = FaultyWires()
    async with Sending(resolver=FaultyResolver(Clock()), wires=wires) as sending:
        yield sending, wires
        before = len(sending.redis.of("settle_delivered"))
        await sending.event(to=(CAROL,))
        await sending.reply(next(each for each in reversed(sending.wires.sent) if each.recipient == CAROL))
        assert len(sending.redis.of("settle_delivered")) == before + 1
        assert sending.deliver.in_flight() == 0
        assert not sending._task.done()


def outcomes(sending: Sending) -> dict[str, str]:
    """Recipient to outcome, of the events that had a failure."""
    args = [args[5:] for args in sending.redis.of("settle")]
    return {each[at]: each[at + 1] for each in args for at in range(0, len(each), 3)}


async def bob_fails(sending: Sending, happens: Callable[[], Any]) -> None:
    """Bob's delivery ends as an error, with one log line that names the message; carol's is delivered."""
    with capture_logs() as logs:
        await sending.event(to=(BOB, CAROL), call_id="broken")
        carol = next(each for each in sending.wires.sent if each.recipient == CAROL)
        await sending.reply(carol)
        result = happens()
        if result is not None:
            await result
        await sending.settle_down()
    assert outcomes(sending) == {BOB: "error", CAROL: "200"}
    lines = [line for line in logs if line["event"] == "delivery failed by an error"]
    assert [(line["call_id"], line["recipient"]) for line in lines] == [("broken", BOB)]


async def test_when_its_recipient_is_made() -> None:
    """No later delivery to the same recipient is kept from trying again."""
    async with sending_on() as (sending, wires):
        wires.fails_to_name = 1
        await bob_fails(sending, lambda: None)
        wires.fails_to_name = 1000
        await sending.event(to=(BOB,))
        await sending.reply(sending.wires.sent[-1])


async def test_when_it_is_sent() -> None:
    """The recipient's next message is sent."""
    async with sending_on() as (sending, wires):
        wires.fails_to_send = 1
        await bob_fails(sending, lambda: None)
        wires.fails_to_send = 1000
        await sending.event(to=(BOB,))
        await sending.reply(sending.wires.sent[-1])


async def test_when_it_is_retransmitted() -> None:
    """Other timers that are due at the same time fire."""
    async with sending_on() as (sending, wires):
        await sending.event(to=("silent@127.0.0.1:5073",))
        wires.fails_to_send = 2
        await bob_fails(sending, lambda: sending.pass_time(0.7))
        silent = [each for each in sending.wires.sent if each.hop.port == 5073]
        assert len(silent) == 2
        await sending.reply(silent[0])


async def test_when_its_response_is_handled() -> None:
    """A redirection, in this case."""
    async with sending_on() as (sending, wires):
        wires.fails_to_name = 2
        await bob_fails(
            sending,
            lambda: sending.reply(sending.wires.sent[0], 302, "Contact: <sip:other@127.0.0.1:5071>"),
        )


async def test_when_its_pause_is_over() -> None:
    """Other pauses end as well."""
    async with sending_on() as (sending, wires):

        async def pause() -> None:
            await sending.reply(sending.wires.sent[0], 503, "Retry-After: 1")
            wires.fails_to_name = 1
            await sending.pass_time(1.3)

        await bob_fails(sending, pause)


async def test_when_the_next_in_the_queue_is_sent_after_a_response() -> None:
    """The response counts for the first, the error for the second, and the third is sent."""
    async with sending_on() as (sending, wires):
        for _ in range(3):
            await sending.event(to=(BOB,))
        wires.fails_to_send = 2
        sending.deliver.response(sending.wires.sent[0].response())
        wires.fails_to_send = 3 if wires.sends == 1 else 1000
        await sending.settle_down()
        assert outcomes(sending) == {BOB: "error"}
        await sending.reply(sending.wires.sent[-1])
        assert len(sending.redis.of("settle_delivered")) == 2


async def test_when_its_name_is_resolved() -> None:
    """All that wait for this name fail, as for a name that does not exist."""
    async with sending_on() as (sending, _):
        await sending.event(to=("bob@example.org", "dave@example.org"))
        await sending.until(lambda: bool(sending.redis.of("settle")))
        assert outcomes(sending) == {"bob@example.org": "no-target", "dave@example.org": "no-target"}


class FaultyRedis(Redis):
    """Raises if a pipeline has a command with this text."""

    poison = "bob"

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        if any(
            self.poison in str(part) for command in commands for part in command if command[0] == "SCRIPT"
        ):
            raise FaultError
        return await super().run(commands)


@pytest.mark.parametrize("at_once", [False, True])
async def test_when_its_outcome_is_recorded(at_once: bool) -> None:
    """The event is a dead letter after `max_attempts`; those of the same pipeline are settled."""
    redis = FaultyRedis()
    async with Sending(on_loopback(max_attempts=3), redis=redis) as sending:
        await sending.event(to=(BOB,))
        await sending.event(to=(CAROL,))
        for sent, status in zip(list(sending.wires.sent), (486, 480), strict=True):
            sending.deliver.response(sent.response(status))
            if not at_once:
                await sending.settle_down()
        await sending.until(lambda: len(redis.of("move_to_dead_letters")) == 1)
        await sending.settle_down()
        assert redis.of("move_to_dead_letters")[0][:2] == ("1-0", "FaultError: ")
        assert outcomes(sending) == {CAROL: "480"}
        assert sending.deliver.in_flight() == 0
        assert not sending._task.done()


async def test_when_one_of_many_delivered_events_cannot_be_deleted() -> None:
    """Only that one is a dead letter."""
    redis = FaultyRedis()
    redis.poison = "2-0"
    async with Sending(on_loopback(max_attempts=3), redis=redis) as sending:
        for number in range(3):
            await sending.event(to=(f"user{number}@127.0.0.1",))
        for sent in list(sending.wires.sent):
            sending.deliver.response(sent.response())
        await sending.until(lambda: sending.deliver.in_flight() == 1)
        redis.poison = "settle_delivered"
        await sending.until(lambda: len(redis.of("move_to_dead_letters")) == 1)
        await sending.settle_down()
        assert redis.of("move_to_dead_letters")[0][0] == "2-0"
        assert sorted(redis.of("settle_delivered")) == [("1-0",), ("3-0",)]
        assert sending.deliver.in_flight() == 0


async def test_when_an_event_is_started() -> None:
    """Of a conference: it is no MESSAGE, and has a way of its own."""
    async with sending_on() as (sending, wires):
        wires.fails_to_name = 1
        for name in ("invite", "bye"):
            await sending.event(name, (f"{BOB};gr=urn:uuid:1",), dialog=DIALOG)
        assert set(outcomes(sending).values()) == {"error"}
        await sending.event("catch_up", (), first="1")
        assert [args[0] for args in sending.redis.of("move_to_dead_letters")] == ["3-0"]


async def test_when_an_invite_is_sent_again() -> None:
    """Other timers that are due at the same time fire."""
    async with sending_on() as (sending, wires):
        wires.fails_to_send = 2
        await sending.event("invite", (BOB,))
        await sending.event(to=("silent@127.0.0.1:5073",))
        await sending.pass_time(0.7)
        silent = [each for each in sending.wires.sent if each.hop.port == 5073]
        assert len(silent) == 2
        await sending.reply(silent[0])
        assert outcomes(sending) == {BOB: "error"}


async def test_when_what_was_resolved_is_used() -> None:
    """All that wait for the same name go on."""
    found: list[Targets | None] = []

    def fail(targets: Targets | None) -> None:
        raise FaultError

    async with sending_on() as (sending, _):
        next_hops = sending.deliver._invitations.next_hops
        with capture_logs() as logs:
            next_hops.find("sip:example.org", fail)
            next_hops.find("sip:example.org", found.append)
            await sending.until(lambda: bool(found))
        assert found == [None]
        assert "delivery not continued" in [line["event"] for line in logs]


@pytest.mark.uncompiled  # a function is replaced
async def test_when_a_part_of_its_outcomes_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event is a dead letter, and the process goes on."""
    async with sending_on() as (sending, _):
        await sending.event(to=(BOB, "silent@127.0.0.1:5073"))
        monkeypatch.setattr(settlement, "consequence", None)
        await sending.reply(sending.wires.sent[0], 486)
        await sending.pass_time(0.4)
        monkeypatch.undo()
        assert [args[0] for args in sending.redis.of("move_to_dead_letters")] == ["1-0"]
