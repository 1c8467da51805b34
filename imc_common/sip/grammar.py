"""Parts of the grammar in RFC 3261 §25.1 as regular expressions without backtracking.

A match takes time linear in its input, whatever the peer sends: a repeated character is possessive (``++``,
``*+``, ``?+``), and a repeated group is in an atomic group (``(?>(?:…)*)``), because Python before 3.11.5
matches possessive repeats of groups wrongly. A test checks all patterns of the codec. Character classes
list ASCII characters, because ``\\d``, ``\\w`` and ``\\s`` also match characters that are not digits,
letters or blanks in SIP.
"""

from __future__ import annotations

import re

TOKEN = r"[A-Za-z0-9\-.!%*_+`'~]++"  # noqa: S105 # the grammar's token, not a secret
WS = r"[ \t]*+"
QUOTED = r'"(?>(?:[^"\\]++|\\[^\r\n])*)"'
HEX = r"[0-9A-Fa-f]"
ESCAPED = rf"%{HEX}{{2}}+"
UNRESERVED = r"A-Za-z0-9\-_.!~*'()"

GEN_VALUE = rf"(?:[A-Za-z0-9\-.!%*_+`'~\[\]:]++|{QUOTED})"
"""``gen-value``: token, host (IPv6 in brackets or, as in ``received``, without), or quoted string."""

PARAM = re.compile(rf"{WS};{WS}({TOKEN})(?>(?:{WS}={WS}({GEN_VALUE}))?){WS}")

token = re.compile(TOKEN).fullmatch
quoted = re.compile(QUOTED).fullmatch


def unquote(text: str) -> str:
    """The content of a quoted string without escapes (``quoted-pair``); other text unchanged."""
    if not text.startswith('"'):
        return text
    inner = text[1:-1]
    if "\\" not in inner:
        return inner
    return _QUOTED_PAIR.sub(r"\1", inner)


def quote(text: str) -> str:
    """The text as a quoted string. Raises ValueError for CR and LF, which it cannot hold."""
    if "\r" in text or "\n" in text:
        raise ValueError("a quoted string cannot hold CR or LF (RFC 3261 §25.1)")
    return '"' + _TO_ESCAPE.sub(r"\\\g<0>", text) + '"'


_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_TO_ESCAPE = re.compile(r"[\"\\\x00-\x08\x0b-\x1f\x7f]")
