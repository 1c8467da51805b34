"""A disposition notification, which users know as a receipt (RFC 5438): ``message/imdn+xml``."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

from imc_common.bodies.errors import BodyError
from imc_common.bodies.essence import IMDN
from imc_common.bodies.mime_part import MimePart
from imc_common.bodies.xml import Element, elements_of

_NAMESPACE: Final = "urn:ietf:params:xml:ns:imdn"
RECEIVED: Final = frozenset(("delivered", "displayed"))
"""The statuses of a message that has arrived; the second says the first as well."""
_MESSAGE_ID: Final = re.compile(r"[!-~]{1,256}").fullmatch


class Imdn(NamedTuple):
    """What happened to a message: `status` is ``delivered``, ``displayed``, ``failed`` and the like.

    `document` is the whole as it came, `start` and `end` where the message's id stands in it.
    """

    message_id: str
    status: str
    document: bytes
    start: int
    end: int

    @classmethod
    def parse(cls, document: bytes) -> Imdn:
        """Raises `BodyError`."""
        elements = elements_of(document)
        root = elements[-1]  # the root ends last
        if (root.namespace, root.name) != (_NAMESPACE, "imdn"):
            raise BodyError("Not An IMDN Document")
        ids = [each for each in elements if each.depth == 1 and each.name == "message-id"]
        message_id = ids[0].text.strip() if len(ids) == 1 else ""
        if not _MESSAGE_ID(message_id):
            raise BodyError("IMDN Without Message-ID")
        return cls(message_id, _status(elements), document, ids[0].start, ids[0].end)

    def to_bytes(self) -> bytes:
        """The document as it came."""
        return self.document

    def renamed(self, message_id: str) -> Imdn:
        """The same about another message; all else stays byte for byte."""
        document = self.document[: self.start] + escape(message_id).encode() + self.document[self.end :]
        return Imdn.parse(document)


def receipt_part(document: bytes) -> MimePart:
    """A receipt as the part of a CPIM message (RFC 5438 §7.2)."""
    fields = (
        ("Content-Disposition", "notification"),
        ("Content-Type", IMDN),
        ("Content-Length", str(len(document))),
    )
    return MimePart(fields, document)


def _status(elements: list[Element]) -> str:
    """RFC 5438 §11.1: an element in the `status` of one of three kinds of notification."""
    for before, each in pairwise(elements):
        if each.depth == 2 and each.name == "status" and before.depth == 3:
            return before.name
    raise BodyError("IMDN Without Status")
