from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imc_common.sip import Limits, Request, Response, SipParseError
from imc_common.sip.framing import PING, Framer
from tests.imc_common.sip.samples import message


def drain(framer: Framer, *pieces: bytes) -> list[Request | Response | str]:
    """What the framer makes of these pieces, received one by one."""
    found: list[Request | Response | str] = []
    for piece in pieces:
        framer.receive(piece)
        while (item := framer.next()) is not None:
            found.append(item)
    return found


def error_of(framer: Framer, data: bytes) -> SipParseError:
    """The error these bytes make the framer raise."""
    framer.receive(data)
    with pytest.raises(SipParseError) as caught:
        list(iter(framer.next, None))
    return caught.value


MESSAGES = [
    message(),
    message(body=b"", content_length="0"),
    message(line="SIP/2.0 200 OK"),
    message(x="y" * 300),
]


@given(st.lists(st.sampled_from(MESSAGES), min_size=1, max_size=4), st.data())
def test_messages_are_found_however_the_stream_is_cut(messages: list[bytes], data: st.DataObject) -> None:
    """Any cutting of the same bytes gives the same messages, in order."""
    stream = b"".join(messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    whole = drain(Framer(), stream)
    assert len(whole) == len(messages)
    assert drain(Framer(), *pieces) == whole


def test_one_byte_at_a_time() -> None:
    """The slowest sender still gets its message through, and is seen as waiting meanwhile."""
    framer = Framer()
    data = message()
    for byte in data[:-1]:
        assert drain(framer, bytes([byte])) == []
        assert framer.waiting
    assert len(drain(framer, data[-1:])) == 1
    assert not framer.waiting


def test_keep_alives_are_reported_between_messages() -> None:
    """RFC 5626 section 4.4.1: a double CRLF asks for a CRLF; a single one is an answer or nothing."""
    framer = Framer()
    assert drain(framer, b"\r\n\r\n") == [PING]
    assert drain(framer, b"\r\n") == []
    assert not framer.waiting
    found = drain(framer, message() + b"\r\n\r\n" + message())
    assert [item if item == PING else type(item) for item in found] == [Request, PING, Request]


def test_half_a_keep_alive_is_not_waited_for() -> None:
    """A lone CRLF, cut anywhere, does not start the clock of a slow sender."""
    framer = Framer()
    for byte in b"\r\n\r":
        assert drain(framer, bytes([byte])) == []
        assert not framer.waiting
    assert drain(framer, b"\n") == [PING]


def test_a_storm_of_keep_alives_is_one_and_leaves_nothing_behind() -> None:
    """Constant memory, and no more answers than reads."""
    framer = Framer()
    assert drain(framer, b"\r\n" * 50_000) == [PING]
    assert len(framer._buffer) == 0


def test_a_message_without_content_length_ends_the_stream() -> None:
    """Section 18.3: without it nobody knows where the next message starts."""
    framer = Framer()
    error = error_of(framer, message(without="Content-Length"))
    assert (error.status, error.fatal) == (400, True)
    assert error.request is not None
    framer.receive(message())
    assert framer.next() is None


@pytest.mark.parametrize("length", ["-1", "+10", "1_0", "4000000000", "x"])
def test_a_content_length_in_doubt_ends_the_stream(length: str) -> None:
    """Not one byte of the body is waited for."""
    assert error_of(Framer(), message(content_length=length, body=b"")).fatal


def test_a_fault_outside_framing_leaves_the_stream_usable() -> None:
    """The next message is found behind the refused one's body."""
    framer = Framer()
    error = error_of(framer, message(subject="\x01") + message())
    assert not error.fatal
    assert isinstance(framer.next(), Request)


def test_a_header_block_that_does_not_end_is_refused_at_its_limit() -> None:
    """Bounded before it is complete, and answered with what was there."""
    framer = Framer()
    head = message(body=b"").removesuffix(b"\r\n")
    framer.receive(head)
    assert framer.next() is None
    error = error_of(framer, b"X: y\r\n" * 2000)
    assert (error.status, error.fatal) == (513, True)
    assert error.request is not None


def test_a_header_block_at_its_limit_is_accepted() -> None:
    """The limit itself is allowed, one byte more is not, in one piece or in many."""
    data = message(x="y" * 500)
    size = data.index(b"\r\n\r\n")
    assert len(drain(Framer(Limits(head=size)), data)) == 1
    assert len(drain(Framer(Limits(head=size)), *[bytes([byte]) for byte in data])) == 1
    assert error_of(Framer(Limits(head=size - 1)), data).status == 513


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02\x00", b"\x00", b" \r\n", b"GET / HTTP/1.1\r\n\r\n"])
def test_what_is_not_sip_ends_the_stream_without_an_answer(data: bytes) -> None:
    """A TLS handshake or HTTP on a SIP port."""
    error = error_of(Framer(), data)
    assert error.fatal
    assert error.request is None


ANSWER = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP a;branch=z9hG4bKx\r\nContent-Length: 0\r\n\r\n"


def test_a_2xx_without_body_comes_out_as_it_came() -> None:
    """However it is cut up on the way; what follows is the next message."""
    framer = Framer()
    for byte in ANSWER[:-1]:
        framer.receive(bytes((byte,)))
        assert framer.plain_answer() is None
        assert framer.next() is None
    framer.receive(ANSWER[-1:] + ANSWER + b"SIP/2.0 404 No\r\nContent-Length: 0\r\n\r\n")
    assert framer.plain_answer() == ANSWER
    assert framer.plain_answer() == ANSWER
    assert framer.plain_answer() is None
    assert isinstance(framer.next(), Response)


def test_all_leading_2xx_without_body_come_out_at_once() -> None:
    """Whole ones; the first other message ends them."""
    other = b"SIP/2.0 404 No\r\nContent-Length: 0\r\n\r\n"
    framer = Framer()
    framer.receive(ANSWER * 3 + ANSWER[:20])
    assert framer.plain_answers() == [ANSWER] * 3
    assert framer.plain_answers() == []
    framer.receive(ANSWER[20:] + ANSWER + other + ANSWER)
    assert framer.plain_answers() == [ANSWER] * 2
    assert framer.plain_answers() == []
    assert isinstance(framer.next(), Response)
    assert framer.plain_answers() == [ANSWER]


def test_one_answer_that_says_more_of_its_length_leaves_all_to_a_closer_look() -> None:
    """However the lengths add up over all of them."""
    for odd in (
        b"SIP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"SIP/2.0 200 OK\r\nContent-Length: 4\r\n\r\n\r\n\r\n",
        b"SIP/2.0 200 OK\r\nl: 5\r\nContent-Length: 0\r\n\r\n",
        b"SIP/2.0 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        b"SIP/2.0 200 OK\r\nX: a\r\n Content-Length: 0\r\n\r\n",
        b"SIP/2.0 200 OK\r\nContent-Length:\r\n 0\r\n\r\n",
        b"SIP/2.0 200 OK\r\n\r\n",
    ):
        framer = Framer()
        framer.receive(ANSWER + odd + ANSWER)
        assert framer.plain_answers() == []
        assert framer.plain_answer() == ANSWER


def test_a_plain_answer_keeps_to_the_limit_of_heads() -> None:
    """The thorough way refuses it."""
    framer = Framer(Limits(head=len(ANSWER) - 5))
    framer.receive(ANSWER)
    assert framer.plain_answers() == []


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 5",
        b"Content-Length: 0\r\nl: 5",
        b"",
        b"Content-Length: 0\r\nCONTENT-LENGTH :0",
        b"l: 00",
    ],
)
def test_an_answer_whose_length_is_not_plainly_zero_is_left_to_the_parser(lines: bytes) -> None:
    """It finds the end of the message, or the fault."""
    framer = Framer()
    framer.receive(b"SIP/2.0 200 OK\r\n" + lines + b"\r\n\r\nhello" if lines else b"SIP/2.0 200 OK\r\n\r\n")
    assert framer.plain_answers() == []
    assert framer.plain_answer() is None
