"""The objects of a message are freed at its end, not by a garbage collection that delays all others."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from tests.imc_edge.doubles import edge, message
from tests.imc_edge.sending import Sending


@contextmanager
def nothing_left() -> Iterator[None]:
    """Fails if the block leaves cycles with objects of ours in them."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield
        gc.collect()
        left = {f"{type(each).__module__}.{type(each).__name__}" for each in gc.garbage}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert {name for name in left if name.startswith("imc_")} == set()


async def test_an_accepted_message_leaves_no_cycles() -> None:
    """From its bytes to the response."""
    async with edge() as at:
        await at.ask_one(message())
        with nothing_left():
            for number in range(10):
                assert (await at.ask_one(message(Call_ID=f"c{number}"))).status == 202


async def test_deliveries_leave_no_cycles() -> None:
    """Whether they end with a 2xx, a failure, a redirection or silence."""
    async with Sending() as at:
        to = [f"user{number}@127.0.0.1" for number in range(5)]
        with nothing_left():
            for _ in range(3):
                await at.event("message", to)
                for sent, status in zip(at.wires.sent, (200, 404, 302, 503), strict=False):
                    contact = "Contact: <sip:user9@127.0.0.1>"
                    at.deliver.response(sent.response(status, contact, "Retry-After: 1"))
                at.wires.sent.clear()
                await at.pass_time(40, 0.5)
                for sent in at.wires.sent:
                    at.deliver.response(sent.response(200))
                at.wires.sent.clear()
                await at.settle_down()
            assert not at.deliver.in_flight()
