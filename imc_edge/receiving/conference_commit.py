"""What a request of a conference asks Redis, and the response that follows: for `conferences`.

One look into the room decides whether the sender belongs to it. Then the room request is accepted as that of
a MESSAGE is, and the response is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from imc_common import keys
from imc_common.keys import Keys
from imc_common.rooms.request import RequestData, RoomRequest
from imc_common.settings import Settings
from imc_common.sip.errors import SipError
from imc_common.sip.message import Request
from imc_common.store import Command, Store
from imc_edge.commit import GroupCommit
from imc_edge.conference.dialog import LIFETIME, record_routes
from imc_edge.conference.dialog_ids import DialogIds
from imc_edge.flow import Flow
from imc_edge.identifiers import Fingerprint
from imc_edge.identity.sender import Sender
from imc_edge.receiving.accept_pipeline import Accept
from imc_edge.receiving.budgets import Budgets, Excess, invitation_excess
from imc_edge.receiving.command_group import CommandGroup, ask, failed
from imc_edge.receiving.conference_rules import marks_of
from imc_edge.receiving.options import Capabilities
from imc_edge.receiving.responses import ACCEPTED, DUPLICATE, PendingResponse, Responses

ROLES: Final = frozenset((b"owner", b"admin", b"member"))
"""Replies of `lua/look_up_member.lua` for those who belong to a room."""
HIDDEN: Final = frozenset((b"unknown", b"private"))
"""Its replies for no room and for a private room of others, which must look alike."""
AGAIN: Final = b"again"
"""In place of a role: the request was accepted before, so it gets the response that it got then.

