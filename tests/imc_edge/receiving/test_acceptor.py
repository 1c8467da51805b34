"""What becomes of a request (rules 2 to 7 and 13; RFC 3261 §8.2, RFC 3428 §8)."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from imc_common.rooms.request import RETRANSMISSION_SECONDS
from imc_common.sip import Response
from imc_common.store import NotDurable, ReplyError, StoreUnreachable
from imc_edge.identifiers import Identities
from tests.imc_edge.doubles import FakeFlow, accepts_of, data_of, edge, message


def header(answer: Response, name: str) -> str | None:
    return answer.headers.get(name)


async def test_a_message_is_answered_202_only_after_redis_has_it() -> None:
    """Until then there is silence; rule 4, RFC 4320: no 100 at any time, and no 408."""
    async with edge() as at:
        at.store.gate.clear()
        flow = FakeFlow()
        at.acceptor.receive(message(), flow)
        await at.settle()
        assert at.store.batches
        assert flow.sent == []
        at.store.gate.set()
        await at.settle()
        assert [answer.status for answer in flow.answers] == [202]


async def test_a_2xx_to_message_has_neither_body_nor_contact() -> None:
    """Rule 4, RFC 3428 §7."""
    async with edge() as at:
        answer = await at.ask_one(message())
        assert answer.status == 202
        assert answer.body == b""
        assert "Contact" not in answer.headers


async def test_the_entry_carries_who_where_and_what() -> None:
    """What workers read: sender, room, Call-ID, time, and data with Max-Forwards one less (RFC 7332 §5)."""
    async with edge() as at:
        await at.ask_one(message(b"hello", Max_Forwards="10"))
        (entry,) = at.store.entries
        assert (entry.type, entry.sender, entry.room) == (
            "message",
            "alice@example.org",
            "chat-000@example.org",
        )
        data = data_of(entry)
        assert (data.call_id, data.at) == ("a84b4c76e66710", 1_700_000_000_000)
        assert (data.content_type, data.body, data.max_forwards) == ("text/plain", b"hello", 9)
        assert (data.display_name, data.expires_at) == ("Alice", None)


async def test_a_command_is_parsed_here_because_its_room_decides_the_shard() -> None:
    """A room argument leads elsewhere than To."""
    async with edge() as at:
        await at.ask_one(message(b"#invite bob sip:chat-001@EXAMPLE.org\r\nignored"))
        (entry,) = at.store.entries
        assert (entry.type, entry.user, entry.room) == ("invite", "bob@example.org", "chat-001@example.org")


async def test_only_plain_text_can_be_a_command() -> None:
    """Rule 7: any other type passes through untouched."""
    async with edge() as at:
        await at.ask_one(message(b"#destroy", Content_Type="text/html;charset=latin-1"))
        (entry,) = at.store.entries
        assert entry.type == "message"
        assert data_of(entry).content_type == "text/html;charset=latin-1"


async def test_a_body_that_is_no_utf8_goes_through_unchanged() -> None:
    """Rule 7: the charset is the sender's business."""
    async with edge() as at:
        await at.ask_one(message(b"gr\xfc\xdfe"))
        assert data_of(at.store.entries[0]).body == b"gr\xfc\xdfe"


