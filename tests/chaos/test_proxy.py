"""What the proxy of a chaos run notes of the deliveries that it takes."""

from __future__ import annotations

import pytest

from tests.chaos.history import History
from tests.chaos.log import Kind
from tests.chaos.proxy import Proxy


class Wire:
    """A socket that takes all responses."""

    def sendto(self, data: bytes, addr: tuple[str, int]) -> None:
        """Nobody waits for them."""


@pytest.mark.parametrize(
    ("body", "kind", "what"),
    [
        (b"hello mark=u1.7", Kind.MESSAGE, "u1.7"),
        (b"*** u2@chaos.example has joined.", Kind.JOINED, "u2"),
        (b"*** You have joined this room. Send #help for a list of commands.", Kind.JOINED, "u1"),
        (b"*** u3@chaos.example has added u4@chaos.example.", Kind.JOINED, "u4"),
        (b"*** u2@chaos.example has left.", Kind.LEFT, "u2"),
        (b"*** You have left this room.", Kind.LEFT, "u1"),
        (b"*** You have missed 7 earlier messages. To see them, send #history more", Kind.SKIPPED, "7"),
        (b"*** u3@chaos.example has removed u4@chaos.example.", Kind.LEFT, "u4"),
    ],
)
async def test_who_is_a_member_is_noted_as_its_notices_say(body: bytes, kind: Kind, what: str) -> None:
    """Also of the user itself: while all others are away, nobody else hears of it."""
    proxy = Proxy(History(), [])
    proxy.connection_made(Wire())  # type: ignore[arg-type]
    head = (
        b"MESSAGE sip:u1@chaos.example SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK1\r\n"
        b"From: <sip:room0@chaos.example>;tag=a\r\nTo: <sip:u1@chaos.example>\r\n"
        b"Call-ID: c\r\nCSeq: 1 MESSAGE\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    proxy.datagram_received(head + body, ("127.0.0.1", 5060))
    [line] = proxy.history.received["u1"]
    assert (line.room, line.kind, line.what) == ("room0", kind, what)
    assert proxy.problems == []
