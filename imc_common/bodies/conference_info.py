"""The roster of a room (RFC 4575), as Linphone reads it: ``application/conference-info+xml``.

A full document has the whole room, a partial one what has changed since the version before. Linphone shows
`created_at`, which stands in ``free-text``, as the time of the room's creation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from imc_common.bodies.errors import BodyError
from imc_common.bodies.xml import Element, elements_of, quoted

_NAMESPACE: Final = "urn:ietf:params:xml:ns:conference-info"
_MAX_ELEMENTS: Final = 65_536
_ADMIN: Final = "admin"


class RosterUser(NamedTuple):
    """One member with the URIs of its devices, or a user who is not a member any more.

    `gone_devices` are named in a partial document only.
    """

    uri: str
    is_admin: bool = False
    devices: tuple[str, ...] = ()
    gone_devices: tuple[str, ...] = ()
    is_deleted: bool = False

    def to_xml(self) -> str:
        """The element ``user``. All that the room knows of the user is in it, so its state is full."""
        if self.is_deleted:
            return f'<user entity="{quoted(self.uri)}" state="deleted"/>'
        role = _ADMIN if self.is_admin else "participant"
        endpoints = [
            f'<endpoint entity="{quoted(each)}" state="full"><status>connected</status></endpoint>'
            for each in self.devices
        ]
        endpoints += [f'<endpoint entity="{quoted(each)}" state="deleted"/>' for each in self.gone_devices]
        return (
            f'<user entity="{quoted(self.uri)}" state="full"><roles><entry>{role}</entry></roles>'
            f"{''.join(endpoints)}</user>"
        )


class ConferenceInfo(NamedTuple):
    """One version of a room's roster, or what changed with it.

    `subject` is None in a partial document if it has not changed. `created_at` is in seconds since 1970.
    """

    uri: str
    version: int
    is_full: bool
    users: tuple[RosterUser, ...] = ()
    subject: str | None = None
    created_at: int | None = None

    @classmethod
    def parse(cls, document: bytes) -> ConferenceInfo:
        """Raises `BodyError`. Only clients read such documents: tests do so for them."""
        elements = elements_of(document, _MAX_ELEMENTS)
        root = elements[-1]  # the root ends last
        version, state = root.attributes.get("version", ""), root.attributes.get("state", "full")
        if (root.namespace, root.name) != (_NAMESPACE, "conference-info") or not version.isdigit():
            raise BodyError("Not A Conference-Info Document")
        subjects = [each.text for each in elements if each.name == "subject"]
        created = [each.text for each in elements if each.name == "free-text"]
        return cls(
            root.attributes.get("entity", ""),
            int(version),
            state == "full",
            tuple(_users(elements)),
            subjects[0] if subjects else None,
            int(created[0]) if created and created[0].isdigit() else None,
        )

    def to_bytes(self) -> bytes:
        """The document in UTF-8."""
        state = "full" if self.is_full else "partial"
        subject = "" if self.subject is None else f"<subject>{quoted(self.subject)}</subject>"
        created = "" if self.created_at is None else f"<free-text>{self.created_at}</free-text>"
        described = subject + created
        if described:
            described = f"<conference-description>{described}</conference-description>"
        users = "".join([each.to_xml() for each in self.users])
        if users or self.is_full:
            users = f'<users state="{state}">{users}</users>'
        return (
            f'<?xml version="1.0" encoding="UTF-8"?><conference-info xmlns="{_NAMESPACE}" '
            f'entity="{quoted(self.uri)}" state="{state}" version="{self.version}">'
            f"{described}{users}</conference-info>"
        ).encode()


def _users(elements: list[Element]) -> Iterator[RosterUser]:
    role = ""
    here: list[str] = []
    gone: list[str] = []
    for each in elements:  # a user ends after all that is in it
        entity, is_deleted = each.attributes.get("entity", ""), each.attributes.get("state") == "deleted"
        if each.name == "entry" and each.depth == 4:
            role = each.text
        elif each.name == "endpoint":
            (gone if is_deleted else here).append(entity)
        elif each.name == "user":
            yield RosterUser(entity, role == _ADMIN, tuple(here), tuple(gone), is_deleted)
            role = ""
            here.clear()
            gone.clear()
