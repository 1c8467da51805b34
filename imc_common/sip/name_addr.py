"""``name-addr`` and ``addr-spec`` with parameters: From, To, Contact, Route (RFC 3261 §20.10)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from imc_common.sip.grammar import QUOTED, TOKEN, WS, quote, unquote
from imc_common.sip.params import Params, find, parse_params, print_params
from imc_common.sip.uri import Uri

_NAMED = re.compile(rf"(?:({QUOTED})|((?>(?:{TOKEN}[ \t]*+)*))){WS}<([^<>\"]++)>").fullmatch
_WITH_BRACKETS = re.compile(
    rf"((?>(?:{QUOTED})?)[^<>\"]*+<[^<>\"]++>)({WS}(?>(?:;.*+)?))", re.DOTALL
).fullmatch
# Without brackets a semicolon starts the parameters of the header, and commas and question marks are
# forbidden.
_BARE = re.compile(r"([^;,?<>\" \t]++)([ \t]*+(?>(?:;.*+)?))", re.DOTALL).fullmatch
_WORDS = re.compile(rf"(?>(?:{TOKEN}(?>(?: (?=[^ ]))?))+)").fullmatch


class NameAddr(NamedTuple):
    """A URI with display name (unquoted, empty if none) and header parameters."""

    uri: Uri
    display_name: str = ""
    params: Params = ()

    @classmethod
    def parse(cls, text: str) -> NameAddr:
        """Parse a whole header value. Raises ValueError."""
        end = text.rfind(">") + 1
        named = _parse_named(text[:end]) if end else None
        if named is not None:
            return cls(named[0], named[1], parse_params(text[end:]))
        match = _WITH_BRACKETS(text)  # there is a bracket in a quoted parameter
        if match is not None:
            named = _parse_named(match[1])
            if named is not None:
                return cls(named[0], named[1], parse_params(match[2]))
        match = _BARE(text)
        if match is None:
            raise ValueError("malformed address")
        return cls(Uri.parse(match[1]), "", parse_params(match[2]))

    def __str__(self) -> str:
        name = self.display_name
        if not name:
            shown = ""
        elif _WORDS(name):
            shown = f"{name} "
        else:
            shown = f"{quote(name)} "
        return f"{shown}<{self.uri}>{print_params(self.params)}"

    @property
    def tag(self) -> str | None:
        """The ``tag`` parameter (RFC 3261 §19.3)."""
        return find(self.params, "tag")


@lru_cache(maxsize=4096)  # the same users occur in most messages, with other tags
def _parse_named(text: str) -> tuple[Uri, str] | None:
    match = _NAMED(text)
    if match is None:
        return None
    quoted, words, uri = match.groups()
    return Uri.parse(uri), unquote(quoted) if quoted else " ".join(words.split())
