"""What a request to the conference factory or a room must be like (RFC 4579, 4575, 5366, 5367).

All of it is pure: a request in, a value out, or a SipError with the response.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from imc_common.address import domain, split, without_case
from imc_common.bodies.encoding import TooLargeError
from imc_common.bodies.errors import BodyError
from imc_common.bodies.essence import RESOURCE_LISTS, essence
from imc_common.bodies.refer_to import Referral, ReferTo
from imc_common.bodies.resource_lists import MAX_SIZE, HiddenUsersError, listed_uris
from imc_common.rooms.commands import MAX_TEXT, topic_of
from imc_common.rooms.request import RoomRequest
from imc_common.rooms.room_rules import RoomRules
from imc_common.settings import Settings
from imc_common.sip.errors import SipError
from imc_common.sip.grammar import token
from imc_common.sip.message import Request
from imc_common.sip.number import decimal
from imc_common.sip.uri import Uri
from imc_edge.conference.dialog import MARKS, contact_of
from imc_edge.conference.sender_device import shows_group_chat
from imc_edge.identity.sender import usable_address
from imc_edge.receiving.message_rules import inflated
from imc_edge.receiving.options import ALLOW_EVENTS, CONFERENCE_OPTIONS

CONFERENCE_INFO: Final = "application/conference-info+xml"
_NOTIFIED: Final = frozenset((CONFERENCE_INFO, "application/*", "*/*"))
MAX_EXPIRES: Final = 3600
"""Seconds that a subscription lasts at most, and if the client names none (RFC 4575 §3.4)."""
MAX_VERSION: Final = 0x7FFF_FFFF
NO_SUBJECTS: Final = frozenset(("", "Media change"))
"""Subjects of clients whose users have deleted it. The second is what Linphone then sends."""
_MAX_MARK: Final = 64


class Wanted(NamedTuple):
    """One room of a SUBSCRIBE, and the last version of its roster that the client knows."""

    room: str
    version: int


class ConferenceRules:
    """The rules of one set of settings."""

    def __init__(self, settings: Settings) -> None:
        self._rooms = RoomRules(settings)
        self._max_members = settings.max_members
        self._ignores_case = not settings.case_sensitive_users
        factory = settings.conference_factory
        self._domain = settings.conference_domain
        self._factory = factory if settings.case_sensitive_users else without_case(factory)

    def target(self, request: Request) -> str:
        """The room or factory in the Request-URI. Raises SipError: 404 for an address that is neither."""
        uri = request.target
        address = self._address(uri)
        if not address or not self._rooms.serves(address):
            raise SipError(404, "Not Found")
        if not self.is_factory(address) and not self.is_room(address):
            raise SipError(404, "Not Found")
        return address

    def is_factory(self, address: str) -> bool:
        """Whether this is the address at which clients create rooms."""
        return split(address)[0] == self._factory

    def room_domain(self, factory: str) -> str:
        """The domain of rooms that are made at this address."""
        return self._domain or domain(factory)

    def is_room(self, address: str) -> bool:
        """Whether this can be a room."""
        return self._rooms.takes(address) and not self._rooms.is_command_address(address)

    def check(self, request: Request) -> None:
        """What holds for all methods."""
        # RFC 3261 §8.2.2.3
        required = [tag for tag in request.tokens("Require") if tag.lower() not in CONFERENCE_OPTIONS]
        if required:
            raise SipError(420, "Bad Extension", [("Unsupported", ", ".join(required))])
        if request.max_forwards == 0:
            raise SipError(483, "Too Many Hops")

    def invitees(self, request: Request, sender: str) -> list[str]:
        """The users that an INVITE to the factory lists, without the sender (RFC 5366).

        There is no media here: an INVITE with an offer is that of a telephone.
        """
        if not request.body:
            return []
        users = dict.fromkeys(map(self._user, self._list(request, status=488)))
        users.pop(sender, None)
        if self._max_members and len(users) >= self._max_members:
            raise SipError(403, "Too Many Members")
        return list(users)

    def rooms(self, request: Request, last_notify: Callable[[Uri], int]) -> list[Wanted]:
        """The rooms that a SUBSCRIBE to the factory lists (RFC 5367); those that cannot be rooms are left
        out."""
        found: dict[str, int] = {}
        for uri in self._list(request, status=415) if request.body else ():
            room = self._address(uri)
            if room and self.is_room(room):
                found.setdefault(room, last_notify(uri))
        return [Wanted(room, version) for room, version in found.items()]

    def referral(self, request: Request) -> RoomRequest:
        """What a REFER asks for (RFC 4579 §5.5), without room and sender."""
        values = request.headers.get_all("Refer-To")
        if len(values) != 1:
            raise SipError(400, "Not Exactly One Refer-To")
        try:
            asked = ReferTo.parse(values[0])
        except BodyError as error:
            raise SipError(400, str(error)) from None
        user = self._user(asked.uri)
        match asked.referral:
            case Referral.ADD:
                return RoomRequest("add", "", "", user=user)
            case Referral.REMOVE:
                return RoomRequest("remove", "", "", user=user)
            case Referral.MAKE_ADMIN:
                return RoomRequest("modify", "", "", user=user, role="admin")
        return RoomRequest("modify", "", "", user=user, role="member")

    def _list(self, request: Request, *, status: int) -> list[Uri]:
        """The URIs in a resource list. ``status`` of the refusal of a body of another type."""
        content_type = request.content_type
        if content_type is None or content_type.essence != RESOURCE_LISTS:
            reason = "Not Acceptable Here" if status == 488 else "Unsupported Media Type"
            raise SipError(status, reason, [("Accept", RESOURCE_LISTS)])
        # Not `max_body`: it is meant for messages, and a list of a hundred rooms is longer.
        document = inflated(request, MAX_SIZE)
        try:
            return listed_uris(document)
        except TooLargeError as too_large:
            raise SipError(413, str(too_large)) from None
        except HiddenUsersError as hidden:
            raise SipError(488, str(hidden)) from None
        except BodyError as malformed:
            raise SipError(400, str(malformed)) from None

    def _user(self, uri: Uri) -> str:
        user = self._address(uri)
        if not user or self._rooms.is_command_address(user) or self.is_factory(user):
            raise SipError(400, "Unusable Address Of A User")
        return user

    def _address(self, uri: Uri) -> str:
        """The canonical address; empty if there is none that deliveries could reach."""
        if not uri.is_sip or uri.user is None:
            return ""
        found = usable_address(uri.user, uri.host, uri.port)
        return without_case(found) if self._ignores_case else found


def subject_of(request: Request) -> str:
    """Subject (RFC 3261 §20.36) as the topic of a room, by the rules of `#topic`. Raises SipError."""
    topic = topic_of((request.headers.get("Subject") or "").strip())
    if topic is None:
        raise SipError(400, f"Subject Longer Than {MAX_TEXT} Characters Or Unreadable")
    return topic


def new_subject_of(request: Request) -> tuple[str, str]:
    """The subject to which an INVITE changes that of a room, and why it does not. One is empty, or both.

    The INVITE is accepted all the same: a refusal would leave the session as it is (RFC 3261 §14.1), but
    Linphone then shows a room that its user has left.
    """
    given = request.headers.get("Subject")
    if given is None:
        return "", ""
    subject = topic_of(given.strip())
    if subject is None:
        return "", f"A subject has at most {MAX_TEXT} characters, all of them readable"
    if subject in NO_SUBJECTS:
        return "", "A room keeps its subject"
    return subject, ""


def marks_of(request: Request) -> tuple[tuple[str, str], ...]:
    """Headers that say what a room is like."""
    found = [(name, request.headers.get(name)) for name in MARKS]
    return tuple([(name, value) for name, value in found if value and _is_mark(value)])


def _is_mark(value: str) -> bool:
    return len(value) <= _MAX_MARK and value.isascii() and value.isprintable()


def check_session(request: Request, *, is_factory: bool) -> None:
    """An INVITE is that of a client with group chat, not a telephone call. Raises SipError if it is one.

    The BYE of a session with a room means that its user leaves the room. So a caller who hangs up must not
    have got a session, whether the INVITE has an offer or asks for one (RFC 3264; RFC 3261 §13.3.1). An
    existing session goes on after this refusal (§14.2).
    """
    if request.body and is_factory:
        return  # it takes a list of users, and nothing else
    has_media = bool(request.body) and not _is_optional(request)
    if has_media or (request.to_tag is None and not is_group_chat(request)):
        raise SipError(488, "Not Acceptable Here", [("Warning", '304 imc "No media but text messages"')])


def is_group_chat(request: Request) -> bool:
    """Whether an INVITE says that it is for messages: ``text`` in Contact (RFC 3840), or as Linphone."""
    contact = contact_of(request)
    has_lists = "recipient-list-invite" in {tag.lower() for tag in request.tokens("Require")}
    return has_lists or shows_group_chat(contact) or any(name == "text" for name, _ in contact.params)


def _is_optional(request: Request) -> bool:
    """Whether a body may be ignored if it is not understood (RFC 3261 §20.11)."""
    disposition = (request.headers.get("Content-Disposition") or "").replace(" ", "").lower()
    return "handling=optional" in disposition.split(";")


def event_id_of(request: Request) -> str:
    """The id in Event, which each NOTIFY has to have (RFC 6665 §8.2.1); empty if there is none.

    Raises SipError for what we do not notify of: the one event package is that of RFC 4575 (RFC 6665 §4.2.1).
    """
    event, *given = (request.headers.get("Event") or "").split(";")
    if event.strip(" \t").lower() != ALLOW_EVENTS:
        raise SipError(489, "Bad Event", [("Allow-Events", ALLOW_EVENTS)])
    accepted = [essence(value) for value in request.tokens("Accept")]
    if accepted and not _NOTIFIED.intersection(accepted):
        raise SipError(406, "Not Acceptable", [("Accept", CONFERENCE_INFO)])
    for each in given:
        name, _, value = (part.strip(" \t") for part in each.partition("="))
        if name.lower() == "id":
            if not token(value) or len(value) > _MAX_MARK:
                raise SipError(400, "Malformed Event header")
            return value
    return ""


def expires_of(request: Request) -> int:
    """For how many seconds a SUBSCRIBE is granted (RFC 6665 §4.2.1.1)."""
    seconds = request.expires
    return MAX_EXPIRES if seconds is None else min(seconds, MAX_EXPIRES)


def last_version(request: Request) -> int:
    """Last-Notify-Version: the last version of the roster that the client knows; 0 if none."""
    return decimal(request.headers.get("Last-Notify-Version") or "", MAX_VERSION) or 0
