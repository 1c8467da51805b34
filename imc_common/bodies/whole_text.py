"""All of the text in a CPIM message, for a client that shows nothing else.

`Content` has only as much of it as a command needs.
"""

from __future__ import annotations

from typing import Final

from imc_common.bodies.content import MAX_DEPTH, text_of
from imc_common.bodies.cpim import Cpim
from imc_common.bodies.errors import BodyError
from imc_common.bodies.essence import essence
from imc_common.bodies.mime_part import MimePart
from imc_common.bodies.multipart import parts_of

_ONE_OF: Final = frozenset(("multipart/alternative", "multipart/related"))
"""RFC 2046 §5.1.4: the same in several forms, the plainest first. RFC 2387: the first part is the text."""


def whole_text(cpim: Cpim) -> bytes | None:
    """The texts of all parts in UTF-8, each from a line of its own; None if there is none.

    RFC 2046 §5.1.3, §5.1.7: the parts of multipart/mixed, and of types that are not known, belong together.
    """
    return b"\n".join(_texts(cpim.part, 1)) or None


def _texts(part: MimePart, depth: int) -> list[bytes]:
    kind = essence(part.content_type)
    try:
        content = part.decoded()
    except BodyError:
        return []
    if not kind.startswith("multipart/"):
        text = text_of(part.content_type, content, is_whole=True)
        return [text] if text and text.strip() else []
    texts: list[bytes] = []
    if depth < MAX_DEPTH:
        for inner in parts_of(part.content_type, content):
            texts += _texts(inner, depth + 1)
            if texts and kind in _ONE_OF:
                break
    return texts
