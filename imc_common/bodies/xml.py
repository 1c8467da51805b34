"""Small XML documents, read with expat so that no document costs more than its length.

A document type declaration is refused, so there are no entities to expand. Depth and number of elements are
bounded.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from xml.parsers import expat

from imc_common.bodies.errors import BodyError

MAX_DEPTH: Final = 16
MAX_ELEMENTS: Final = 256


class Element(NamedTuple):
    """One element: its namespace and name, how deep it is (the root is 0), and the text in it.

    `start` and `end` are where its text stands in the document, in bytes; both are -1 if it has none.
    """

    namespace: str
    name: str
    depth: int
    text: str
    start: int
    end: int


def elements_of(document: bytes) -> list[Element]:
    """The elements of a document in the order in which they end. Raises `BodyError`."""
    parser = expat.ParserCreate("utf-8", " ")
    reader = _XmlReader(parser)
    parser.buffer_text = False  # where a text begins is known only at its first piece
    parser.StartDoctypeDeclHandler = reader.doctype
    parser.StartElementHandler = reader.started
    parser.EndElementHandler = reader.ended
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(document, True)
    except expat.ExpatError:
        raise BodyError("Malformed XML") from None
    return reader.elements


class _XmlReader:
    def __init__(self, parser: expat.XMLParserType) -> None:
        self.elements: list[Element] = []
        self._parser = parser
        self._open: list[str] = []
        self._started = 0
        self._pieces: list[str] = []
        self._start = -1

    def doctype(self, *_: object) -> None:
        raise BodyError("XML With Document Type")

    def started(self, name: str, _: object) -> None:
        self._started += 1
        if len(self._open) == MAX_DEPTH or self._started > MAX_ELEMENTS:
            raise BodyError("XML Too Complex")
        self._open.append(name)
        self._pieces.clear()
        self._start = -1

    def text(self, piece: str) -> None:
        if self._start < 0:
            self._start = self._parser.CurrentByteIndex
        self._pieces.append(piece)

    def ended(self, name: str) -> None:
        namespace, _, local = name.rpartition(" ")
        self._open.pop()
        end = self._parser.CurrentByteIndex if self._start >= 0 else -1
        self.elements.append(
            Element(namespace, local, len(self._open), "".join(self._pieces), self._start, end)
        )
        self._pieces.clear()
        self._start = -1
