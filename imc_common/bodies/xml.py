"""Small XML documents, read with expat so that no document costs more than its length.

A document type declaration is refused, so there are no entities to expand. Depth and number of elements are
bounded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from xml.parsers import expat
from xml.sax.saxutils import escape

from imc_common.bodies.errors import BodyError

MAX_DEPTH: Final = 16
MAX_ELEMENTS: Final = 256

_NO_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""XML 1.0 §2.2: characters that no document can have, not even as a reference."""


class Element(NamedTuple):
    """One element: its namespace and name, how deep it is (the root is 0), and the text in it.

    `start` and `end` are where its text stands in the document, in bytes; both are -1 if it has none. The
    name of an attribute that has a namespace is the namespace, a space and the local name.
    """

    namespace: str
    name: str
    depth: int
    text: str
    start: int
    end: int
    attributes: Mapping[str, str]


class TooManyElementsError(BodyError):
    """The document has more elements than the caller reads."""


def elements_of(document: bytes, max_elements: int = MAX_ELEMENTS) -> list[Element]:
    """The elements of a document in the order in which they end. Raises `BodyError`, for more than
    ``max_elements`` `TooManyElementsError`."""
    parser = expat.ParserCreate("utf-8", " ")
    reader = _XmlReader(parser, max_elements)
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


def quoted(text: str) -> str:
    """Text for an element or an attribute. Characters that XML does not have are left out."""
    return escape(_NO_XML.sub("", text), {'"': "&quot;"})


class _XmlReader:
    def __init__(self, parser: expat.XMLParserType, max_elements: int) -> None:
        self.elements: list[Element] = []
        self._parser = parser
        self._max_elements = max_elements
        self._open: list[tuple[str, dict[str, str]]] = []
        self._started = 0
        self._pieces: list[str] = []
        self._start = -1

    def doctype(self, *_: object) -> None:
        raise BodyError("XML With Document Type")

    def started(self, name: str, attributes: dict[str, str]) -> None:
        self._started += 1
        if len(self._open) == MAX_DEPTH:
            raise BodyError("XML Too Complex")
        if self._started > self._max_elements:
            raise TooManyElementsError("XML Too Complex")
        self._open.append((name, attributes))
        self._pieces.clear()
        self._start = -1

    def text(self, piece: str) -> None:
        if self._start < 0:
            self._start = self._parser.CurrentByteIndex
        self._pieces.append(piece)

    def ended(self, name: str) -> None:
        namespace, _, local = name.rpartition(" ")
        _, attributes = self._open.pop()
        end = self._parser.CurrentByteIndex if self._start >= 0 else -1
        self.elements.append(
            Element(namespace, local, len(self._open), "".join(self._pieces), self._start, end, attributes)
        )
        self._pieces.clear()
        self._start = -1
