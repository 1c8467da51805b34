"""Content-Type (RFC 3261 §20.15)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from imc_common.sip.grammar import TOKEN, WS
from imc_common.sip.params import Params, parse_params, print_params

_TYPE = re.compile(rf"({TOKEN}){WS}/{WS}({TOKEN})({WS}(?>(?:;.*+)?))", re.DOTALL).fullmatch


class MediaType(NamedTuple):
    """Type and subtype in lower case, parameters."""

    type: str
    subtype: str
    params: Params = ()

    @classmethod
    @lru_cache(maxsize=256)  # few types occur in nearly all messages
    def parse(cls, text: str) -> MediaType:
        """Parse a whole header value. Raises ValueError."""
        match = _TYPE(text)
        if match is None:
            raise ValueError("malformed media type")
        return cls(match[1].lower(), match[2].lower(), parse_params(match[3]))

    def __str__(self) -> str:
        return f"{self.type}/{self.subtype}{print_params(self.params)}"

    @property
    def essence(self) -> str:
        """``type/subtype`` without parameters."""
        return f"{self.type}/{self.subtype}"
