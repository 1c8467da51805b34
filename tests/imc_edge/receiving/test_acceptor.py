"""Which responses requests get, by method (RFC 3261 §8.2), and what gets none; also covers `responses`.

Covers pending.py and responses.py.
"""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from imc_common.sip import Response
from tests.imc_edge.doubles import FakeFlow, edge, message


def header(response: Response, name: str) -> str | None:
    return response.headers.get(name)


async def test_a_2xx_to_message_has_neither_body_nor_contact() -> None:
    """RFC 3428 §7."""
    async with edge() as at:
        response = await at.ask_one(message())
        assert response.status == 202
        assert response.body == b""
        assert "Contact" not in response.headers


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(message(method="ACK"), id="ACK, RFC 3261 §17.1.1.3"),
        pytest.param(message(without=["Via"]), id="no Via, RFC 3261 §18.2.2"),
        pytest.param(message(Via="SIP/2.0/UDP"), id="unusable Via, RFC 3261 §18.2.2"),
        pytest.param(b"\r\n\r\n", id="keep-alive, RFC 5626 §4.4.1"),
        pytest.param(b"\0", id="keep-alive of some clients"),
        pytest.param(b"\xff\xfe" * 200, id="noise"),
        pytest.param(b"x" * 2000 + b"\r\n\r\n", id="text that is not SIP"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", id="HTTP"),
    ],
)
async def test_ack_unusable_via_and_noise_get_no_response(data: bytes) -> None:
    """They cost Redis nothing, either."""
    async with edge() as at:
        assert await at.ask(data) == []
        assert at.store.batches == []


async def test_responses_go_to_the_client_side() -> None:
    """A response never gets a response (RFC 3261 §8.1.3)."""
    data = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\n\r\n"
    async with edge() as at:
        assert await at.ask(data) == []
        assert at.client_side.got == [data]


async def test_a_message_that_a_proxy_forks_to_two_rooms_is_two_requests() -> None:
    """RFC 3261 §16.6: they differ in the Request-URI and the branch. A copy of one is a retransmission."""
    async with edge() as at:
        here, there, again = [
            header(await at.ask_one(message(uri=f"sip:{room}@example.org")), "To")
            for room in ("chat-000", "chat-001", "chat-000")
        ]
        assert here == again != there


async def test_two_edges_respond_with_the_same_to_tag() -> None:
    """RFC 3261 §8.2.7: the tag needs a shared key, but no shared memory."""
    async with edge() as one, edge() as other:
        first, second = await one.ask_one(message()), await other.ask_one(message())
        assert header(first, "To") == header(second, "To")
        assert header(first, "To") != header(await one.ask_one(message(Call_ID="other")), "To")


async def test_a_to_that_has_a_tag_keeps_it() -> None:
    """RFC 3261 §8.2.6.2."""
    async with edge() as at:
        response = await at.ask_one(message(To="<sip:chat-000@example.org>;tag=theirs"))
        assert header(response, "To") == "<sip:chat-000@example.org>;tag=theirs"


async def test_cancel_gets_200_for_a_known_request_and_481_for_an_unknown_one() -> None:
    """RFC 3261 §9.2; the message stays accepted."""
    cancel = message(b"", method="CANCEL", To="<sip:chat-000@example.org>")
    async with edge() as at:
        assert (await at.ask_one(cancel)).status == 481
        accepted = await at.ask_one(message())
        response = await at.ask_one(cancel)
        assert response.status == 200
        assert header(response, "To") == header(accepted, "To")


async def test_cancel_finds_a_command_that_names_another_room_than_to() -> None:
    """RFC 3261 §9.2: its shard may not be that of To, so all are searched."""
    async with edge() as at:
        await at.ask_one(message(b"#join sip:attic@example.org"))
        assert (await at.ask_one(message(b"", method="CANCEL"))).status == 200


async def test_an_unexpected_exception_is_one_500_and_the_edge_goes_on() -> None:
    """Here the clock fails. The log names the request and has the traceback."""
    async with edge() as at:
        now, at.now = at.now, None
        with capture_logs() as lines:
            assert (await at.ask_one(message())).status == 500
        assert [(line["event"], line["call_id"]) for line in lines] == [("request failed", "a84b4c76e66710")]
        at.now = now
        assert (await at.ask_one(message())).status == 202


async def test_no_response_is_much_larger_than_its_request() -> None:
    """So that an edge does not amplify floods with forged sources."""
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
            assert all(len(response) <= len(data) + 450 for response, _ in flow.sent)
