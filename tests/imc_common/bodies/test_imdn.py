"""Receipts (RFC 5438), typing notifications (RFC 3994), and the XML they are made of.

Covers xml.py and is_composing.py.
"""

from __future__ import annotations

import random
import time
from contextlib import suppress

import pytest

from imc_common.bodies.errors import BodyError
from imc_common.bodies.imdn import Imdn
from imc_common.bodies.is_composing import IsComposing
from imc_common.bodies.xml import MAX_DEPTH, MAX_ELEMENTS, MAX_NAMESPACE, elements_of
from tests.imc_common.bodies import corpus
from tests.mutator import Mutator

BILLION_LAUGHS = (
    b'<!DOCTYPE imdn [<!ENTITY a "ha">'
    + b"".join(b'<!ENTITY %c "%b">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9))
    + b']><imdn xmlns="urn:ietf:params:xml:ns:imdn"><message-id>&j;</message-id></imdn>'
)


def test_the_example_is_read() -> None:
    """RFC 5438 §7.2.1.1."""
    imdn = Imdn.parse(corpus.IMDN_DOCUMENT)
    assert (imdn.message_id, imdn.status) == ("34jk324j", "delivered")
    assert imdn.to_bytes() == corpus.IMDN_DOCUMENT


@pytest.mark.parametrize("name", ["x", "a&b<c", "1234567890abcdef.1764401234567-0"])
def test_only_the_id_changes_when_a_receipt_is_renamed(name: str) -> None:
    """All else stays byte for byte, also with a namespace prefix and blanks."""
    for document in (
        corpus.IMDN_DOCUMENT,
        corpus.IMDN_DOCUMENT.replace(b"34jk324j", b" 34jk&#x33;24j "),
        corpus.IMDN_DOCUMENT.replace(b"imdn xmlns", b"i:imdn xmlns:i")
        .replace(b"/imdn>", b"/i:imdn>")
        .replace(b"message-id", b"i:message-id"),
    ):
        renamed = Imdn.parse(document).renamed(name)
        assert renamed.message_id == name
        assert renamed.renamed("34jk324j").to_bytes() == document.replace(b" 34jk&#x33;24j ", b"34jk324j")


def test_the_example_of_typing_is_read() -> None:
    """RFC 3994 §4; §3.3: a state that is not known counts as idle."""
    assert IsComposing.parse(corpus.RFC_3994_4).is_active
    assert not IsComposing.parse(corpus.RFC_3994_4.replace(b">active<", b">idle<")).is_active
    assert not IsComposing.parse(corpus.RFC_3994_4.replace(b">active<", b">dreaming<")).is_active
    assert IsComposing.parse(corpus.RFC_3994_4).to_bytes() == corpus.RFC_3994_4


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"hello",
        b"<imdn/>",
        b"<imdn xmlns='urn:ietf:params:xml:ns:imdn'/>",
        corpus.IMDN_DOCUMENT.replace(b"34jk324j", b""),
        corpus.IMDN_DOCUMENT.replace(b"34jk324j", b"two words"),
        corpus.IMDN_DOCUMENT.replace(b"34jk324j", b"x" * 300),
        corpus.IMDN_DOCUMENT.replace(b"<delivered/>", b""),
        corpus.IMDN_DOCUMENT[:-3],
        corpus.IMDN_DOCUMENT + b"x",
        corpus.RFC_3994_4,
        BILLION_LAUGHS,
        b"<!DOCTYPE imdn SYSTEM 'file:///etc/passwd'>" + corpus.IMDN_DOCUMENT[40:],
    ],
)
def test_what_is_no_receipt_is_an_error(document: bytes) -> None:
    """A document type declaration, too: without it there are no entities."""
    with pytest.raises(BodyError):
        Imdn.parse(document)
    if document != corpus.RFC_3994_4:
        with pytest.raises(BodyError):
            IsComposing.parse(document)


def test_no_document_costs_more_than_its_length() -> None:
    """Entities, depth, number of elements, and a long namespace of many names."""
    before = time.process_time()
    for document in (
        BILLION_LAUGHS,
        b"<a>" * 20_000,
        b"<a>" + b"<b/>" * 16_000 + b"</a>",
        b"<a " + b"".join(b"b%d='' " % n for n in range(6000)) + b"/>",
        b"<a xmlns:b='%b' " % (b"n" * 30_000) + b"".join(b"b:c%d='' " % n for n in range(6000)) + b"/>",
    ):
        for _ in range(10):
            with suppress(BodyError):
                elements_of(document)
    assert time.process_time() - before < 5
    with pytest.raises(BodyError):
        elements_of(b"<a>" * (MAX_DEPTH + 1) + b"</a>" * (MAX_DEPTH + 1))
    with pytest.raises(BodyError):
        elements_of(b"<a>" + b"<b/>" * MAX_ELEMENTS + b"</a>")
    with pytest.raises(BodyError):
        elements_of(b"<a xmlns='%b'/>" % (b"n" * (MAX_NAMESPACE + 1)))


def test_names_have_the_namespace_that_was_declared_last() -> None:
    """Namespaces in XML 1.0 §6: by prefix; the default one holds for elements only."""
    document = b"""<a xmlns="u" xmlns:p="v" x="1" p:y="2"><p:b xmlns:p="w" p:z="3"/><p:b/><c xmlns=""/></a>"""
    assert [(each.namespace, each.name, each.attributes) for each in elements_of(document)] == [
        ("w", "b", {"w z": "3"}),
        ("v", "b", {}),
        ("", "c", {}),
        ("u", "a", {"x": "1", "v y": "2"}),
    ]
    for unknown in (b"<q:a/>", b"<a q:x='1'/>", b"<a><b xmlns:q='u'/><q:c/></a>"):
        with pytest.raises(BodyError):
            elements_of(unknown)


def test_mutated_documents_are_read_or_refused() -> None:
    """No other error."""
    mutator, renamed = Mutator(random.Random(5438)), []
    for _ in range(1000):
        document = mutator.mutate(corpus.XML)
        with suppress(BodyError):
            renamed.append(Imdn.parse(document).renamed("x"))
        with suppress(BodyError):
            IsComposing.parse(document)
    assert renamed
    assert all(Imdn.parse(imdn.document).message_id == "x" for imdn in renamed)
