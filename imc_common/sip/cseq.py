"""CSeq (RFC 3261 §20.16)."""

from __future__ import annotations

import re
from typing import NamedTuple

from imc_common.sip.grammar import TOKEN

_CSEQ = re.compile(rf"([0-9]{{1,10}}+)[ \t]++({TOKEN})").fullmatch


class CSeq(NamedTuple):
    """Sequence number, below 2**31 (RFC 3261 §8.1.1.5), and method."""

    number: int
    method: str

    @classmethod
    def parse(cls, text: str) -> CSeq:
        """Parse a whole header value. Raises ValueError."""
        match = _CSEQ(text)
        if match is None:
            raise ValueError("malformed CSeq")
        number = int(match[1])
        if number >= 1 << 31:
            raise ValueError("CSeq number not below 2**31")
        return cls(number, match[2])

    def __str__(self) -> str:
        return f"{self.number} {self.method}"