Its sender may have left meanwhile, by this very request.
"""
SEQUENCE_TTL_MS: Final = 24 * 3600 * 1000
"""How long it is known which CSeq a dialog has come to."""
OPENING_TTL_SECONDS: Final = 24 * 3600
"""How long it is known who makes a room, if no worker makes it."""

Send = Callable[[], None]


class Asked(NamedTuple):
    """A request, and what was found out about it. `target` is the room or the factory in the Request-URI.

    `dialog` is what we call its dialog.
    """

    request: Request
    flow: Flow
    fingerprint: Fingerprint
    sender: Sender
    target: str
    dialog: str


class ConferenceCommit:
    """Brings requests into Redis."""

    def __init__(  # the parts it connects
        self,
        settings: Settings,
        store: Store,
        commit: GroupCommit[Command | Accept],
        responses: Responses,
        budgets: Budgets,
        *,
        has_sent: Callable[[str], None],
        wall_clock: Callable[[], float],
    ) -> None:
        """``has_sent`` is told of each user who sends something. ``wall_clock`` counts from the epoch."""
        self._store = store
        self._commit = commit
        self._responses = responses
        self._budgets = budgets
        self._has_sent = has_sent
        self._wall_clock = wall_clock
        self._hash_size = settings.hash_size
        self._ids = DialogIds(store.secret)
        self.reload(settings)

    def reload(self, settings: Settings) -> None:
        """Go on with these settings."""
        self._names = Keys(settings.rooms_table, settings.members_table)
        self._max_owned = settings.max_rooms_per_owner
        capabilities = Capabilities(settings.accept_types, conferences=True)
        self._capabilities = [capabilities.allow, capabilities.supported, *capabilities.events]

    def room_request(self, kind: str, sender: Sender, room: str, request: Request) -> RoomRequest:
        """A room request of this type, with what every one has."""
        data = RequestData(
            display_name=sender.display_name,
            headers=marks_of(request),
            call_id=request.call_id,
            at=int(self._wall_clock() * 1000),
        )
        return RoomRequest(kind, sender.address, room, data=data.pack())

    async def count(self, asked: Asked, wanted: RoomRequest) -> None:
        """Count the request as a command of its sender (`budgets`). It comes before any question to Redis.

        Raises SipError for a sender who is over the limit, unless the request was accepted before.
        """
        excess = self._budgets.count(wanted)
        if isinstance(excess, Excess):
            await self._refuse(asked, wanted, excess)

    def count_signal(self, sender: Sender) -> None:
        """Count a request that the limit of commands must not hold back. Raises SipError for a flood."""
        if not self._budgets.allows_signal(sender.address):
            raise SipError(403, "Limit Exceeded", [("Retry-After", "1")])

    async def check_owned(self, sender: Sender) -> None:
        """Raises SipError for who owns as many rooms as one may.

        The worker counts, too, but its refusal comes after the 200: the app would show the room and lose it.
        """
        if not self._max_owned:
            return
        shards = range(1 << self._hash_size)
        counts = await self.ask([("SCARD", keys.owned_rooms(shard, sender.address)) for shard in shards])
        if sum(each for each in counts if isinstance(each, int)) >= self._max_owned:
            raise SipError(403, "Too Many Rooms Owned")

    async def charge(self, asked: Asked, wanted: RoomRequest, invited: Sequence[str]) -> None:
        """Charge an invitation of each of these users, or of none. Raises SipError as `count` does.

        For more users than a limit allows at once there is no Retry-After: no later attempt could succeed.
        """
        if self._budgets.are_too_many(invited):
            raise SipError(403, "Limit Exceeded")
        charge = self._budgets.invitations(wanted, invited, asked.fingerprint.digest)
        replies = await self.ask([charge]) if charge is not None else []
        excess = invitation_excess(replies[0]) if replies else None
        if excess is not None:
            await self._refuse(asked, wanted, excess)

    async def role(self, asked: Asked, otherwise: SipError | None = None) -> bytes:
        """The sender's role in the room, or `AGAIN`. ``otherwise``: the response to who has none.

        Without it, who asks for a private room gets the same as for one that does not exist. Raises SipError,
        also for a request that comes out of order.
        """
        look = self.look(asked.target, asked.sender.address)
        opening = self._opening(asked.target)
        # in this order: a worker that makes the room between the two deletes the key
        maker, reply, *known = await self.ask([("GET", opening), look, *self._questions(asked)])
        if _was_accepted(known):
            return AGAIN
        if reply in HIDDEN and maker == self._maker(asked.sender.address, asked.target):
            return b"owner"
        if reply is None or isinstance(reply, Exception):
            raise SipError(503, "Service Unavailable", [("Retry-After", "1")])
        if isinstance(reply, bytes) and reply in ROLES:
            return reply
        if otherwise is None:
            otherwise = SipError(403, "Not A Member") if reply == b"none" else SipError(404, "Not Found")
        raise otherwise

    async def check_order(self, asked: Asked, room: str) -> bool:
        """Whether a request about this room was accepted before. Raises SipError for one that was not, and is
        out of order in its dialog."""
        return _was_accepted(await self.ask(self._questions(asked, room)))

    async def check_referral(self, asked: Asked, wanted: RoomRequest) -> None:
        """Raises SipError for what an owner or admin may not do to this user."""
        names = self._names
        shard = keys.shard_of(wanted.room, self._hash_size)
        where = names.room(shard, wanted.room), names.members(shard, wanted.room)
        about = wanted.type, asked.sender.address, wanted.user, wanted.role
        (reply,) = await self.ask([self._store.script("check_referral", where, about)])
        if reply == b"forbidden":
            raise SipError(403, "Not Allowed For This User")

    async def changes_lifetime(self, asked: Asked) -> bool:
        """Whether a request wants another lifetime of messages than the room's, which no room can change.

        Linphone names the lifetime that it knows in every INVITE, so it is compared with the room's. Raises
        SipError.
        """
        wanted = dict(marks_of(asked.request)).get(LIFETIME)
        if wanted is None:
            return False
        key = self._names.room(keys.shard_of(asked.target, self._hash_size), asked.target)
        (reply,) = await self.ask([("HGET", key, "conference")])
        if isinstance(reply, Exception):
            raise SipError(503, "Service Unavailable", [("Retry-After", "1")])
        known = RequestData.unpack(reply).headers if reply else ()
        return dict(known).get(LIFETIME) != wanted

    def _questions(self, asked: Asked, room: str = "") -> list[Command]:
        """Ask whether the request was accepted before, and whether it has its place in its dialog."""
        find = self._find(asked, room or asked.target)
        if asked.request.to_tag is None and asked.request.method == "REFER":
            return [find]  # in no dialog, and it begins none (RFC 4488)
        # any shard, but the same for all its requests: the first one may have another Request-URI
        key = keys.sequence(keys.shard_of(asked.dialog, self._hash_size), asked.dialog)
        number = asked.request.cseq.number
        return [find, self._store.script("check_sequence", (key,), (number, SEQUENCE_TTL_MS))]

    def _find(self, asked: Asked, room: str) -> Command:
        shard = keys.shard_of(room, self._hash_size)
        return self._store.script("find_duplicate", keys.accepting(shard)[:2], (asked.fingerprint.digest,))

    def look(self, room: str, user: str) -> Command:
        """Asks for the user's role in a room."""
        shard, names = keys.shard_of(room, self._hash_size), self._names
        return self._store.script(
            "look_up_member", (names.room(shard, room), names.members(shard, room)), (user,)
        )

    def _opening(self, room: str) -> str:
        return keys.opening(keys.shard_of(room, self._hash_size), room)

    def _maker(self, user: str, room: str) -> bytes:
        """What Redis keeps of the user who makes a room."""
        return self._ids.digest(user, room).encode()

    def _preparation(self, wanted: RoomRequest) -> list[Command]:
        """What Redis has to know before a request is accepted.

        A client subscribes to its new room at once, perhaps before a worker has made it. Its requests then
        wait behind the one that makes the room.
        """
        if wanted.type != "open_conference":
            return []
        maker = self._maker(wanted.sender, wanted.room)
        return [("SET", self._opening(wanted.room), maker, "EX", OPENING_TTL_SECONDS)]

    async def submit(
        self, asked: Asked, wanted: RoomRequest, tag: str, status: int, headers: Sequence[tuple[str, str]]
    ) -> Send | None:
        """Send the response once Redis has the request. Returns what sends it again; None if it is a 503.

        ``tag`` is our To tag.
        """
        return await self.submit_all(asked, [(wanted, asked.fingerprint.digest)], tag, status, headers)

    async def submit_all(
        self,
        asked: Asked,
        wanted: Sequence[tuple[RoomRequest, str]],
        tag: str,
        status: int,
        headers: Sequence[tuple[str, str]],
    ) -> Send | None:
        """The same for one request that concerns several rooms; each room request with its digest."""
        tracer = self._responses.tracer
        if tracer.enabled:
            for each, _ in wanted:
                tracer.record("received", each.room, (each.sender,), asked.request.call_id, type=each.type)
        accepts = [
            Accept(keys.shard_of(each.room, self._hash_size), digest, each.to_fields())
            for each, digest in wanted
        ]
        before = [command for each, _ in wanted for command in self._preparation(each)]
        replies = await self.ask([*before, *accepts])
        is_accepted = all(isinstance(reply, bytes) and reply in ACCEPTED for reply in replies[len(before) :])
        if failed(replies) or not is_accepted:
            self.response(asked, tag).unavailable()
            return None
        self._has_sent(asked.sender.address)
        return self.answer(asked, tag, status, headers)

    def note(self, wanted: RoomRequest, digest: str) -> None:
        """Have a room request accepted for which nobody waits."""
        accept = Accept(keys.shard_of(wanted.room, self._hash_size), digest, wanted.to_fields())
        CommandGroup(self._commit.submit, [accept], _nothing)

    def tell(self, command: Command) -> None:
        """Send a command for whose reply nobody waits."""
        CommandGroup(self._commit.submit, [command], _nothing)

    def answer(
        self, asked: Asked, tag: str, status: int = 200, headers: Sequence[tuple[str, str]] = ()
    ) -> Send:
        """Send a response that makes or confirms a dialog. Returns what sends it again."""
        lines = [*record_routes(asked.request), *headers, *self._capabilities]
        send = partial(self.response(asked, tag).send, status, lines)
        send()
        return send

    def response(self, asked: Asked, tag: str) -> PendingResponse:
        """The response with this To tag, which is not sent yet."""
        return self._responses.to(asked.request, asked.flow, tag)

    async def ask(self, commands: Sequence[Command | Accept]) -> list[Any]:
        """The replies of Redis; None where too many commands wait, and errors in their places."""
        return await ask(self._commit.submit, commands)

    async def _refuse(self, asked: Asked, wanted: RoomRequest, excess: Excess) -> None:
        find = self._find(asked, wanted.room)
        if await self.ask([find]) != [DUPLICATE]:
            raise SipError(excess.status, "Limit Exceeded", [("Retry-After", str(excess.seconds))])


def _was_accepted(replies: Sequence[Any]) -> bool:
    """Whether a request was accepted before, by the replies to its questions. Raises SipError.

    RFC 3261 §12.2.2: a lower number is that of a request out of order, unless it is a retransmission, which a
    transaction answers with the former response (§17.2.2). If Redis does not reply, others say so.
    """
    find, *order = replies
    if find == DUPLICATE:
        return True
    if order == [b"lower"]:
        raise SipError(500, "CSeq Out Of Order")
    return False


def _nothing(replies: list[Any]) -> None:
    """Nobody waits for it."""
