"""A typing notification (RFC 3994): ``application/im-iscomposing+xml``."""

from __future__ import annotations

from typing import Final, NamedTuple

from imc_common.bodies.errors import BodyError
from imc_common.bodies.xml import elements_of

_NAMESPACE: Final = "urn:ietf:params:xml:ns:im-iscomposing"


class IsComposing(NamedTuple):
    """Whether its sender is typing. `document` is the whole as it came."""

    is_active: bool
    document: bytes

    @classmethod
    def parse(cls, document: bytes) -> IsComposing:
        """Raises `BodyError`."""
        elements = elements_of(document)
        root = elements[-1]  # the root ends last
        if (root.namespace, root.name) != (_NAMESPACE, "isComposing"):
            raise BodyError("Not An isComposing Document")
        states = [each.text.strip() for each in elements if each.depth == 1 and each.name == "state"]
        if len(states) != 1:
            raise BodyError("isComposing Without State")
        # RFC 3994 §3.3: a state that is not known counts as idle
        return cls(states[0] == "active", document)

    def to_bytes(self) -> bytes:
        """The document as it came."""
        return self.document
