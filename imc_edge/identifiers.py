"""Keyed hashes that are the same on all edges: to recognise a request, and to name a delivery.

Both directions need them: receiving recognises what delivering has sent (`OWN_TAG_LENGTH`).
"""

from __future__ import annotations

from binascii import b2a_base64, hexlify
from dataclasses import dataclass
from hashlib import blake2b, blake2s
from typing import Final, final

from imc_common.devices import BY_AOR
from imc_common.sip.errors import SipError
from imc_common.sip.message import Request

DIGEST_BYTES = 9
"""72 bits, 12 letters. Redis keeps millions of them, and rewrites them with its append-only file, so there
are no more than needed: at 20,000 requests per second two are equal by chance once in some 40,000 years.
Without the key nobody can make two equal ones."""
TAG_BYTES = 8
ASSERTED: Final = "P-Asserted-Identity"
HASH_LENGTH: Final = 16
"""Characters of one of the two hashes."""
OWN_TAG_LENGTH: Final = 2 * HASH_LENGTH
"""Characters of a delivery's From tag: `DeliveryIds.recipient_id` and `DeliveryIds.message_id`."""


@final
@dataclass(init=False, slots=True)
class Fingerprint:
    """The same for a request, its retransmissions and a balancer's retries."""

    digest: Final[str]
    """What Redis keeps of an accepted request, to recognise duplicates (`lua/accept_many.lua`)."""
    tag: Final[str]
    """Our To tag."""

    def __init__(
        self,
        digest: str,
        tag: str,
    ) -> None:
        self.digest = digest
        self.tag = tag


class Fingerprints:
    """Makes fingerprints with the key that all edges share."""

    def __init__(self, secret: bytes, *, by_asserted: bool = False, by_target: bool = False) -> None:
        """``secret`` has at most 64 bytes. ``by_asserted``: P-Asserted-Identity names the sender.

        ``by_target``: the Request-URI names the room of a MESSAGE. For all other methods it does anyway.
        """
        self._keyed = blake2b(key=secret, digest_size=DIGEST_BYTES + TAG_BYTES)
        self._by_asserted = by_asserted
        self._by_target = by_target

    def of(self, request: Request, method: str = "") -> Fingerprint:
        """By Call-ID, CSeq, From and To as received, the asserted sender, and the room in the Request-URI.

        The branch may differ (a balancer's retry). From has the tag and the sender: without the sender, a
        user could send first with another user's Call-ID, CSeq and tag, and the other's message would be
        lost as a duplicate. A proxy may fork a request to several rooms, which differ in the Request-URI only
        (RFC 3261 §16.6). The body is left out, because a CANCEL has none. So a client that uses the same
        identifiers for two messages loses one, but only one of its own.

        ``method`` replaces the one in CSeq: so a CANCEL has the digest of the request to cancel.
        """
        get = request.headers.first.get
        cseq = get("CSeq") or ""
        if method:
            cseq = f"{cseq.split(None, 1)[0]} {method}"
        text = f"{get('Call-ID')}\0{cseq}\0{get('From')}\0{get('To')}"
        if self._by_target or cseq[-7:] != "MESSAGE":
            text = f"{text}\0{request.plain_target or _target_of(request)}"
        if self._by_asserted:
            text = "\0".join((text, *request.headers.get_all(ASSERTED)))
        digest = self._keyed.copy()
        digest.update(text.encode(errors="surrogateescape"))
        made = digest.digest()
        return Fingerprint(b2a_base64(made[:DIGEST_BYTES], newline=False).decode(), made[DIGEST_BYTES:].hex())


def _target_of(request: Request) -> str:
    """The address in the Request-URI, whose parameters may differ in a retry; empty if there is none."""
    try:
        return request.target.address()
    except SipError:
        return ""


class DeliveryIds:
    """The two parts of a delivery's branch, Call-ID and From tag: 64 bits each, as hexadecimal digits.

    The secret is hashed first. BLAKE2 may be keyed so, because its digest does not reveal its state; its
    `key` would be a block of its own, and cost as much again. A block of BLAKE2s is half as long as one of
    BLAKE2b. It holds a secret of 32 bytes and all but the longest addresses.
    """

    def __init__(self, secret: bytes) -> None:
        self._recipient = blake2s(secret, digest_size=8, person=b"to")
        self._event = blake2s(secret, digest_size=8, person=b"event")

    def recipient_id(self, address: str) -> bytes:
        """The part of the recipient.

        A device that is invited by another URI than before is the same one, and knows what it has got.
        """
        keyed = self._recipient.copy()
        keyed.update(address.removesuffix(BY_AOR).encode())
        return hexlify(keyed.digest())

    def position_in(self, delivery_id: str, room: str, recipient: str) -> str:
        """Where in the room the message is that this recipient got under this id; empty: it got none.

        The id is that of `message_id`, with that of `recipient_id` before it in a Call-ID, and the position
        behind it (`imc_edge.delivering.outbound`). So nobody can name a message that was not delivered.
        """
        hashes, _, position = delivery_id.partition(".")
        event_id = hashes[-HASH_LENGTH:]
        if len(hashes) not in {HASH_LENGTH, 2 * HASH_LENGTH} or not position:
            return ""
        if hashes[:-HASH_LENGTH] not in {"", self.recipient_id(recipient).decode()}:
            return ""
        return position if event_id == self.message_id(room, position, 0).decode() else ""

    def message_id(self, room: str, position: str, number: int) -> bytes:
        """The part of one MESSAGE of an event (`Event.position`); a long list is cut into several.

        The room's shard is no part of it: `imc reshard` may move a room while a message waits in its history.
        """
        keyed = self._event.copy()
        keyed.update(f"{room} {position} {number}".encode())
        return hexlify(keyed.digest())
