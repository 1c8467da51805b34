"""Mutates SIP messages: bytes, words of the grammar, lines, long repetitions."""

from __future__ import annotations

import random
from collections.abc import Sequence, Sized

WORDS = [
    *(b"\r\n", b"\r", b"\n", b"\r\n ", b"\r\n\r\n", b"\t", b" ", b"\x00", b"\x0b", b"\x1c", b"\x7f", b"\x85"),
    *("\u2028".encode(), "\u0085".encode(), b"\xff", b"\xc0\x80", b"\xed\xa0\x80", "\uff11".encode()),
    *(
        b'"',
        b"\\",
        b'\\"',
        b"<",
        b">",
        b";",
        b",",
        b"=",
        b":",
        b"@",
        b"?",
        b"&",
        b"%",
        b"%00",
        b"%41",
        b"%zz",
    ),
    *(b"/", b"[", b"]", b"[::1]", b":::1.2.3.4", b"127.1", b"..", b"_", b"sip:", b"sips:", b"tel:", b"*"),
    *(b"-1", b"+10", b"1_0", b"0", b"00", b"255", b"256", b"2147483648", b"4294967296", b"9" * 40),
    *(
        b"SIP/2.0",
        b"SIP/3.0",
        b"sip/2.0",
        b"MESSAGE",
        b"ACK",
        b"CANCEL",
        b";tag=1",
        b";branch=z9hG4bK",
        b";rport",
    ),
    *(b"Via: ", b"v: ", b"To: ", b"f: ", b"From: ", b"i: ", b"CSeq: 1 MESSAGE", b"l: ", b"Content-Length: 5"),
    *(b"Via: SIP/2.0/UDP a.example;branch=z9hG4bK1\r\n", b"Contact: *\r\n", b"Content-Type: a/b\r\n"),
]
MAX_SIZE = 70_000
"""Bytes; slightly more than a datagram holds."""


class Mutator:
    """Makes a new message out of a corpus, with one to four mutations at a time."""

    def __init__(self, source: random.Random) -> None:
        self._random = source
        self._mutations = (
            self._flip,
            self._insert,
            self._remove,
            self._replace,
            self._repeat,
            self._move_line,
            self._swap_header,
        )

    def mutate(self, corpus: Sequence[bytes]) -> bytes:
        """A mutated copy of one message, sometimes with the tail of another."""
        data = bytearray(self._random.choice(corpus))
        if self._random.random() < 0.1:
            other = self._random.choice(corpus)
            data[self._place(data) :] = other[self._place(other) :]
        for _ in range(self._random.randint(1, 4)):
            self._random.choice(self._mutations)(data)
        return bytes(data[:MAX_SIZE])

    def _place(self, data: Sized) -> int:
        return self._random.randint(0, len(data))

    def _flip(self, data: bytearray) -> None:
        if data:
            data[self._random.randrange(len(data))] = self._random.randrange(256)

    def _insert(self, data: bytearray) -> None:
        place = self._place(data)
        data[place:place] = self._random.choice(WORDS)

    def _remove(self, data: bytearray) -> None:
        place = self._place(data)
        del data[place : place + self._random.randint(1, 20)]

    def _replace(self, data: bytearray) -> None:
        place = self._place(data)
        data[place : place + self._random.randint(1, 8)] = self._random.choice(WORDS)

    def _repeat(self, data: bytearray) -> None:
        """Insert one word or a piece of the message, up to 3000 times."""
        place = self._place(data)
        piece = self._random.choice([bytes(data[place : place + 20]), self._random.choice(WORDS)])
        data[place:place] = piece * self._random.choice([2, 2, 2, 10, 10, 10, 100, 100, 3000])

    def _move_line(self, data: bytearray) -> None:
        lines = bytes(data).split(b"\r\n")
        line = lines.pop(self._random.randrange(len(lines)))
        lines.insert(self._place(lines), line)
        data[:] = b"\r\n".join(lines)

    def _swap_header(self, data: bytearray) -> None:
        """Give the value of one header to another."""
        lines = bytes(data).split(b"\r\n")
        giver, taker = self._random.choice(lines), self._random.randrange(len(lines))
        lines[taker] = lines[taker].partition(b":")[0] + b":" + giver.partition(b":")[2]
        data[:] = b"\r\n".join(lines)
