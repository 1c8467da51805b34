"""A body of parts that belong together (RFC 2387): ``multipart/related``, the first part is the root."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from imc_common.bodies.essence import RELATED, essence
from imc_common.bodies.mime_part import MimePart
from imc_common.bodies.multipart import joined

_BOUNDARY_SIZE: Final = 12


def related_part(content_type: str, content_id: str, content: bytes) -> MimePart:
    """A part that another one can name by its Content-ID.

    RFC 2392 has it in angle brackets, but liblinphone 5.1 compares it as it stands with the ids in RLMI.
    """
    fields = (
        ("Content-Type", content_type),
        ("Content-Id", content_id),  # liblinphone knows it in these letters only
        ("Content-Length", str(len(content))),
    )
    return MimePart(fields, content)


def multipart_related(parts: Sequence[MimePart]) -> tuple[str, bytes]:
    """Content-Type and body of these parts; there is at least one.

    Parts with equal content give an equal body, so a request that is built again is the same.
    """
    # made of the content, so no part can contain it
    boundary = blake2b(b"".join([part.content for part in parts]), digest_size=_BOUNDARY_SIZE).hexdigest()
    root = essence(parts[0].content_type)
    # liblinphone 5.1 takes all that follows `boundary=` for the boundary, and crashes: it comes last
    return f'{RELATED};type="{root}";boundary={boundary}', joined(parts, boundary)
