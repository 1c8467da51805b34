"""Receipts, typing and both kinds of client in one room, with real processes over UDP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import sipmessage

from imc_common.bodies.content import Content
from tests.imc_edge.sockets import until
from tests.integration.service import Service, service
from tests.integration.sip_user import Received, SipUser, notice

pytestmark = pytest.mark.integration

CPIM, IMDN, TYPING = "message/cpim", "message/imdn+xml", "application/im-iscomposing+xml"
IS_COMPOSING = (
    '<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing"><state>active</state></isComposing>'
)
OFFLINE = "the user is offline, your message was stored"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that keeps messages; a prefix shows the author in texts."""
    with service(tmp_path_factory.mktemp("cpim"), "redis", {"history_max_messages": "500"}) as started:
        yield started


@pytest.fixture
async def users(running: Service) -> AsyncIterator[list[SipUser]]:
    """Users that end with the test."""
    made: list[SipUser] = []
    yield made
    for user in made:
        user.close()


async def members(running: Service, users: list[SipUser], room: str, count: int) -> list[SipUser]:
    """So many members of a new room; none has anything unread."""
    for number in range(count):
        users.append(await SipUser.open(f"user{number}", running.edge))
        await users[-1].say(room, "#create" if number == 0 else "#join")
        await users[-1].assert_gets(notice("You have"))
    for number, user in enumerate(users):
        for _ in users[number + 1 :]:
            await user.assert_gets(notice("has joined"))
    return users


def wrapped(user: SipUser, text: str, message_id: str = "", part: str = "text/plain") -> str:
    """A CPIM message of this user; with a Message-ID it asks for receipts."""
    asks = (
        f"NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: {message_id}\r\n"
        "imdn.Disposition-Notification: positive-delivery, display\r\n"
    )
    head = f"From: <sip:{user.address}>\r\nDateTime: 2026-11-29T01:35:56Z\r\n{asks if message_id else ''}"
    return f"{head}\r\nContent-Type: {part}\r\n\r\n{text}"


def receipt(message_id: str, status: str = "delivered") -> str:
    """A document that says so."""
    kind = "display" if status == "displayed" else "delivery"
    return (
        f'<imdn xmlns="urn:ietf:params:xml:ns:imdn"><message-id>{message_id}</message-id>'
        "<datetime>2026-11-29T01:35:56Z</datetime>"
        f"<{kind}-notification><status><{status}/></status></{kind}-notification></imdn>"
    )


def about(received: Received) -> list[str]:
    """The messages that receipts are about."""
    content = Content.parse(received.content_type, received.body)
    return [imdn.message_id for imdn in content.imdns]


@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.slow)])
async def test_each_member_but_the_author_sends_one_receipt_and_the_author_gets_them(
    running: Service, users: list[SipUser], room: str, count: int
) -> None:
    """20 members: 19 receipts. They were 361 deliveries when each went to everybody."""
    author, *readers = await members(running, users, room, count)
    await author.say(room, wrapped(author, "hello", "m1"), content_type=CPIM)
    for reader in readers:
        await reader.assert_gets(".*hello")
        await reader.say(room, wrapped(reader, receipt("m1"), part=IMDN), content_type=CPIM)
    for _ in readers:
        assert about(await author.assert_gets(".*delivered.*")) == ["m1"]
    await author.say(room, "that is all")
    for reader in readers:
        last = await reader.assert_gets(".*that is all")
        assert last.content_type == CPIM, "who has sent CPIM gets it"
    assert author.inbox.empty()


async def test_a_receipt_for_a_delivery_of_plain_text_reaches_its_author(
    running: Service, users: list[SipUser], room: str
) -> None:
    """It names the delivery's Call-ID; the author gets the one of the message."""
    author, reader, _ = await members(running, users, room, 3)
    request = author.request(room, "plain")
    await author._transact(request)
    delivery = await reader.assert_gets(".*plain")
    await users[2].assert_gets(".*plain")
    await reader.say(room, receipt(delivery.request.call_id), content_type=IMDN)
    got = await author.assert_gets(".*delivered.*")
    assert (got.content_type, about(got)) == (IMDN, [sipmessage.Message.parse(request).call_id])
    await users[2].assert_gets_nothing()


