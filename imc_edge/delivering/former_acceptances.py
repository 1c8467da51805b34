"""Which devices have accepted an INVITE that an edge before has sent, and their ACKs (RFC 3261 §13.2.2.4).

A device gets its ACK when Redis has the report of its 2xx. If the edge dies between these two, the device
would end its session after 32 s. So the edge that takes the event over sends the ACK. It does not send the
INVITE again: liblinphone would end the session that it has by BYE, and accept once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from imc_common import keys
from imc_common.keys import Keys
from imc_common.rooms.request import EntryError
from imc_common.store import Command, ReplyError
from imc_common.store.protocols import ScriptRunner
from imc_edge.conference.dialog import Dialog
from imc_edge.delivering.failure_log import log_fault
from imc_edge.delivering.made_dialog import MadeDialog
from imc_edge.identifiers import HASH_LENGTH

if TYPE_CHECKING:  # whose acceptances these are
    from imc_edge.delivering.invitation import Invitation
    from imc_edge.delivering.invitations import Invitations


class FormerAcceptances:
    """Those of the INVITEs that this edge has taken over."""

    def __init__(self, invitations: Invitations, store: ScriptRunner, names: Keys) -> None:
        self._invitations = invitations
        self._store = store
        self._names = names

    async def acknowledge(self, taken_over: Sequence[Invitation]) -> list[bool | None]:
        """For each of these INVITEs, whether a device has accepted it; None if that cannot be known yet.

        Sends the ACKs. Raises `StoreUnreachable`.
        """
        if not taken_over:
            return []
        replies = await self._store.run([self._question(each) for each in taken_over])
        return [self._guarded(*each) for each in zip(taken_over, replies, strict=True)]

    def _guarded(self, invitation: Invitation, reply: Any) -> bool | None:
        """An error of ours must not end more than this invitation."""
        try:
            return self._take(invitation, reply)
        except Exception as error:  # whatever it is
            log_fault(error, invitation.invited, invitation.event.call_id)
            return True

    def _question(self, invitation: Invitation) -> Command:
        event, (room, user) = invitation.event, invitation.place
        names = keys.events(event.shard), self._names.room(event.shard, room)
        return self._store.script("list_acceptances", names, (event.entry_id, room, user))

    def _take(self, invitation: Invitation, reply: Any) -> bool | None:
        if reply == b"unknown" or (isinstance(reply, ReplyError) and reply.transient):
            return None
        dialogs = reply if isinstance(reply, list) else []  # a key of a wrong type has none
        made = [dialog for text in dialogs if (dialog := self._made_by(invitation, text)) is not None]
        event, owner = invitation.event, self._invitations
        for dialog in made:
            session = MadeDialog(owner, event.room, invitation.invited, dialog, dialog.cseq)
            session.acknowledge()
            owner.acknowledged(session, event)
        return bool(made)

    def _made_by(self, invitation: Invitation, text: bytes) -> Dialog | None:
        """The dialog, if this INVITE has made it, or one of its event to a device that a proxy has named."""
        try:
            dialog = Dialog.parse(text.decode(errors="replace"))
        except EntryError:
            return None
        event = invitation.event
        event_id = self._invitations.delivery_ids.message_id(event.room, event.entry_id, 0).decode()
        return dialog if dialog.cseq and dialog.call_id[HASH_LENGTH:] == event_id else None
