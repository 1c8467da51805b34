"""An encrypted message of Linphone: ``multipart/encrypted`` (RFC 1847), protocol ``application/lime``.

Its parts are the ciphertext, a key for each device, and in clear a CPIM message without content: that names
the sender and the Message-ID. An old client names the sender in a ``message/sipfrag`` instead. Clients
decrypt only what comes as it was sent, so it is not wrapped in CPIM like other bodies.
"""

from __future__ import annotations

from typing import Final

from imc_common.bodies.charsets import parameter
from imc_common.bodies.cpim import Cpim, Envelope
from imc_common.bodies.errors import BodyError
from imc_common.bodies.essence import CPIM, essence
from imc_common.bodies.mime_part import MimePart

ENCRYPTED: Final = "multipart/encrypted"
LIME: Final = "application/lime"
MAX_PARTS: Final = 512
"""More parts than `max_body` has room for keys, which take some 250 bytes each."""
_PARTS: Final = frozenset((CPIM, "message/sipfrag", LIME, "application/octet-stream"))


def is_encrypted(content_type: str) -> bool:
    """Whether a body is such a message."""
    return essence(content_type) == ENCRYPTED and parameter(content_type, "protocol").lower() == LIME


def clear_envelope(content_type: str, body: bytes) -> Envelope | None:
    """What the CPIM message in clear says of the author; None without one.

    Raises `BodyError` for parts that do not belong there: a client that does not decrypt would show them as
    if the room had written them.
    """
    found = None
    for part in _parts(content_type, body):
        kind = essence(part.content_type)
        if kind not in _PARTS:
            raise BodyError("Other Parts Beside An Encrypted Message")
        if kind == CPIM:
            if found is not None or part.get("content-transfer-encoding") or part.get("content-encoding"):
                raise BodyError("Not Exactly One Sender Of An Encrypted Message")
            found = Cpim.parse(part.content)
    return None if found is None else found.envelope


def _parts(content_type: str, body: bytes) -> list[MimePart]:
    """All parts. Unlike those of `multipart.parts_of`, none is left out. Raises `BodyError`."""
    boundary = parameter(content_type, "boundary")
    if not boundary or not boundary.isascii():
        raise BodyError("Encrypted Message Without Boundary")
    _, *pieces = (b"\n" + body).split(b"\n--" + boundary.encode(), MAX_PARTS + 1)
    if len(pieces) > MAX_PARTS:
        raise BodyError("Too Many Parts")
    parts: list[MimePart] = []
    for piece in pieces:
        line, _, part = piece.partition(b"\n")
        if line.strip() == b"--":
            return parts
        if line.strip():
            raise BodyError("Malformed Encrypted Message")
        parts.append(MimePart.parse(part.removesuffix(b"\r")))
    raise BodyError("Encrypted Message Without End")
