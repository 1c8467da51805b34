"""Names that people choose for themselves: a nickname in a room, or the display name of From.

Other members read such a name where an address could stand. So it may not look like an address, a telephone
number, a notice or the end of a sender's prefix; a user with such a name is shown by address instead.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from unicodedata import normalize

MAX_NAME: Final = 32
"""Characters of a name, at most."""

_FORBIDDEN: Final = frozenset('@<>:*"\\|#()\u115f\u1160\u2800')
"""Characters of addresses, notices, prefixes and lists; and three that are printable but invisible."""


def nickname(text: str) -> str:
    """The nickname that a member asks for, as it is kept. It is one word; empty: this cannot be one."""
    name = shown_name(text)
    return "" if " " in name or name != normalize("NFKC", text) else name


def shown_name(text: str) -> str:
    """A display name fit to be shown in place of an address, at most `MAX_NAME` characters; empty: unfit.

    It needs a letter: a name of digits could pass for another member's telephone number. Compatibility forms
    are replaced (NFKC), so that a fullwidth ``@`` is an ``@``.
    """
    # nobody's name, and not worth the work; nor is it remembered, because it may be as long as a message
    return "" if len(text) > 8 * MAX_NAME else _shown(text)


@lru_cache(maxsize=1024)
def _shown(text: str) -> str:
    name = " ".join(normalize("NFKC", text).split())
    # marks that reverse the direction of writing, and characters without a glyph, are not printable
    if not name.isprintable() or not _FORBIDDEN.isdisjoint(name) or not any(map(str.isalpha, name)):
        return ""
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 3] + "..."
