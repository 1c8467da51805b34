"""The text that a reader of an HTML body sees."""

from __future__ import annotations

import re
from html import unescape
from typing import Final

MAX_TEXT: Final = 1024
"""Characters in which a command with its arguments has to be."""

_SPACES: Final = re.compile(r"[ \t\r\n\f]+")
_TAG_NAME: Final = re.compile(r"</?([A-Za-z][A-Za-z0-9]*)")
_SKIPPED: Final = {
    name: re.compile(f"</{name}", re.IGNORECASE) for name in ("head", "title", "style", "script")
}
"""Elements whose content is not shown, with their ends."""
_BREAKS: Final = frozenset(("br", "p", "div", "li", "tr", "ul", "ol", "table", "h1", "h2", "h3"))


def shown_text(html: str, max_text: int = MAX_TEXT) -> bytes | None:
    """The text that a reader of HTML sees, at least ``max_text`` characters if there are so many; None if
    there is none."""
    pieces: list[str] = []
    position = size = 0
    while size < max_text:
        start = html.find("<", position)
        piece = _SPACES.sub(" ", html[position : start if start >= 0 else position + max_text])
        pieces.append(piece)
        size += len(piece)
        if start < 0:
            break
        is_comment = html.startswith("<!--", start)
        end = html.find("-->" if is_comment else ">", start)
        if end < 0:
            break
        position = end + (3 if is_comment else 1)
        name = _TAG_NAME.match(html, start)
        if name is None:
            continue
        element = name[1].lower()
        if element in _SKIPPED and html[start + 1] != "/":
            closing = _SKIPPED[element].search(html, position)
            if closing is None:
                break
            position = closing.start()
        elif element in _BREAKS:
            pieces.append("\n")
    text = unescape("".join(pieces)).replace("\xa0", " ").strip()
    return text.encode("utf-8", "replace") if text else None
