"""Keyed hashes that every edge makes alike: how a request is known again, and the names of a delivery.

Both directions need them: receiving recognises what delivering has sent (`OWN_TAG_LENGTH`).
"""

from __future__ import annotations

from binascii import b2a_base64, hexlify
from hashlib import blake2b, blake2s
from typing import Final, NamedTuple

from imc_common.sip.errors import SipError
from imc_common.sip.message import Request

DIGEST_BYTES = 9
"""72 bits, 12 letters. Redis keeps millions of them, and writes them anew with its append-only file, so no
more than it takes: at 20,000 requests a second one is taken for another in some 40,000 years, and nobody who
does not know the key finds two alike."""
TAG_BYTES = 8
OWN_TAG_LENGTH: Final = 32
"""Characters of a delivery's From tag: the recipient's share and the event's."""


class Fingerprint(NamedTuple):
    """What a request shares with its retransmissions and with a balancer's retries."""

    digest: str
    """What Redis keeps of an accepted request, to recognise duplicates (`lua/accept_many.lua`)."""
    tag: str
    """Our To tag."""


class Fingerprints:
    """Makes fingerprints with the key that all edges share."""

    def __init__(self, secret: bytes) -> None:
        """``secret`` has at most 64 bytes."""
        self._keyed = blake2b(key=secret, digest_size=DIGEST_BYTES + TAG_BYTES)

    def of(self, request: Request, method: str = "") -> Fingerprint:
        """By Call-ID, CSeq and From tag: the branch may differ (a balancer's retry).

        ``method`` stands in for the one in CSeq: a CANCEL finds the request that it is about.
        """
        get = request.headers.first.get
        cseq = get("CSeq") or ""
        if method:
            cseq = f"{cseq.split(None, 1)[0]} {method}"
        digest = self._keyed.copy()
        digest.update(f"{get('Call-ID')}\0{cseq}\0{_from_tag(request)}".encode(errors="surrogateescape"))
        made = digest.digest()
        return Fingerprint(b2a_base64(made[:DIGEST_BYTES], newline=False).decode(), made[DIGEST_BYTES:].hex())


def _from_tag(request: Request) -> str:
    try:
        return request.from_tag or ""
    except SipError:
        return ""


class Identities:
    """The keyed hashes that identify events and recipients, 64 bits each, as hexadecimal digits.

    The secret is what is hashed first. BLAKE2 may be keyed so, what it gives tells nothing of its state; its
    `key` would be a block of its own, and cost as much again. A block of BLAKE2s is half as long as one of
    BLAKE2b, and holds a secret of 32 bytes with all but the longest addresses.
    """

    def __init__(self, secret: bytes) -> None:
        self._recipient = blake2s(secret, digest_size=8, person=b"to")
        self._event = blake2s(secret, digest_size=8, person=b"event")

    def recipient(self, address: str) -> bytes:
        """The recipient's share of branch, Call-ID and From tag."""
        keyed = self._recipient.copy()
        keyed.update(address.encode())
        return hexlify(keyed.digest())

    def part(self, shard: int, entry_id: str, number: int) -> bytes:
        """The share of one MESSAGE of an event; a list cut into several has several."""
        keyed = self._event.copy()
        keyed.update(f"{shard} {entry_id} {number}".encode())
        return hexlify(keyed.digest())
