"""Framing of messages on TCP and TLS."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imc_common.sip import Limits, Request, Response, SipParseError
from imc_common.sip.framing import PING, Framer
from tests.imc_common.sip.samples import message


def drain(framer: Framer, *pieces: bytes) -> list[Request | Response | str]:
    """What the framer finds in these pieces, received one by one."""
    found: list[Request | Response | str] = []
    for piece in pieces:
        framer.receive(piece)
        while (item := framer.next()) is not None:
            found.append(item)
    return found


def error_of(framer: Framer, data: bytes) -> SipParseError:
    """The error that the framer raises for these bytes."""
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
def test_messages_are_found_however_the_stream_is_split(messages: list[bytes], data: st.DataObject) -> None:
    """Any pieces of the same bytes give the same messages, in order."""
    stream = b"".join(messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    whole = drain(Framer(), stream)
    assert len(whole) == len(messages)
    assert drain(Framer(), *pieces) == whole


def test_a_message_may_come_one_byte_at_a_time() -> None:
    """The framer says that a message is incomplete meanwhile."""
    framer = Framer()
    data = message()
    for byte in data[:-1]:
        assert drain(framer, bytes([byte])) == []
        assert framer.waiting
    assert len(drain(framer, data[-1:])) == 1
    assert not framer.waiting


def test_keep_alives_are_reported_between_messages() -> None:
    """RFC 5626 §4.4.1: a double CRLF requests a CRLF; a single one is a reply."""
    framer = Framer()
    assert drain(framer, b"\r\n\r\n") == [PING]
    assert drain(framer, b"\r\n") == []
    assert not framer.waiting
    found = drain(framer, message() + b"\r\n\r\n" + message())
    assert [item if item == PING else type(item) for item in found] == [Request, PING, Request]


def test_half_a_keep_alive_starts_no_read_timeout() -> None:
    """A single CRLF, split anywhere, is not an incomplete message."""
    framer = Framer()
    for byte in b"\r\n\r":
        assert drain(framer, bytes([byte])) == []
        assert not framer.waiting
    assert drain(framer, b"\n") == [PING]


def test_many_keep_alives_count_as_one_and_use_no_memory() -> None:
    """At most one reply to each read."""
    framer = Framer()
    assert drain(framer, b"\r\n" * 50_000) == [PING]
    assert len(framer._buffer) == 0


def test_a_message_without_content_length_ends_the_stream() -> None:
    """RFC 3261 §18.3: without it the start of the next message is unknown."""
    framer = Framer()
    error = error_of(framer, message(without="Content-Length"))
    assert (error.status, error.fatal) == (400, True)
    assert error.request is not None
    framer.receive(message())
    assert framer.next() is None


@pytest.mark.parametrize("length", ["-1", "+10", "1_0", "4000000000", "x"])
def test_a_malformed_content_length_ends_the_stream(length: str) -> None:
    """The framer does not wait for a body."""
    assert error_of(Framer(), message(content_length=length, body=b"")).fatal


def test_a_fault_outside_framing_leaves_the_stream_usable() -> None:
    """The next message is found after the body of the refused one."""
    framer = Framer()
    error = error_of(framer, message(subject="\x01") + message())
    assert not error.fatal
    assert isinstance(framer.next(), Request)


def test_an_endless_header_block_is_refused_at_its_limit() -> None:
    """Before it is complete; the response is built from the headers received so far."""
    framer = Framer()
    head = message(body=b"").removesuffix(b"\r\n")
    framer.receive(head)
    assert framer.next() is None
    error = error_of(framer, b"X: y\r\n" * 2000)
    assert (error.status, error.fatal) == (513, True)
    assert error.request is not None


def test_a_header_block_at_its_limit_is_accepted() -> None:
    """One byte more is not, in one piece or in many."""
    data = message(x="y" * 500)
    size = data.index(b"\r\n\r\n")
    assert len(drain(Framer(Limits(head=size)), data)) == 1
    assert len(drain(Framer(Limits(head=size)), *[bytes([byte]) for byte in data])) == 1
    assert error_of(Framer(Limits(head=size - 1)), data).status == 513


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02\x00", b"\x00", b" \r\n", b"GET / HTTP/1.1\r\n\r\n"])
def test_bytes_that_are_not_sip_end_the_stream_without_a_response(data: bytes) -> None:
    """Such as a TLS handshake or HTTP on a SIP port."""
    error = error_of(Framer(), data)
    assert error.fatal
    assert error.request is None


OK = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP a;branch=z9hG4bKx\r\nContent-Length: 0\r\n\r\n"


def test_a_2xx_without_body_is_returned_unparsed() -> None:
    """Also if it comes in pieces. The bytes after it are the next message."""
    framer = Framer()
    for byte in OK[:-1]:
        framer.receive(bytes((byte,)))
        assert framer.plain_response() is None
        assert framer.next() is None
    framer.receive(OK[-1:] + OK + b"SIP/2.0 404 No\r\nContent-Length: 0\r\n\r\n")
    assert framer.plain_response() == OK
    assert framer.plain_response() == OK
    assert framer.plain_response() is None
    assert isinstance(framer.next(), Response)


def test_all_leading_2xx_without_body_are_returned_together() -> None:
    """Only complete ones, up to the first other message."""
    other = b"SIP/2.0 404 No\r\nContent-Length: 0\r\n\r\n"
    framer = Framer()
    framer.receive(OK * 3 + OK[:20])
    assert framer.plain_responses(1000) == [OK] * 3
    assert framer.plain_responses(1000) == []
    framer.receive(OK[20:] + OK + other + OK)
    assert framer.plain_responses(1000) == [OK] * 2
    assert framer.plain_responses(1000) == []
    assert isinstance(framer.next(), Response)
    assert framer.plain_responses(1000) == [OK]


def test_one_response_with_an_unusual_length_sends_all_to_the_single_check() -> None:
    """Whatever the sum of all lengths is."""
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
        framer.receive(OK + odd + OK)
        assert framer.plain_responses(1000) == []
        assert framer.plain_response() == OK


def test_a_plain_response_keeps_to_the_limit_of_heads() -> None:
    """The full parser refuses it."""
    framer = Framer(Limits(head=len(OK) - 5))
    framer.receive(OK)
    assert framer.plain_responses(1000) == []


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
def test_a_response_whose_length_is_not_plainly_zero_is_left_to_the_parser(lines: bytes) -> None:
    """The parser finds the end of the message, or the fault."""
    framer = Framer()
    framer.receive(b"SIP/2.0 200 OK\r\n" + lines + b"\r\n\r\nhello" if lines else b"SIP/2.0 200 OK\r\n\r\n")
    assert framer.plain_responses(1000) == []
    assert framer.plain_response() is None


def test_a_message_begins_once_before_it_is_parsed() -> None:
    """So it can be counted. Keep-alives, incomplete heads and bodies do not begin a message."""
    framer = Framer()
    seen: list[object] = []
    for byte in b"\r\n\r\n" + message() + b"\r\n" + OK + b"\0":
        framer.receive(bytes([byte]))
        while True:
            if framer.begins():
                assert framer.begins()
                seen.append("begins")
            try:
                item = framer.next()
            except SipParseError as error:
                seen.append(error.status)
                break
            if item is None:
                break
            seen.append(item if isinstance(item, str) else type(item).__name__)
    assert seen == ["ping", "begins", "Request", "begins", "Response", "begins", 400]


def test_a_head_that_is_too_long_begins_a_message() -> None:
    """Its part is parsed, too."""
    framer = Framer()
    framer.receive(b"MESSAGE sip:a@b SIP/2.0\r\nX: ")
    assert not framer.begins()
    framer.receive(b"x" * 9000)
    assert framer.begins()


def test_at_most_so_many_plain_responses_come_together() -> None:
    """The rest comes with the next call."""
    framer = Framer()
    framer.receive(OK * 5)
    assert [len(framer.plain_responses(2)) for _ in range(4)] == [2, 2, 1, 0]