async def test_who_refuses_cpim_gets_the_text_once_and_from_then_on(
    running: Service, users: list[SipUser], room: str
) -> None:
    """And who sends CPIM gets the other's text in it, with the other as author."""
    modern, text_only = await members(running, users, room, 2)
    text_only.status_for = lambda request: 415 if str(request.content_type) == CPIM else 200
    for number in range(3):
        await modern.say(room, wrapped(modern, f"hello {number}"), content_type=CPIM)
        if number == 0:
            await text_only.assert_gets("From: .*")  # refused
        got = await text_only.assert_gets(f"<{modern.address}>: hello {number}")
        assert got.content_type == "text/plain"
        while (await members_of(running, room))[text_only.address] != "member text":
            await asyncio.sleep(0.05)
    await text_only.say(room, "hello yourself")
    answer = await modern.assert_gets(".*hello yourself")
    content = Content.parse(answer.content_type, answer.body)
    assert content.text == b"hello yourself"
    assert content.envelope is not None
    assert content.envelope.senders == (f"{text_only.name} <sip:{text_only.address}>",)
    assert content.envelope.message_id
    await text_only.assert_gets_nothing()


async def members_of(running: Service, room: str) -> dict[str, str]:
    """Address to value, from Redis."""
    key = next(iter(running.redis.scan_iter(f"imc_members:*:{room.removeprefix('sip:')}")))
    return {name.decode(): value.decode() for name, value in running.redis.hgetall(key).items()}


async def test_a_command_in_cpim_is_carried_out_and_answered_in_cpim(
    running: Service, users: list[SipUser], room: str
) -> None:
    """The others see nothing of it."""
    modern, other = await members(running, users, room, 2)
    await modern.say(room, wrapped(modern, "#list"), content_type=CPIM)
    listed = await modern.assert_gets(f".*{other.address}.*")
    assert listed.content_type == CPIM
    await other.assert_gets_nothing()


async def test_typing_reaches_members_once_in_ten_seconds(
    running: Service, users: list[SipUser], room: str
) -> None:
    """However often a client says so."""
    typist, other = await members(running, users, room, 2)
    for _ in range(3):
        await typist.say(room, IS_COMPOSING, content_type=TYPING)
    await typist.say(room, "done")
    assert (await other.assert_gets("<isComposing.*")).content_type == TYPING
    await other.assert_gets(".*done")


async def test_programs_that_answer_each_other_end(running: Service, users: list[SipUser], room: str) -> None:
    """Three members behind a store that answers for them; one message made 999 deliveries in a second."""
    author, *offline = await members(running, users, room, 4)
    answers: set[asyncio.Task[None]] = set()

    def answer(user: SipUser) -> None:
        answers.add(asyncio.create_task(user.say(room, OFFLINE)))

    for user in offline:
        user.status_for = lambda _, user=user: (answer(user), 202)[1]  # type: ignore[misc]
    await author.say(room, "hello all")
    await author.until(lambda texts: len(texts) > 4 + 3)

    def told() -> list[int]:
        return [sum("responds to each message" in text for text in user.texts()) for user in offline]

    await until(lambda: sum(told()) > 0)
    count = -1
    while count != len(answers) or not all(task.done() for task in answers):
        count = len(answers)
        await asyncio.sleep(1)
    assert max(told()) == 1
    assert len(answers) < 600
    for user in offline:
        user.status_for = lambda _: 200
    await author.say(room, "anybody?")
    for user in offline:
        await user.until(lambda texts: any("anybody?" in text for text in texts))
