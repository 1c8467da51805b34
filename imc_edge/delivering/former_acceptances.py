"""Which devices have accepted an INVITE that an edge before has sent, and their ACKs (RFC 3261 §13.2.2.4).

A device gets its ACK when Redis has the report of its 2xx. If the edge dies between these two, the device
would end its session after 32 s. So the edge that takes the event over sends the ACK, several times: it does
not hear whether one arrives. It does not send the INVITE again: liblinphone would end the session that it has
by BYE, and accept once more.

If a proxy had named the devices of a user, the others may not have been invited. So the proxy is asked
again, and only those are invited. If a proxy had forked the INVITE, it would reach the same devices again.
Then those that have not accepted are invited when they register.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from imc_common import keys
from imc_common.devices import is_device, user_of
from imc_common.keys import Keys
from imc_common.rooms.request import EntryError
from imc_common.sip.uri import Uri
from imc_common.store import Command, ReplyError
from imc_common.store.protocols import ScriptRunner
from imc_edge.conference.dialog import Dialog
from imc_edge.delivering.acceptance import device_of
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
        """For each of these INVITEs, whether it must not be sent again; None if that cannot be known yet.

        Sends the ACKs, and tells the outcome of the event which devices have accepted. Raises
        `StoreUnreachable`.
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
            owner.acknowledge_unheard(session, event)
        if not is_device(invitation.invited):
            invitation.outcome.accepted_before(
                device
                for dialog in made
                if not self._is_of(invitation.invited, dialog)
                and (device := device_of(Uri.parse(dialog.target), user_of(invitation.invited)))
            )
        return any(self._is_of(invitation.recipient, dialog) for dialog in made)

    def _made_by(self, invitation: Invitation, text: bytes) -> Dialog | None:
        """The dialog, if this INVITE has made it, or one of its event to a device that a proxy has named."""
        try:
            dialog = Dialog.parse(text.decode(errors="replace"))
        except EntryError:
            return None
        event = invitation.event
        event_id = self._invitations.delivery_ids.message_id(event.room, event.entry_id, 0).decode()
        is_of_event = dialog.cseq and dialog.call_id[HASH_LENGTH:] == event_id
        is_meant = invitation.recipient == invitation.invited or self._is_of(invitation.recipient, dialog)
        return dialog if is_of_event and is_meant else None

    def _is_of(self, recipient: str, dialog: Dialog) -> bool:
        """Whether an INVITE to this user or device has made the dialog."""
        return dialog.call_id.startswith(self._invitations.delivery_ids.recipient_id(recipient).decode())