@pytest.mark.parametrize(
    ("data", "status", "reason", "extra"),
    [
        (message(method="INVITE"), 405, "Method Not Allowed", ("Allow", "MESSAGE, OPTIONS, CANCEL")),
        (message(method="FOO"), 405, "Method Not Allowed", ("Allow", "MESSAGE, OPTIONS, CANCEL")),
        (message(uri="tel:+491234"), 416, "Unsupported URI Scheme", None),
        (message(Require="100rel, foo"), 420, "Bad Extension", ("Unsupported", "100rel, foo")),
        (
            message(Content_Encoding="gzip"),
            415,
            "Unsupported Content-Encoding",
            ("Accept-Encoding", "identity"),
        ),
        (
            message(Content_Type="image/png"),
            415,
            "Unsupported Media Type",
            ("Accept", "text/*, message/cpim, "),
        ),
        (message(b"x" * 8193), 413, "Request Entity Too Large", None),
        (message(Max_Forwards="0"), 483, "Too Many Hops", None),
        (message(To="<sip:chat-000@foreign.example>"), 404, "Not Found", None),
        (message(To="<sip:bob@example.org>"), 404, "Not Found", None),
        (message(To="<sip:example.org>"), 404, "To Has No User", None),
        (message(To="<tel:+491234>"), 400, "To Is Not A SIP URI", None),
        (message(From="<tel:+491234>;tag=1"), 400, "From Is Not A SIP URI", None),
        (message(From="<sip:example.org>;tag=1"), 400, "From Has No User", None),
        (message(without=["Call-ID"]), 400, "Missing Call-ID header", None),
        (message(without=["To"]), 400, "Missing To header", None),
        (message(without=["From"]), 400, "Missing From header", None),
        (message(without=["CSeq"]), 400, "Missing CSeq header", None),
        (message(CSeq="1 INVITE"), 400, "CSeq Method Does Not Match Request Method", None),
        (message(without=["Content-Type"]), 400, "Missing Content-Type header", None),
        (message().replace(b" SIP/2.0\r\nVia", b" SIP/3.0\r\nVia"), 505, "Version Not Supported", None),
        (message(uri="sip:" + "a" * 1100 + "@example.org"), 414, "Request-URI Too Long", None),
        (message(lines=["X-Long: " + "x" * 9000]), 513, "Header Block Too Large", None),
    ],
)
async def test_a_fault_gets_its_status_and_its_name(
    data: bytes, status: int, reason: str, extra: tuple[str, str] | None
) -> None:
    """Rule 2; nothing of it reaches Redis."""
    async with edge(domains=["example.org"], room_pattern="chat-[0-9]+") as at:
        answer = await at.ask_one(data)
        assert (answer.status, answer.reason) == (status, reason)
        assert "tag=" in (header(answer, "To") or "tag=")
        if extra is not None:
            assert (header(answer, extra[0]) or "").startswith(extra[1])
        assert at.store.batches == []


async def test_the_manager_needs_to_fit_no_pattern() -> None:
    """It takes commands and has no room."""
    async with edge(room_pattern="chat-[0-9]+", domains=["example.org"]) as at:
        answer = await at.ask_one(message(b"#help", To="<sip:chat-manager@example.org>"))
        assert answer.status == 202
        assert at.store.entries[0].type == "help"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(message(method="ACK"), id="ACK, RFC 3261 §17.1.1.3"),
        pytest.param(message(without=["Via"]), id="no Via, row 25"),
        pytest.param(message(Via="SIP/2.0/UDP"), id="unusable Via, row 25"),
        pytest.param(b"\r\n\r\n", id="keep-alive, RFC 5626 §4.4.1"),
        pytest.param(b"\0", id="keep-alive of some clients"),
        pytest.param(b"\xff\xfe" * 200, id="junk, row 31"),
        pytest.param(b"x" * 2000 + b"\r\n\r\n", id="text that is no SIP, row 31"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", id="another protocol, row 31"),
    ],
)
async def test_what_cannot_be_answered_is_dropped_in_silence(data: bytes) -> None:
    """Rule 2: no answer to ACK, to an unusable top Via, to what is no SIP."""
    async with edge() as at:
        assert await at.ask(data) == []
        assert at.store.batches == []


async def test_responses_go_to_the_client_side_and_get_no_answer() -> None:
    """A stray response ends there."""
    data = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\n\r\n"
    async with edge() as at:
        assert await at.ask(data) == []
        assert at.responses.got == [data]


@pytest.mark.parametrize("branch", ["z9hG4bK776", "z9hG4bKanother"])
async def test_a_retransmission_gets_the_same_answer_and_does_no_second_work(branch: str) -> None:
    """Rule 5: a balancer's retry with a new branch too, on whichever edge."""
    again = message(Via=f"SIP/2.0/UDP 192.0.2.1:5062;branch={branch};rport")
    async with edge() as one:
        first = await one.ask_one(message())
        second = await one.ask_one(again)
        assert first.status == second.status == 202
        assert header(first, "To") == header(second, "To")
        (digest,) = {digest for command in one.store.accepts for digest, _ in accepts_of(command)}
        assert digest
        assert {command[7] for command in one.store.accepts} == {RETRANSMISSION_SECONDS * 1000}


