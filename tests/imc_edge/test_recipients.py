"""Recipients are kept while they are of use, and no more of them than memory should be spent on."""

from __future__ import annotations

import pytest

from imc_edge.outbound import UnsendableError
from imc_edge.recipients import Recipients
from tests.imc_edge.sending import Sending


async def test_a_recipient_is_made_once() -> None:
    """And an address that is none makes nothing."""
    async with Sending() as sending:
        recipients = sending.deliver._recipients
        await sending.event(to=("bob@example.org",))
        await sending.event(to=("bob@example.org", "no address"))
        with pytest.raises(UnsendableError):
            recipients.add("no address")
        assert list(recipients.known) == ["bob@example.org"]


async def test_the_idle_ones_are_forgotten_when_there_are_too_many() -> None:
    """Those with a message in flight are not, nor those held off while there is room."""
    async with Sending() as sending:
        recipients = Recipients(sending.deliver._make_recipient, 10)
        sending.deliver._recipients = recipients
        await sending.event(to=("busy@127.0.0.1",))
        recipients.add("held@127.0.0.1").held_until = sending.clock.now + 30
        for number in range(9):
            recipients.add(f"user{number}@127.0.0.1")
        assert len(recipients.known) <= 10
        assert {"busy@127.0.0.1", "held@127.0.0.1"} <= set(recipients.known)


async def test_many_busy_ones_are_all_kept() -> None:
    """Their number has bounds of its own."""
    async with Sending() as sending:
        recipients = Recipients(sending.deliver._make_recipient, 5)
        sending.deliver._recipients = recipients
        busy = [f"busy{number}@127.0.0.1" for number in range(12)]
        await sending.event(to=busy)
        assert set(recipients.known) == set(busy)
