"""What is in a body: the text that its sender typed, receipts, a typing notification.

Commands are read in the text. The body itself is relayed as it came. All work is bounded: nesting, parts, and
one pass over each part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, final

from imc_common.bodies.charsets import charset_of, to_utf8
from imc_common.bodies.cpim import Cpim, Envelope, has_cpim_part
from imc_common.bodies.encoding import TooLargeError
from imc_common.bodies.encrypted import clear_envelope, is_encrypted
from imc_common.bodies.errors import BodyError
from imc_common.bodies.essence import CPIM, HTML, IMDN, IS_COMPOSING, PLAIN, essence
from imc_common.bodies.html import MAX_TEXT, shown_text
from imc_common.bodies.imdn import Imdn
from imc_common.bodies.is_composing import IsComposing
from imc_common.bodies.mime_part import MAX_CONTENT, MimePart
from imc_common.bodies.multipart import parts_of
from imc_common.bodies.usual_cpim import UsualCpim

READ_TYPES: Final = "text/plain, text/html, message/cpim and multipart"
"""The types in which commands are read, in words."""
MAX_DEPTH: Final = 4


@final
@dataclass(init=False, slots=True)
class Content:
    """What was found in a body. At most one of `text`, `imdns` and `composing` is there.

    `text` is in UTF-8; None if there is no text that can be read. `envelope` is that of the body itself, None
    if it is not CPIM. `clear_envelope` is that beside an encrypted message, None if there is none.
    `nests_cpim`: there is, or may be, CPIM inside another CPIM or inside another multipart.
    `shortened` is the shorter form of the body for Redis (`usual_cpim`), empty if it has none.
    """

    text: Final[bytes | None]
    imdns: Final[tuple[Imdn, ...]]
    composing: Final[IsComposing | None]
    envelope: Final[Envelope | None]
    clear_envelope: Final[Envelope | None]
    nests_cpim: Final[bool]
    shortened: Final[bytes]

    def __init__(
        self,
        text: bytes | None = None,
        *,
        imdns: tuple[Imdn, ...] = (),
        composing: IsComposing | None = None,
        envelope: Envelope | None = None,
        clear_envelope: Envelope | None = None,
        nests_cpim: bool = False,
        shortened: bytes = b"",
    ) -> None:
        self.text = text
        self.imdns = imdns
        self.composing = composing
        self.envelope = envelope
        self.clear_envelope = clear_envelope
        self.nests_cpim = nests_cpim
        self.shortened = shortened

    @classmethod
    def parse(cls, content_type: str, body: bytes) -> Content:
        """What is in a body of any type.

        Raises `BodyError` if CPIM, IMDN, isComposing or an encrypted message is malformed, and
        `TooLargeError` if the parts would be too large when inflated: each recipient would inflate them, too.

        Text is read in text/plain, text/html, message/cpim (RFC 3862), and in the first readable part of
        multipart/mixed, multipart/alternative and the like (RFC 2046 §5.1), also within each other.
        """
        kind = essence(content_type)
        if kind == PLAIN:
            return cls(to_utf8(body, charset_of(content_type)))
        usual = UsualCpim.parse(body) if kind == CPIM else None
        if usual is not None:
            return cls(usual.text, envelope=usual.envelope, shortened=usual.shortened)
        return cls.parse_fully(content_type, body)

    @classmethod
    def parse_fully(cls, content_type: str, body: bytes) -> Content:
        """The same without the fast path for usual bodies."""
        if is_encrypted(content_type):
            return cls(clear_envelope=clear_envelope(content_type, body))
        kind = essence(content_type)
        cpim = Cpim.parse(body) if kind == CPIM else None
        nests_cpim = _nests_cpim(cpim, kind, body)
        reader = _Reader()
        leaves = reader.part(cpim.part, 1) if cpim is not None else reader.body(content_type, body, 0)
        text: bytes | None = None
        imdns: list[Imdn] = []
        composing: IsComposing | None = None
        for leaf_type, content in leaves:
            leaf = essence(leaf_type)
            if leaf == CPIM:
                nests_cpim = True
            elif leaf == IMDN:
                imdns.append(Imdn.parse(content))
            elif leaf == IS_COMPOSING:
                composing = IsComposing.parse(content)
            elif text is None or not text.strip():
                text = text_of(leaf_type, content)
        if text is not None:  # it counts, whatever stands beside it
            imdns, composing = [], None
        return cls(
            text,
            imdns=tuple(imdns),
            composing=None if imdns else composing,
            envelope=None if cpim is None else cpim.envelope,
            nests_cpim=nests_cpim,
        )


def _nests_cpim(cpim: Cpim | None, kind: str, body: bytes) -> bool:
    """Whether a recipient could find CPIM in a part, however it is read: imc does not look for From there."""
    if cpim is None:
        return kind.startswith("multipart/") and has_cpim_part(body)
    types = [value for name, value in cpim.part.fields if name.lower() == "content-type"]
    return CPIM in map(essence, types) or has_cpim_part(cpim.part.content)


class _Reader:
    """Type and content of everything in one body that is not a multipart itself.

    What all parts are inflated to is limited together: equal parts within parts would multiply.
    """

    def __init__(self) -> None:
        self._left = MAX_CONTENT

    def body(self, content_type: str, body: bytes, depth: int) -> Iterator[tuple[str, bytes]]:
        if not essence(content_type).startswith("multipart/"):
            yield content_type, body
        elif depth < MAX_DEPTH:
            for part in parts_of(content_type, body):
                yield from self.part(part, depth + 1)

    def part(self, part: MimePart, depth: int) -> Iterator[tuple[str, bytes]]:
        try:
            content = part.decoded(self._left)
        except TooLargeError:
            raise
        except BodyError:
            return
        if part.get("content-encoding"):
            self._left -= len(content)
        yield from self.body(part.content_type, content, depth)


def text_of(content_type: str, content: bytes, *, is_whole: bool = False) -> bytes | None:
    """The text of a part in UTF-8; None if it has another type or an unknown charset.

    Of HTML the beginning, unless ``is_whole``: a command is short.
    """
    kind = essence(content_type)
    if kind == PLAIN:
        return to_utf8(content, charset_of(content_type))
    if kind == HTML:
        html = to_utf8(content, charset_of(content_type))
        if html is None:
            return None
        return shown_text(html.decode("utf-8", "replace"), len(html) if is_whole else MAX_TEXT)
    return None
