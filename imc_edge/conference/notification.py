"""The headers and the body of a NOTIFY with the roster of a room (RFC 4575, RFC 6665, RFC 4662).

The script that counts the version writes what has changed as JSON, in the field `detail` of the event:
``full``, ``version``, ``subject``, ``created_at`` in ms, ``users``, and ``terminated``, the reason why the
subscription ends. A user is a list: address, role or ``deleted``, devices, and devices that are gone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from imc_common.bodies.conference_info import ConferenceInfo, RosterUser
from imc_common.bodies.essence import CONFERENCE_INFO, RLMI
from imc_common.bodies.multipart_related import multipart_related, related_part
from imc_common.bodies.rlmi import Resource, Rlmi
from imc_common.devices import request_uri
from imc_common.rooms.event import Event
from imc_common.rooms.request import EntryError
from imc_edge.conference.dialog import Dialog

_ADMINS: Final = frozenset(("owner", "admin"))
_DELETED: Final = "deleted"


class Notification(NamedTuple):
    """What a NOTIFY has beside the identifiers of its dialog."""

    headers: list[tuple[str, str]]
    body: bytes


def notification_of(event: Event, dialog: Dialog) -> Notification:
    """The notification of an event `notify`. Raises `EntryError`."""
    try:
        changes: dict[str, Any] = json.loads(event.detail)
        roster = _roster(event.room, changes)
        reason = str(changes.get("terminated") or "")
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise EntryError(f"a roster cannot be read: {error!r}") from error
    contact = f"<{dialog.scheme}:{event.room}>;isfocus"
    content_type, body = CONFERENCE_INFO, roster.to_bytes()
    headers = []
    if dialog.is_list:
        contact = f"<{dialog.local_uri}>;isfocus"
        content_type, body = _listed(event, dialog, roster, reason)
        headers.append(("Require", "eventlist"))
        reason = ""  # that of one room: the subscription to the others goes on
    left = dialog.expires_in
    if left <= 0:
        reason = reason or "timeout"
    state = f"terminated;reason={reason}" if reason else f"active;expires={left}"
    headers += [
        ("Contact", contact),
        # RFC 6665 §8.2.1: with the id of the SUBSCRIBE, by which the client knows the subscription
        ("Event", f"conference;id={dialog.event_id}" if dialog.event_id else "conference"),
        ("Subscription-State", state),
        ("Content-Type", content_type),
    ]
    return Notification(headers, body)


def _roster(room: str, changes: dict[str, Any]) -> ConferenceInfo:
    subject, created_at = changes.get("subject"), changes.get("created_at")
    is_full = bool(changes["full"])
    return ConferenceInfo(
        uri=f"sip:{room}",
        version=int(changes["version"]),
        is_full=is_full,
        # empty tables of Lua are objects in JSON
        users=tuple([_user(each) for each in changes.get("users") or ()]),
        subject=str(subject) if subject is not None else "" if is_full else None,
        created_at=int(created_at) // 1000 if created_at else None,
    )


def _user(given: Sequence[Any]) -> RosterUser:
    address, role = str(given[0]), str(given[1])
    if role == _DELETED:
        return RosterUser(f"sip:{address}", is_deleted=True)
    here, gone = (_uris(given[place]) if len(given) > place else () for place in (2, 3))
    return RosterUser(f"sip:{address}", role in _ADMINS, here, gone)


def _uris(devices: Sequence[Any]) -> tuple[str, ...]:
    return tuple([request_uri(str(each)) for each in devices])


def _listed(event: Event, dialog: Dialog, roster: ConferenceInfo, reason: str) -> tuple[str, bytes]:
    """Content-Type and body of a notification of one room in a list (RFC 4662).

    The rooms belong to different shards, and each comes alone when it changes. So no document has all of
    them, and the version is that of the room's roster. The instance keeps its id (§5.5).
    """
    content_id = event.room
    state = "terminated" if reason else "active"
    resource = Resource(f"sip:{event.room}", content_id, state, reason)
    rlmi = Rlmi(dialog.local_uri, (resource,), roster.version, is_full=False)
    parts = (
        related_part(RLMI, "rlmi", rlmi.to_bytes()),
        related_part(CONFERENCE_INFO, content_id, roster.to_bytes()),
    )
    return multipart_related(parts)
