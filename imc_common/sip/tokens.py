"""Comma-separated lists in header values. Commas in quotes or brackets do not separate."""

from __future__ import annotations

import re

from imc_common.sip.grammar import QUOTED

_ITEM = re.compile(rf'(?>(?:[^,"<]++|{QUOTED}|<[^<>]*+>)*)').match


def split_commas(text: str) -> list[str]:
    """The items of a comma-separated list, without the blanks around them.

    Raises ValueError if a quote or bracket is not closed, or if an item is empty.
    """
    if "," not in text:
        return [text]
    items: list[str] = []
    position = 0
    while True:
        match = _ITEM(text, position)
        end = match.end() if match else position
        item = text[position:end].strip(" \t")
        if not item or (end < len(text) and text[end] != ","):
            raise ValueError("malformed list")
        items.append(item)
        if end == len(text):
            return items
        position = end + 1