async def test_two_edges_answer_with_the_same_to_tag() -> None:
    """Rule 5, RFC 3261 §8.2.7: the tag needs no shared memory, only the shared key."""
    async with edge() as one, edge() as other:
        first, second = await one.ask_one(message()), await other.ask_one(message())
        assert header(first, "To") == header(second, "To")
        assert header(first, "To") != header(await one.ask_one(message(Call_ID="other")), "To")


@pytest.mark.parametrize(
    "change", [{"Call_ID": "other"}, {"CSeq": "2 MESSAGE"}, {"From": "<sip:a@b.c>;tag=2"}]
)
async def test_another_call_id_cseq_or_from_tag_is_another_request(change: dict[str, str]) -> None:
    """Rule 5 goes no further than it should."""
    async with edge() as at:
        await at.ask_one(message())
        await at.ask_one(message(**change))
        digests = {digest for command in at.store.accepts for digest, _ in accepts_of(command)}
        assert len(digests) == 2


async def test_a_to_that_has_a_tag_keeps_it() -> None:
    """RFC 3261 §8.2.6.2."""
    async with edge() as at:
        answer = await at.ask_one(message(To="<sip:chat-000@example.org>;tag=theirs"))
        assert header(answer, "To") == "<sip:chat-000@example.org>;tag=theirs"


@pytest.mark.parametrize(
    "reply",
    [
        b"overloaded",
        ReplyError("OOM command not allowed when used memory > 'maxmemory'."),
        ReplyError("READONLY You can't write against a read only replica."),
    ],
)
async def test_what_redis_does_not_take_is_answered_503_with_retry_after(reply: object) -> None:
    """Rows 11 and 14, RFC 3261 §21.5.4."""
    async with edge() as at:
        at.store.reply = lambda command: reply
        answer = await at.ask_one(message())
        assert answer.status == 503
        assert 1 <= int(header(answer, "Retry-After") or 0) <= 10


@pytest.mark.parametrize("error", [StoreUnreachable("gone"), NotDurable("no replica")])
async def test_redis_out_of_reach_is_503(error: Exception) -> None:
    """Rows 7 and 13: the client's retry is recognised."""

    def fail(command: object) -> object:
        raise error

    async with edge() as at:
        at.store.reply = fail
        assert (await at.ask_one(message())).status == 503
        at.store.reply = at.store.remember
        assert (await at.ask_one(message())).status == 202


async def test_past_the_bound_of_waiting_requests_comes_503_at_once() -> None:
    """The queue in front of Redis is bounded."""
    async with edge() as at:
        at.acceptor.commit._max_waiting = 2
        at.store.gate.clear()
        flows = [FakeFlow() for _ in range(4)]
        for number, flow in enumerate(flows):
            at.acceptor.receive(message(Call_ID=f"call-{number}"), flow)
        assert [[answer.status for answer in flow.answers] for flow in flows] == [[], [], [503], [503]]
        at.store.gate.set()
        await at.settle()
        assert [flow.answers[0].status for flow in flows] == [202, 202, 503, 503]


async def test_what_arrives_while_a_pipeline_is_in_the_air_goes_into_the_next() -> None:
    """Group commit."""
    async with edge() as at:
        at.store.gate.clear()
        flow = FakeFlow()
        at.acceptor.receive(message(Call_ID="first"), flow)
        await at.settle()
        for number in range(20):
            at.acceptor.receive(message(Call_ID=f"call-{number}"), flow)
        at.store.gate.set()
        await at.settle()
        first, second = at.store.batches
        assert len(first) == 1
        assert len(second) == 2  # one script for all of a shard, and one for what the sender has spent
        assert len(at.store.entries) == 21
        assert [answer.status for answer in flow.answers] == [202] * 21


async def test_a_draining_edge_sends_requests_elsewhere() -> None:
    """A balancer's next choice gets them; rule 5: what it took before keeps its answer."""
    async with edge() as at:
        assert (await at.ask_one(message())).status == 202
        at.health.drain()
        assert (await at.ask_one(message())).status == 202
        answer = await at.ask_one(message(Call_ID="another"))
        assert answer.status == 503
        assert header(answer, "Retry-After")


