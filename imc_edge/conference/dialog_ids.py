"""Names that edges give in dialogs, equal on all edges: a retransmission gets the same answer from each."""

from __future__ import annotations

from contextlib import suppress
from hashlib import blake2s
from hmac import compare_digest
from typing import Final

from imc_common.address import AddressError
from imc_common.devices import device_address
from imc_common.sip.message import Request
from imc_common.sip.params import find
from imc_edge.identifiers import HASH_LENGTH, OWN_TAG_LENGTH, DeliveryIds

PREFIX: Final = "chatroom-"
"""What the user part of a room begins with that a client has made through the conference factory."""


class DialogIds:
    """Makes them with the key that all edges share.

    The secret is hashed first, as in `DeliveryIds`: such a digest does not reveal it.
    """

    def __init__(self, secret: bytes) -> None:
        self._tag = blake2s(secret, digest_size=8, person=b"dialog")
        self._room = blake2s(secret, digest_size=10, person=b"room")
        self._deliveries = DeliveryIds(secret)
        self._dialog = blake2s(secret, digest_size=10, person=b"sequence")

    def tag(self, request: Request) -> str:
        """Our tag in the dialog that this request begins: of Call-ID, From tag, From and To.

        These are the same in each request of the client in this dialog. CSeq is not part of it. The
        address in From is: who takes Call-ID and tag of another user's dialog does not learn our tag in it.
        """
        keyed = self._tag.copy()
        addresses = request.from_.uri.address(), request.to.uri.address()
        _update(keyed, request.call_id, request.from_tag or "", *addresses)
        return keyed.hexdigest()

    def dialog(self, request: Request, sender: str) -> str:
        """What names the dialog of a request of this user, whoever has begun it.

        Nobody else can name it: its sender is part of it.
        """
        keyed = self._dialog.copy()
        _update(keyed, sender, self.tag(request))
        return keyed.hexdigest()

    def is_ours(self, request: Request) -> bool:
        """Whether the To tag of a request is the one that we gave to its client."""
        return compare_digest((request.to_tag or "").encode(), self.tag(request).encode())

    def is_of_room(self, request: Request) -> bool:
        """Whether a request belongs to a dialog that an INVITE of a room to its client has begun.

        The To tag is then the Call-ID: it begins with a keyed hash of who was invited, who stands in From.
        """
        uri = request.from_.uri
        invited, gr = uri.address(), find(uri.params, "gr")
        with suppress(AddressError):  # no INVITE had such a To
            invited = device_address(invited, gr) if gr else invited
        named = (request.to_tag or "").encode()
        is_invited = compare_digest(named[:HASH_LENGTH], self._deliveries.recipient_id(invited))
        return is_invited and len(named) == OWN_TAG_LENGTH and named == request.call_id.encode()

    def knows(self, request: Request) -> bool:
        """Whether a request belongs to a session with its client, whoever has begun it."""
        return self.is_ours(request) or self.is_of_room(request)

    def room(self, request: Request, sender: str, domain: str) -> str:
        """The address of the room that an INVITE to the factory makes."""
        keyed = self._room.copy()
        _update(keyed, request.call_id, request.from_tag or "", sender)
        return f"{PREFIX}{keyed.hexdigest()}@{domain}"

    def digest(self, digest: str, room: str) -> str:
        """What recognises the part of a request that concerns this room, if there are several rooms."""
        keyed = self._room.copy()
        _update(keyed, digest, room)
        return keyed.hexdigest()


def _update(keyed: blake2s, *texts: str) -> None:
    for text in texts:
        keyed.update(text.encode(errors="surrogateescape") + b"\0")
