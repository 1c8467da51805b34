"""Content-Type and the ranges of Accept (RFC 3261 sections 20.1 and 20.15)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from imc_common.sip.grammar import TOKEN, WS, unquote
from imc_common.sip.params import Params, find, parse_params, print_params

_TYPE = re.compile(rf"({TOKEN}){WS}/{WS}({TOKEN})({WS}(?:;.*+)?+)", re.DOTALL).fullmatch


class MediaType(NamedTuple):
    """Type and subtype in lower case, parameters."""

    type: str
    subtype: str
    params: Params = ()

    @classmethod
    @lru_cache(maxsize=256)  # few types make nearly all the traffic
    def parse(cls, text: str) -> MediaType:
        """The value that ``text`` wholly is. Raises ValueError."""
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

    @property
    def charset(self) -> str | None:
        """The ``charset`` parameter in lower case, None if there is none."""
        value = find(self.params, "charset")
        return None if value is None else unquote(value).lower()

    def within(self, pattern: str) -> bool:
        """Whether a range such as ``text/plain``, ``multipart/*`` or ``*/*`` covers this type."""
        wanted_type, _, wanted_subtype = pattern.lower().partition("/")
        return wanted_type in {"*", self.type} and wanted_subtype in {"*", self.subtype}
