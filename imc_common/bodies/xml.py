"""Small XML documents, read with expat so that no document costs more than its length.

A document type declaration is refused, so there are no entities to expand. Depth and number of elements are
bounded. Namespaces are resolved here, because expat writes the whole namespace before each name that has one:
a long one makes gigabytes of a short document.
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
MAX_NAMESPACE: Final = 256
"""Characters of a namespace. It stands before each attribute that has one."""

_ALWAYS_DECLARED: Final = {"": "", "xml": "http://www.w3.org/XML/1998/namespace"}
"""Namespaces in XML 1.0 §3, §6.2."""

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
    parser = expat.ParserCreate("utf-8")
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
        self._open: list[tuple[str, str, dict[str, str]]] = []
        self._declared: list[dict[str, str]] = [_ALWAYS_DECLARED]
        """The namespaces that the elements in `_open` declare, by their prefixes."""
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
        declared = {
            key[len("xmlns:") :]: value for key, value in attributes.items() if _declares_namespace(key)
        }
        if any(len(namespace) > MAX_NAMESPACE for namespace in declared.values()):
            raise BodyError("XML Too Complex")
        self._declared.append(declared)
        named = {
            " ".join(self._resolved(key)) if ":" in key else key: value
            for key, value in attributes.items()
            if not _declares_namespace(key)
        }
        namespace, local = self._resolved(name)
        self._open.append((namespace, local, named))
        self._pieces.clear()
        self._start = -1

    def _resolved(self, name: str) -> tuple[str, str]:
        """The namespace of a name, and the rest of it. The innermost declaration counts (§6.1)."""
        prefix, _, local = name.rpartition(":")
        for declared in reversed(self._declared):
            if prefix in declared:
                return declared[prefix], local
        raise BodyError("Malformed XML")

    def text(self, piece: str) -> None:
        if self._start < 0:
            self._start = self._parser.CurrentByteIndex
        self._pieces.append(piece)

    def ended(self, _: str) -> None:
        namespace, local, attributes = self._open.pop()
        self._declared.pop()
        end = self._parser.CurrentByteIndex if self._start >= 0 else -1
        self.elements.append(
            Element(namespace, local, len(self._open), "".join(self._pieces), self._start, end, attributes)
        )
        self._pieces.clear()
        self._start = -1


def _declares_namespace(attribute: str) -> bool:
    return attribute == "xmlns" or attribute.startswith("xmlns:")
