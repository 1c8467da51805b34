"""A member who sends beside the load what cannot be rendered."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count

from bench.load import Group
from bench.systems import System

DOMAIN = "bench.example"
BODIES = (
    ("text/plain;charset=idna", b"p"),
    ("text/plain;charset=punycode", b"\xff\xff"),
    ("text/plain;charset=no-such-charset", b"p"),
    ("text/plain;charset=utf-16", b"odd"),
    ("text/plain;charset=utf-8", b"\xc3\x28\xff"),
)
"""Type and body of messages that cannot be rendered, one after the other."""

Said = tuple[int, int, str, bytes]
"""Room and member, content type, body."""


def unrenderable(number: int) -> Said:
    """The first member of the first room sends such messages."""
    return (0, 0, *BODIES[number % len(BODIES)])


@contextmanager
def beside(system: System, group: Group, rate: float, said: Callable[[int], Said]) -> Iterator[list[int]]:
    """While in this context, members of the group send this, by number.

    Gives the statuses of the responses, as they come; ``rate`` is messages per second, 0 for none.
    """
    host, port = system.target.rsplit(":", 1)
    statuses: list[int] = []
    stop = threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as user:
        user.bind(("127.0.0.1", 0))
        user.connect((host, int(port)))
        user.setblocking(False)

        def send() -> None:
            run = f"{time.time_ns():x}"
            for number in count():
                if stop.wait(1 / rate):
                    return
                user.send(message(group, f"{run}-{number}", said(number), user.getsockname()))
                with suppress(BlockingIOError):
                    while True:
                        statuses.append(int(user.recv(65_535).split(b" ", 2)[1]))

        thread = threading.Thread(target=send, daemon=True)
        if rate:
            thread.start()
        try:
            yield statuses
        finally:
            stop.set()
            if rate:
                thread.join()


def message(group: Group, name: str, said: Said, sent_by: tuple[str, int]) -> bytes:
    """The MESSAGE of a member, sent from this address; ``name`` is its Call-ID, branch and tag."""
    host, port = sent_by
    room, member, content_type, body = said
    head = (
        f"MESSAGE sip:chat-{group.id}-{room}@{DOMAIN} SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{name}\r\n"
        f"From: <sip:u-{group.id}-{room}-{member}@{DOMAIN}>;tag={name}\r\n"
        f"To: <sip:chat-{group.id}-{room}@{DOMAIN}>\r\n"
        f"Call-ID: {name}@{host}\r\n"
        "CSeq: 1 MESSAGE\r\n"
        "Max-Forwards: 70\r\n"
        f"Content-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
