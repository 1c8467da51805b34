"""The demo finds faults of a service. Also covers demo_conversation.py."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest

from imc_cli import demo
from imc_cli.demo import play
from imc_cli.demo_conversation import CONVERSATION, USERS, Step, filled, matches
from imc_common.errors import ImcError


class FakeService(asyncio.DatagramProtocol):
    """Responds to every request with ``status``, and to each MESSAGE with the next of ``notices``."""

    def __init__(self) -> None:
        self.status = "202 Accepted"
        self.notices: list[str] = []
        self.copies = 1
        self.transport: asyncio.DatagramTransport

    @property
    def place(self) -> tuple[str, int]:
        """Where it listens."""
        place: tuple[str, int] = self.transport.get_extra_info("sockname")
        return place

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Respond, and send the next notice to the sender of a MESSAGE."""
        text = data.decode()
        if text.startswith("SIP/2.0"):
            return
        lines = [line for line in text.split("\r\n") if re.match("Via|From|To|Call-ID|CSeq", line)]
        self.transport.sendto("\r\n".join([f"SIP/2.0 {self.status}", *lines, "", ""]).encode(), addr)
        if text.startswith("MESSAGE") and self.notices:
            room = re.search(r"MESSAGE sip:(\S+)", text)
            assert room is not None
            body = self.notices.pop(0).replace("{room}", room[1])
            for copy in range(self.copies):
                token = f"{len(self.notices)}-{copy}"
                lines = [
                    "MESSAGE sip:x@y SIP/2.0",
                    f"Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK{token}",
                    f"From: <sip:{room[1]}>;tag=1",
                    "To: <sip:x@y>",
                    f"Call-ID: {token}",
                    "CSeq: 1 MESSAGE",
                    f"Content-Length: {len(body)}",
                    "",
                    body,
                ]
                self.transport.sendto("\r\n".join(lines).encode(), addr)


@pytest.fixture
async def service(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeService]:
    """A fake service. The demo waits only for a short time."""
    monkeypatch.setattr(demo, "PATIENCE", 0.2)
    transport, service = await asyncio.get_running_loop().create_datagram_endpoint(
        FakeService, local_addr=("127.0.0.1", 0)
    )
    service.transport = transport
    yield service
    transport.close()


async def test_missing_messages_are_faults(service: FakeService) -> None:
    """One fault for each, with step and user."""
    service.notices = ["*** You have created this private room. Send #help for a list of commands."]
    faults = await play(service.place, "example.org", lambda _: None)
    due = [name for step in CONVERSATION[1:] for name, patterns in step.then.items() for _ in patterns]
    assert re.findall(r": (\w+) got nothing", "\n".join(faults)) == due


async def test_wrong_and_unexpected_messages_are_faults(service: FakeService) -> None:
    """With the received text."""
    made = "*** You have created this private room. Send #help for a list of commands."
    service.notices = [made, *["nonsense"] * 30]
    service.copies = 3
    faults = await play(service.place, "example.org", lambda _: None)
    assert "after '#join': bob got 'nonsense'" in faults
    assert "unexpected: carol got 'nonsense'" in faults


async def test_the_demo_skips_rooms_that_exist(service: FakeService) -> None:
    """It tries the next name."""
    said: list[str] = []
    service.notices = [
        "*** #create: a room with this name already exists. Choose another name.",
        "*** You have created this private room. Send #help for a list of commands.",
    ]
    await play(service.place, "example.org", said.append)
    assert any("alice -> chat-001" in line for line in said)
    assert any("bob -> chat-001" in line for line in said)


async def test_a_refusal_ends_the_demo(service: FakeService) -> None:
    """With the status, without trying further rooms."""
    service.status = "503 Service Unavailable"
    with pytest.raises(ImcError, match=r"chat-000@example\.org could not be created"):
        await play(service.place, "example.org", lambda _: None)


async def test_the_demo_reports_an_edge_that_does_not_respond(service: FakeService) -> None:
    """With its address."""
    service.transport.close()
    with pytest.raises(ImcError, match=r"no response from 127\.0\.0\.1"):
        await play(service.place, "example.org", lambda _: None)


async def test_the_demo_reports_an_unreachable_address() -> None:
    """Without a route to it."""
    with pytest.raises(ImcError, match="is unreachable"):
        await play(("255.255.255.255", 5060), "example.org", lambda _: None)


def test_all_placeholders_of_the_conversation_have_a_value() -> None:
    """All names in the steps are users of the demo."""
    names = {name: f"{name}@127.0.0.1:5071" for name in USERS} | {"room": "chat-000@example.org"}
    for step in CONVERSATION:
        assert {step.who, *step.then} <= set(USERS)
        for text in (step.text, *(pattern for patterns in step.then.values() for pattern in patterns)):
            assert "{" not in filled(text, names)


def test_addresses_in_patterns_match_literally() -> None:
    """A dot in an address matches only a dot."""
    step = Step("alice", "x", {"bob": ("<{alice}>: x",)})
    names = {"alice": "alice@127.0.0.1:5071"}
    assert matches(step.then["bob"][0], names, "<alice@127.0.0.1:5071>: x")
    assert not matches(step.then["bob"][0], names, "<alice@127x0.0.1:5071>: x")
