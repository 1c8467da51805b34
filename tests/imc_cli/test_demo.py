"""The demo finds faults of a service. Also covers demo_conversation.py."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest

from imc_cli import demo
from imc_cli.demo import Cast, play
from imc_cli.demo_conversation import CONVERSATION, KEEPS, PHONE_OFF, USERS, Exchange, filled, matches
from imc_common.errors import ImcError


class FakeService(asyncio.DatagramProtocol):
    """Responds to every request with ``status``, and to each MESSAGE with the next of ``notices``."""

    def __init__(self) -> None:
        self.status = "202 Accepted"
        self.notices: list[str] = []
        self.copies = 1
        self.requests: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.expires: list[str] = []
        self.senders: set[str] = set()
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
        method, uri, _ = text.split(" ", 2)
        self.requests.append((method, uri))
        self.senders.update(re.findall(r"From: .*<sip:([^@>]+)@", text))
        self.expires += re.findall(r"Contact: .*;expires=(\d+)", text)
        if method == "MESSAGE":
            self.texts.append(text.partition("\r\n\r\n")[2])
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
    faults = await play(Cast(service.place), lambda _: None)
    due = [name for step in CONVERSATION[1:] for name, patterns in step.then.items() for _ in patterns]
    assert re.findall(r": (\w+) got nothing", "\n".join(faults)) == due


async def test_messages_that_are_not_caught_up_with_are_faults(service: FakeService) -> None:
    """If the service says that it keeps messages, each one that a user misses while its phone is off."""
    service.notices = [f"*** You have created this private room. {KEEPS}"]
    shown: list[str] = []
    faults = await play(Cast(service.place), shown.append)
    late = [fault for fault in faults if fault.startswith("when the phone was on again")]
    assert late == ["when the phone was on again: carol got nothing"] * len(PHONE_OFF.received)
    said = [step.text for step in PHONE_OFF.missed]
    assert [text for text in service.texts if text in said] == said
    assert service.expires.count("0") == len(USERS) + 1, "carol's phone was switched off once, too"
    assert "(carol's phone is off.)" in shown


async def test_nobody_is_away_if_the_service_keeps_no_messages(service: FakeService) -> None:
    """The demo says so and leaves that part out."""
    service.notices = ["*** You have created this private room. Send #help for a list of commands."]
    shown: list[str] = []
    await play(Cast(service.place), shown.append)
    assert "(This service keeps no messages: carol's phone stays on.)" in shown
    assert PHONE_OFF.missed[0].text not in service.texts


async def test_wrong_and_unexpected_messages_are_faults(service: FakeService) -> None:
    """With the received text."""
    made = "*** You have created this private room. Send #help for a list of commands."
    service.notices = [made, *["nonsense"] * 30]
    service.copies = 3
    faults = await play(Cast(service.place), lambda _: None)
    assert "after '#join': bob got 'nonsense'" in faults
    assert "unexpected: carol got 'nonsense'" in faults


async def test_a_refusal_ends_the_demo(service: FakeService) -> None:
    """With the status."""
    service.status = "503 Service Unavailable"
    with pytest.raises(ImcError, match=r"demo-\w+@example\.org could not be created: .* 503 "):
        await play(Cast(service.place), lambda _: None)


async def test_a_notice_instead_of_a_room_ends_the_demo(service: FakeService) -> None:
    """It says what the service said, and does not try names of others."""
    service.notices = ["*** #create: a room with this name already exists. Choose another name."]
    with pytest.raises(ImcError, match=r"demo-\w+@example\.org could not be created: .*already exists"):
        await play(Cast(service.place), lambda _: None)
    assert len({uri for method, uri in service.requests if method == "MESSAGE"}) == 1


async def test_each_run_has_a_room_and_users_of_its_own(service: FakeService) -> None:
    """It never enters a room of real users, and reaches no limit of invitations, which count for an hour."""
    for _ in range(2):
        service.status = "503 Service Unavailable"
        with pytest.raises(ImcError):
            await play(Cast(service.place), lambda _: None)
    assert len({uri for method, uri in service.requests if method == "MESSAGE"}) == 2
    assert len([name for name in service.senders if name.startswith("alice-")]) == 2


async def test_users_of_a_domain_keep_their_names(service: FakeService) -> None:
    """They have passwords."""
    service.status = "503 Service Unavailable"
    with pytest.raises(ImcError):
        await play(Cast(service.place, user_domain="example.org"), lambda _: None)
    assert service.senders == {"alice"}


@pytest.mark.parametrize("after", range(1, 6))
async def test_a_cancelled_demo_deletes_its_room_and_unregisters_its_users(
    service: FakeService, after: int
) -> None:
    """Whenever Ctrl-C comes, after the first message or in the middle of the conversation."""
    made = "*** You have created this private room. Send #help for a list of commands."
    service.notices = [made, *["nonsense"] * 30]
    playing = asyncio.create_task(play(Cast(service.place), lambda _: None))
    while len(service.texts) < after and not playing.done():
        await asyncio.sleep(0.01)
    playing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await playing
    assert service.texts[-1] == "#destroy"
    assert service.expires[-4:] == ["0"] * 4


@pytest.mark.parametrize(("password", "told"), [(None, "use --login"), ("wonder-land", "did not accept")])
async def test_a_service_that_wants_a_password_is_told_apart(
    service: FakeService, password: str | None, told: str
) -> None:
    """The error says what to do."""
    service.status = "401 Unauthorized"
    with pytest.raises(ImcError, match=told):
        await play(Cast(service.place, password=password), lambda _: None)


async def test_users_of_a_domain_must_be_able_to_register(service: FakeService) -> None:
    """Without that, nothing would reach them."""
    service.status = "405 Method Not Allowed"
    with pytest.raises(ImcError, match=r"alice@example\.com could not register: 405"):
        await play(Cast(service.place, user_domain="example.com"), lambda _: None)


async def test_the_demo_reports_an_edge_that_does_not_respond(service: FakeService) -> None:
    """With its address."""
    service.transport.close()
    with pytest.raises(ImcError, match=r"no response from 127\.0\.0\.1"):
        await play(Cast(service.place), lambda _: None)


async def test_the_demo_reports_an_unreachable_address() -> None:
    """Without a route to it."""
    with pytest.raises(ImcError, match="is unreachable"):
        await play(Cast(("255.255.255.255", 5060)), lambda _: None)


def test_all_placeholders_of_the_conversation_have_a_value() -> None:
    """All names in the steps are users of the demo."""
    names = {name: f"{name}@127.0.0.1:5071" for name in USERS} | {"room": "chat-000@example.org"}
    steps = (*CONVERSATION, *PHONE_OFF.before, *PHONE_OFF.missed, *PHONE_OFF.after)
    for step in (*steps, Exchange(PHONE_OFF.who, "", {PHONE_OFF.who: PHONE_OFF.received})):
        assert {step.who, *step.then} <= set(USERS)
        for text in (step.text, *(pattern for patterns in step.then.values() for pattern in patterns)):
            assert "{" not in filled(text, names)


def test_what_is_caught_up_with_is_what_was_missed() -> None:
    """Others heard exactly these texts, while the user who is away was to get none of them."""
    heard = [text for step in PHONE_OFF.missed for texts in step.then.values() for text in texts]
    assert list(PHONE_OFF.received) == heard
    assert all(PHONE_OFF.who not in {step.who, *step.then} for step in PHONE_OFF.missed)


def test_addresses_in_patterns_match_literally() -> None:
    """A dot in an address matches only a dot."""
    step = Exchange("alice", "x", {"bob": ("<{alice}>: x",)})
    names = {"alice": "alice@127.0.0.1:5071"}
    assert matches(step.then["bob"][0], names, "<alice@127.0.0.1:5071>: x")
    assert not matches(step.then["bob"][0], names, "<alice@127x0.0.1:5071>: x")