@pytest.mark.parametrize(
    ("value", "taken"), [("auto-replied", False), ("AUTO-generated; x=y", False), ("no", True)]
)
async def test_an_automatic_message_is_accepted_and_goes_no_further(value: str, taken: bool) -> None:
    """Rule 13, RFC 3834 §2: no fan-out, no notice, so no loop."""
    async with edge() as at:
        assert (await at.ask_one(message(Auto_Submitted=value))).status == 202
        assert bool(at.store.entries) is taken


@pytest.mark.parametrize(("recipient", "taken"), [("chat-000@example.org", False), ("b@example.org", True)])
async def test_a_delivery_that_comes_back_to_a_room_goes_no_further(recipient: str, taken: bool) -> None:
    """Rule 13: rooms that are members of each other would speak for ever; the From tag tells whose it was."""
    async with edge() as at:
        identities = Identities(at.store.secret)
        tag = (identities.recipient(recipient) + identities.part(3, "1-1", 0)).decode()
        answer = await at.ask_one(message(From=f"<sip:room-a@example.org>;tag={tag}"))
        assert answer.status == 202
        assert bool(at.store.entries) is taken


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Expires": "60"}, 1_700_000_060_000),
        ({"Expires": "60", "Date": "Tue, 14 Nov 2023 22:13:10 GMT"}, 1_700_000_050_000),
        ({"Expires": "60", "Date": "Tue, 14 Nov 2023 23:13:10 GMT"}, 1_700_000_060_000),
        ({"Expires": "60", "Date": "yesterday"}, 1_700_000_060_000),
        ({"Expires": "0"}, 1_700_000_001_000),
        ({"Date": "Tue, 14 Nov 2023 22:13:10 GMT"}, None),
    ],
)
async def test_expires_counts_from_date(headers: dict[str, str], expected: int | None) -> None:
    """Rule 6, RFC 3428 §7; the test's clock stands at 22:13:20."""
    async with edge() as at:
        await at.ask_one(message(**headers))
        assert data_of(at.store.entries[0]).expires_at == expected


async def test_a_room_may_be_addressed_with_a_port_and_escapes() -> None:
    """One identity for equivalent spellings (RFC 3261 §19.1.4)."""
    async with edge() as at:
        await at.ask_one(message(To="<sips:%63hat-000@EXAMPLE.org:5070;x=y>"))
        assert at.store.entries[0].room == "chat-000@example.org:5070"


async def test_cancel_of_a_known_request_is_200_and_of_an_unknown_one_481() -> None:
    """RFC 3261 §9.2; the message stays accepted."""
    cancel = message(b"", method="CANCEL", To="<sip:chat-000@example.org>")
    async with edge() as at:
        assert (await at.ask_one(cancel)).status == 481
        accepted = await at.ask_one(message())
        answer = await at.ask_one(cancel)
        assert answer.status == 200
        assert header(answer, "To") == header(accepted, "To")


async def test_cancel_finds_a_command_that_named_another_room() -> None:
    """RFC 3261 §9.2: its shard is not that of To, so all are asked."""
    async with edge() as at:
        await at.ask_one(message(b"#join sip:attic@example.org"))
        assert (await at.ask_one(message(b"", method="CANCEL"))).status == 200


async def test_an_unexpected_exception_is_one_500_and_the_edge_goes_on() -> None:
    """Here the clock fails; the log has the traceback."""
    async with edge() as at:
        now, at.now = at.now, None
        with capture_logs() as lines:
            assert (await at.ask_one(message())).status == 500
        assert [(line["event"], line["call_id"]) for line in lines] == [("request failed", "a84b4c76e66710")]
        at.now = now
        assert (await at.ask_one(message())).status == 202


async def test_no_answer_is_much_larger_than_its_request() -> None:
    """Row 31: we are no amplifier for spoofed sources."""
    async with edge() as at:
        for data in (
            message(b"", method="OPTIONS"),
            message(b"", method="REGISTER"),
            message(Content_Type="image/png"),
            message(Require="a"),
            message(Max_Forwards="0"),
            b"MESSAGE sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\n\r\n",
        ):
            flow = FakeFlow()
            at.acceptor.receive(data, flow)
            await at.settle()
            assert all(len(answer) <= len(data) + 200 for answer, _ in flow.sent)
