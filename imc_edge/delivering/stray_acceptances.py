"""A 2xx to an INVITE whose transaction this process does not have (RFC 3261 §13.2.2.4).

An INVITE to a user may be forked. The first device that accepts ends the event. If the edge dies then, or
loses the shard, no other one sends the INVITE again, and nobody waits for the other devices. Each of them
repeats its 200 for 32 s (§13.3.1.4). An edge that gets one, as after a restart at the same address,
acknowledges it and has the device let in. If the invitation does not count any more, the device gets no ACK,
and ends the session by itself. It gets no BYE: what Redis replies may be from before a failover, and the next
copy is looked at anew.

Who sends such a response is nobody that we trust. But its Call-ID is a keyed hash of the one who was invited,
so nobody can make one that was never invited.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from imc_common import keys
from imc_common.address import AddressError
from imc_common.devices import device_address, user_of
from imc_common.keys import Keys
from imc_common.rooms.event import INVITE, Event
from imc_common.rooms.request import EntryError
from imc_common.rooms.roles import INVITED
from imc_common.sip.errors import SipError
from imc_common.sip.message import Response
from imc_common.sip.parse import parse_message
from imc_common.store import Command, StoreUnreachable
from imc_common.store.protocols import ScriptRunner
from imc_edge.conference.dialog import Dialog
from imc_edge.delivering.absence import parse
from imc_edge.delivering.acceptance import acceptance, accepted_by
from imc_edge.delivering.made_dialog import MadeDialog
from imc_edge.delivering.transaction_states import T2
from imc_edge.identifiers import HASH_LENGTH

if TYPE_CHECKING:  # whose acceptances these are
    from imc_edge.delivering.invitations import Invitations

MAX_WAITING: Final = 256
"""Responses that wait for Redis; further ones come again."""


class _Stray(NamedTuple):
    room: str
    to: str
    """The user or device that was invited."""
    device: str
    """The one that has accepted; empty for a client that is no group chat."""
    dialog: Dialog
    number: int


class StrayAcceptances:
    """Those of this edge. Its `run` has to be kept running."""

    def __init__(self, invitations: Invitations, store: ScriptRunner, names: Keys, *, hash_size: int) -> None:
        self._invitations = invitations
        self._store = store
        self._names = names
        self._hash_size = hash_size
        self._waiting: deque[_Stray] = deque()
        self._wake = asyncio.Event()
        self._known: dict[tuple[str, str], MadeDialog] = {}
        """The last of those that got an ACK, by Call-ID and tag: each copy of their 2xx gets one."""

    def receive(self, data: bytes) -> bool:
        """Take a response, if it is a 2xx to an INVITE of ours."""
        if not data.startswith(b"SIP/2.0 2"):
            return False
        try:
            response = parse_message(data)
        except SipError:
            return False
        return isinstance(response, Response) and self.take(response)

    def take(self, response: Response) -> bool:
        """The same for a 2xx that was read."""
        if len(self._waiting) >= MAX_WAITING:
            return False
        try:
            stray = self._stray(response)
        except (SipError, AddressError):
            return False
        if stray is None:
            return False
        known = self._known.get((stray.dialog.call_id, stray.dialog.remote_tag))
        if known is not None and known.is_acknowledged:
            known.acknowledge()
            return True
        self._waiting.append(stray)
        self._wake.set()
        return True

    def _stray(self, response: Response) -> _Stray | None:
        """What the response says; None if it is none of ours. Raises SipError and AddressError."""
        uri = response.to.uri
        to = uri.address()
        gr = next((value for name, value in uri.params if name == "gr"), None)
        if gr:
            to = device_address(to, gr)
        invited = self._invitations.delivery_ids.recipient_id(to).decode()
        call_id, vias = response.call_id, response.vias
        is_ours = call_id.startswith(invited) and call_id == response.from_tag
        is_ours = is_ours and len(vias) == 1 and (vias[0].branch or "").startswith(f"z9hG4bK{call_id}")
        if response.cseq.method != "INVITE" or not is_ours:
            return None
        dialog, device, number = accepted_by(response, user_of(to))
        return _Stray(response.from_.uri.address(), to, device, dialog, number)

    async def run(self) -> None:
        """Acknowledge until cancelled."""
        while True:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
            some = list(self._waiting)
            self._waiting.clear()
            try:
                replies = await self._store.run([each for one in some for each in self._questions(one)])
            except StoreUnreachable:
                continue  # they come again
            for at, stray in enumerate(some):
                self._take(stray, *replies[2 * at : 2 * at + 2])

    def _questions(self, stray: _Stray) -> list[Command]:
        """Ask for the member, the invitations that may be this one, and the dialogs of the device."""
        shard, user = keys.shard_of(stray.room, self._hash_size), user_of(stray.to)
        fields = [f"invitation:{stray.to}", f"invitation:{user}", f"joined:{user}"]
        fields += [f"dialog:{stray.device}", f"dialog:{stray.device};aor"]
        return [
            ("HGET", self._names.members(shard, stray.room), user),
            ("HMGET", self._names.room(shard, stray.room), *fields),
        ]

    def _take(self, stray: _Stray, value: Any, about: Any) -> None:
        """Acknowledge it if the room has its session, report it if its invitation counts, or end it.

        ``value`` and ``about`` are the replies to `_questions`.
        """
        if isinstance(value, Exception) or isinstance(about, Exception):
            return
        made = MadeDialog(self._invitations, stray.room, stray.to, stray.dialog, stray.number)
        *invitations, joined, own, by_aor = about
        entry = self._entry_of(stray, invitations)
        shard = keys.shard_of(stray.room, self._hash_size)
        event = Event(entry, shard, INVITE, stray.room, (stray.to,), actor=stray.room)
        acknowledge = partial(self._acknowledge, made, event)
        is_of_stay = entry and (joined is None or parse(entry) >= parse(joined.decode()))
        if any(_is_dialog(stray.dialog, each) for each in (own, by_aor)):
            acknowledge()
        elif is_of_stay and value not in {None, INVITED.encode()} and stray.device:
            clock = self._invitations.context.clock
            came_at = clock()
            self._invitations.report(
                acceptance(
                    event,
                    stray.to,
                    stray.device,
                    stray.dialog,
                    ids=self._invitations.delivery_ids,
                    came_at=came_at,
                    done=acknowledge,
                    too_late=_nothing,
                    # by then, its device may have accepted another INVITE; if not, it has repeated its 2xx
                    is_abandoned=lambda: clock() > came_at + T2,
                )
            )
        elif not stray.device:  # a telephone, which would go on
            made.end()

    def _entry_of(self, stray: _Stray, invitations: Sequence[bytes | None]) -> str:
        """The event of its INVITE, from which its Call-ID was made: one of these, or else empty."""
        ids, event_id = self._invitations.delivery_ids, stray.dialog.call_id[HASH_LENGTH:].encode()
        entries = (each.decode() for each in invitations if each is not None)
        return next((entry for entry in entries if ids.message_id(stray.room, entry, 0) == event_id), "")

    def _acknowledge(self, made: MadeDialog, event: Event) -> None:
        """Redis has the session: its 2xx gets an ACK now, and so does each further copy."""
        if len(self._known) >= MAX_WAITING:
            del self._known[next(iter(self._known))]
        self._known[made.dialog.call_id, made.dialog.remote_tag] = made
        made.acknowledge()
        self._invitations.acknowledged(made, event)


def _is_dialog(dialog: Dialog, kept: Any) -> bool:
    """Whether this is the dialog that the room keeps."""
    if kept is None:
        return False
    try:
        known = Dialog.parse(kept.decode(errors="replace"))
    except EntryError:
        return False
    return (known.call_id, known.remote_tag) == (dialog.call_id, dialog.remote_tag)


def _nothing() -> None:
    """The event was settled before, and the session has ended."""
