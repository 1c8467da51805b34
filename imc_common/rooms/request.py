"""A request of an edge to the workers: one entry of an in-stream.

As all values that are made for each message, these are dataclasses with an `__init__` of their own. It is
compiled. One that `dataclass` or `NamedTuple` generates is not, and takes eight times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import msgpack

from imc_common.bodies.usual_cpim import lengthened
from imc_common.errors import ImcError

RETRANSMISSION_SECONDS: Final = 64
"""For how long after a request was accepted a copy of it may still arrive.

A client retransmits a request for 64*T1 = 32 s (RFC 3261 §17.1.2.2). At the very end of that time a balancer
may begin to try the next edge, for another 32 s. Edges recognise what was accepted for as long; and a change
of `hash_size`, after which they could not, keeps them stopped for as long.
"""

_FLAT = (list, tuple)
_pack: Callable[[dict[str, Any]], bytes] = msgpack.Packer().pack
_unpack: Callable[[bytes], Any] = msgpack.unpackb


class EntryError(ImcError):
    """A stream entry cannot be read; says which field is wrong."""


@final
@dataclass(init=False, slots=True)
class RequestData:
    """The part of a request that scripts copy unread: what deliveries are made of.

    `call_id` is the request's Call-ID, `at` when an edge accepted it, in ms since the epoch. They are no
    fields of their own because each field of an entry costs Redis about half a microsecond per message.
    `expires_at` is in ms since the epoch, None if the message does not expire (RFC 3428 §7). `max_forwards`
    is what deliveries start with. `headers` are name and value of headers to copy into each delivery.

    `shortened` is a shorter form of the body (`imc_common.bodies.usual_cpim`), which is packed in its place;
    empty if it has none.
    """

    content_type: Final[str]
    body: Final[bytes]
    max_forwards: Final[int]
    display_name: Final[str]
    expires_at: Final[int | None]
    headers: Final[tuple[tuple[str, str], ...]]
    call_id: Final[str]
    at: Final[int]
    shortened: Final[bytes]

    def __init__(
        self,
        content_type: str = "text/plain",
        body: bytes = b"",
        *,
        max_forwards: int = 70,
        display_name: str = "",
        expires_at: int | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        call_id: str = "",
        at: int = 0,
        shortened: bytes = b"",
    ) -> None:
        self.content_type = content_type
        self.body = body
        self.max_forwards = max_forwards
        self.display_name = display_name
        self.expires_at = expires_at
        self.headers = headers
        self.call_id = call_id
        self.at = at
        self.shortened = shortened

    def pack(self) -> bytes:
        """The field `data` of an entry."""
        fields: dict[str, Any] = {"ct": self.content_type, "mf": self.max_forwards}
        if self.shortened:
            fields["short"] = self.shortened
        else:
            fields["body"] = self.body
        fields["name"] = self.display_name
        fields["id"], fields["at"] = self.call_id, self.at
        if self.expires_at is not None:
            fields["exp"] = self.expires_at
        if self.headers:
            fields["hdr"] = self.headers
        return _pack(fields)

    @classmethod
    def unpack(cls, data: bytes) -> RequestData:
        """The value of a packed `data`; the defaults if it is empty. Raises `EntryError`."""
        if not data:
            return RequestData()
        try:
            fields = _unpack(data)
            headers = fields.get("hdr")
            shortened = fields.get("short", b"")
            return RequestData(  # not cls: compiled, this is a direct call
                fields["ct"],
                lengthened(shortened) if shortened else fields["body"],
                max_forwards=fields["mf"],
                display_name=fields["name"],
                expires_at=fields.get("exp"),
                headers=tuple((name, value) for name, value in headers) if headers else (),
                call_id=fields["id"],
                at=fields["at"],
                shortened=shortened,
            )
        except (ValueError, KeyError, TypeError, AttributeError, msgpack.exceptions.UnpackException) as error:
            raise EntryError(f"field data cannot be read: {error!r}") from error


@final
@dataclass(init=False, slots=True)
class RoomRequest:
    """A request of a user, or the report of a delivery. A field that its type does not have is empty.

    `data` stays packed (`RequestData.pack`): workers do not read it. Only reports have `event` and `status`:
    what was delivered, and how it ended ("404", "408" for no response).

    `kept_ms` of a message that expires: for how many ms the room may keep it. 0: not at all; None: as long as
    it keeps others.

    `cpim`: the body is a CPIM message (RFC 3862), or an encrypted one that names its author in CPIM. So is
    that of a message with `message_id`, whose entry does not say so.

    `message_id` of a message that asks for receipts is the author's name for it (RFC 5438 §6.3). Of a
    `disposition`, a receipt of RFC 5438, it is a list of pairs, separated by spaces: a message's id, and
    where that message is in the room's history (``-``: not known). `detail` has for each in turn how it was
    received: ``delivered``, ``displayed`` or ``other``; of a typing notification ``idle`` if it says that.

    `device` is the sender's device (`imc_common.devices`), if the request names one. `dialog` is what an edge
    knows of the SIP dialog, as JSON: Redis keeps it for the next request of that dialog.
    """

    type: Final[str]
    sender: Final[str]
    room: Final[str]
    user: Final[str]
    role: Final[str]
    private: Final[bool]
    reason: Final[str]
    command: Final[str]
    detail: Final[str]
    data: Final[bytes]
    event: Final[str]
    status: Final[str]
    text: Final[str]
    kept_ms: Final[int | None]
    message_id: Final[str]
    cpim: Final[bool]
    device: Final[str]
    dialog: Final[str]

    def __init__(
        self,
        type: str,  # noqa: A002 # named as the field
        sender: str,
        room: str,
        *,
        user: str = "",
        role: str = "",
        private: bool = False,
        reason: str = "",
        command: str = "",
        detail: str = "",
        data: bytes = b"",
        event: str = "",
        status: str = "",
        text: str = "",
        kept_ms: int | None = None,
        message_id: str = "",
        cpim: bool = False,
        device: str = "",
        dialog: str = "",
    ) -> None:
        self.type = type
        self.sender = sender
        self.room = room
        self.user = user
        self.role = role
        self.private = private
        self.reason = reason
        self.command = command
        self.detail = detail
        self.data = data
        self.event = event
        self.status = status
        self.text = text
        self.kept_ms = kept_ms
        self.message_id = message_id
        self.cpim = cpim
        self.device = device
        self.dialog = dialog

    def to_fields(self) -> list[str | bytes]:  # noqa: C901, PLR0912 # one step for each field
        """Fields and values for the stream; empty ones are left out."""
        fields: list[str | bytes] = ["type", self.type, "from", self.sender, "room", self.room]
        if self.user:
            fields += ("user", self.user)
        if self.role:
            fields += ("role", self.role)
        if self.private:
            fields += ("private", "1")
        if self.reason:
            fields += ("reason", self.reason)
        if self.command:
            fields += ("command", self.command)
        if self.detail:
            fields += ("detail", self.detail)
        if self.text:
            fields += ("text", self.text)
        if self.event:
            fields += ("event", self.event)
        if self.status:
            fields += ("status", self.status)
        if self.kept_ms is not None:
            fields += ("kept_ms", str(self.kept_ms))
        if self.message_id:
            fields += ("message_id", self.message_id)
        if self.cpim and not (self.message_id and self.type == "message"):  # which is in CPIM anyway
            fields += ("cpim", "1")
        if self.device:
            fields += ("device", self.device)
        if self.dialog:
            fields += ("dialog", self.dialog)
        fields += ("data", self.data)
        return fields

    @classmethod
    def from_fields(cls, fields: Sequence[bytes] | Mapping[bytes, bytes]) -> RoomRequest:
        """The request of an entry, from the fields that Redis returns: flat or a mapping. Raises
        `EntryError`."""
        try:
            get = as_mapping(fields).get
            return cls(
                get(b"type", b"").decode(),
                get(b"from", b"").decode(),
                get(b"room", b"").decode(),
                user=value.decode() if (value := get(b"user")) else "",
                role=value.decode() if (value := get(b"role")) else "",
                private=get(b"private") == b"1",
                reason=value.decode() if (value := get(b"reason")) else "",
                command=value.decode() if (value := get(b"command")) else "",
                detail=value.decode() if (value := get(b"detail")) else "",
                data=get(b"data", b""),
                event=value.decode() if (value := get(b"event")) else "",
                status=value.decode() if (value := get(b"status")) else "",
                text=value.decode() if (value := get(b"text")) else "",
                kept_ms=int(value) if (value := get(b"kept_ms")) else None,
                message_id=value.decode() if (value := get(b"message_id")) else "",
                cpim=get(b"cpim") == b"1" or (get(b"message_id") is not None and get(b"type") == b"message"),
                device=value.decode() if (value := get(b"device")) else "",
                dialog=value.decode() if (value := get(b"dialog")) else "",
            )
        except ValueError as error:  # UnicodeDecodeError is one
            raise EntryError(f"a request's field cannot be read: {error}") from error


def as_mapping(fields: Sequence[bytes] | Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
    """Flat fields of an entry as a mapping; a mapping unchanged."""
    if isinstance(fields, _FLAT):  # first: the case of the hot path
        pairs = iter(fields)
        return dict(zip(pairs, pairs, strict=True))
    return fields  # type: ignore[return-value] # mypy cannot tell other sequences away


def call_id_of(fields: Sequence[bytes]) -> str:
    """The Call-ID in an entry's flat fields, for log lines; empty where there is none, whatever they are."""
    try:
        return RequestData.unpack(as_mapping(fields).get(b"data", b"")).call_id
    except Exception:  # it is called where errors are handled, and must not cause a further one
        return ""
