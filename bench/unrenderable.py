"""One member of a room who sends what cannot be rendered: bodies that do not fit their charset."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
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
"""Type and body of the messages, one after the other."""


@contextmanager
def unrenderable(system: System, group: Group, rate: float) -> Iterator[list[int]]:
    """While in this context, the first member of the group's first room sends such messages.

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
                content_type, body = BODIES[number % len(BODIES)]
                user.send(_message(group, f"{run}-{number}", content_type, body, user.getsockname()))
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


def _message(group: Group, name: str, content_type: str, body: bytes, sent_by: tuple[str, int]) -> bytes:
    host, port = sent_by
    head = (
        f"MESSAGE sip:chat-{group.id}-0@{DOMAIN} SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{name}\r\n"
        f"From: <sip:u-{group.id}-0-0@{DOMAIN}>;tag={name}\r\n"
        f"To: <sip:chat-{group.id}-0@{DOMAIN}>\r\n"
        f"Call-ID: {name}@{host}\r\n"
        "CSeq: 1 MESSAGE\r\n"
        "Max-Forwards: 70\r\n"
        f"Content-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
