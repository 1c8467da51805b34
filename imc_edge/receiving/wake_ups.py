"""Signs that a user is there: what it sends, and its registrations. Both may start its catching up.

Redis has a list of the shards in which a user may have missed something (`imc_common.presence`). It is read
when the user registers, and when it sends something, but then at most once in `LOOK_AGAIN_SECONDS`, in the
pipeline in which the request is accepted.

When a registrar restarts, thousands of users register within a second. Their requests to the workers would
all stand before the messages of others. So they are paced, no faster than edges hand out anyway. Who waits is
still on the list in Redis, so nothing is lost with this process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from email.utils import formatdate
from itertools import islice
from typing import Any, Final

from imc_common.metrics import Metrics
from imc_common.presence import NO_REGISTRAR, announcement, look_up, note_away, shards_in, wake_up
from imc_common.settings import Settings
from imc_common.store import Command, ReplyError
from imc_edge.commit import Pending
from imc_edge.receiving.command_group import CommandGroup, failed
from imc_edge.receiving.recent import Recent
from imc_edge.receiving.registration import Registration
from imc_edge.receiving.responses import PendingResponse

LOOK_AGAIN_SECONDS: Final = 5
"""A user who goes on sending is looked up once in this time."""
MAX_KNOWN = 8192  # not Final, which mypyc would inline: tests lower it
"""At least so many senders are remembered; one who is forgotten is looked up again."""

TURN_SECONDS: Final = 0.05
MAX_PER_TURN: Final = 20
"""Registered users that are looked up in this time; further ones wait."""
MAX_WAITING: Final = 100_000
"""Users that wait; further ones are found by their next sign, or by probes."""
RETRY_SECONDS: Final = 1.0
"""Until Redis is asked again that has refused to write, as when its memory is full."""
MAX_PER_RETRY: Final = 400
"""Users for whom it is asked again in this time."""

Submit = Callable[[Command, Pending], bool]


class WakeUps:
    """Looks whether users have missed something, and has it handed out."""

    def __init__(
        self,
        settings: Settings,
        submit: Submit,
        metrics: Metrics,
        *,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        """``clock`` is monotonic, ``wall_clock`` counts from the epoch, both in seconds."""
        self._submit = submit
        self._clock = clock
        self._wall_clock = wall_clock
        self._shards = 1 << settings.hash_size
        self._looked_up = Recent(MAX_KNOWN)
        """Senders, by the second in which each was looked up."""
        self._waiting: dict[str, None] = {}
        """Registered users that are to be looked up, first come, first served."""
        self._refused: dict[str, set[int]] = {}
        """Users of whom Redis refuses to write for now in which shards they have missed something."""
        self._retry_at = 0.0
        self._left = MAX_PER_TURN
        """Look-ups of registered users that this turn has left."""
        self._used = asyncio.Event()
        self._returns = metrics.counters(
            "imc_returns", "Users with missed messages that came back, by what told the edge.", "by"
        )
        self._registers = metrics.counters(
            "imc_registers", "REGISTER requests of trusted peers, by what they say.", "meaning"
        )
        self.reload(settings)

    def reload(self, settings: Settings) -> None:
        """Go on with these settings."""
        self._enabled = settings.history_max_messages > 0

    def has_sent(self, user: str) -> None:
        """The user has sent something that is about to be accepted: what it missed follows."""
        if not self._enabled:
            return
        now = int(self._clock())
        last = self._looked_up.get(user)
        if last is None or now - last >= LOOK_AGAIN_SECONDS:
            self._looked_up.put(user, now)
            CommandGroup(self._submit, [look_up(user)], _LookedUp(self, user, "message"))

    def registered(self, registration: Registration, response: PendingResponse) -> None:
        """Respond to a REGISTER, once all edges were told; what the user missed follows."""
        self._registers[registration.meaning] += 1
        respond = _Responder(response, registration, self._wall_clock)
        user, is_online = registration.user, registration.meaning == "online"
        if registration.meaning == "query":
            respond([])
            return
        CommandGroup(self._submit, [announcement(user, online=is_online)], respond)
        if not is_online:
            self._waiting.pop(user, None)
        elif self._left and not self._waiting:
            self._look_up_registered(user)
        else:
            self._wait(user)

    async def run(self) -> None:
        """Look up users that wait, until cancelled."""
        while True:
            await self._used.wait()
            self._used.clear()
            await asyncio.sleep(TURN_SECONDS)
            self.turn()

    def turn(self) -> None:
        """Look up the next users that wait."""
        self._left = MAX_PER_TURN
        self._note_refused()
        while self._waiting and self._left:
            user = next(iter(self._waiting))
            del self._waiting[user]
            self._look_up_registered(user)

    def looked_up(self, user: str, reply: Any, by: str) -> None:
        """Wake up the shards in the reply to `look_up`."""
        if reply is None or isinstance(reply, Exception):
            self._look_up_again(user, by)
            return
        shards = shards_in(reply, self._shards)
        if not shards:
            return
        self._returns[by] += 1
        commands = wake_up(user, shards)
        if by != "register":  # then the edges were not told yet
            commands.append(announcement(user, online=True))
        CommandGroup(self._submit, commands, _Woken(self, user, shards))

    def _look_up_registered(self, user: str) -> None:
        self._left -= 1
        self._used.set()
        CommandGroup(self._submit, [look_up(user)], _LookedUp(self, user, "register"))

    def _look_up_again(self, user: str, by: str) -> None:
        """Redis is unreachable: look up a sender with its next message, a registered user in a while."""
        if by == "register":
            self._wait(user)
        else:
            self._looked_up.put(user, int(self._clock()) - LOOK_AGAIN_SECONDS)

    def _wait(self, user: str) -> None:
        if len(self._waiting) < MAX_WAITING:
            self._waiting[user] = None
            self._used.set()

    def wake_up_failed(self, user: str, shards: Sequence[int], *, again: bool) -> None:
        """Some of the requests are not in Redis: have the user found again by its next sign.

        ``again``: look it up again, too, once Redis accepts writes.
        """
        self._looked_up.put(user, int(self._clock()) - LOOK_AGAIN_SECONDS)
        CommandGroup(self._submit, [note_away(user, shards)], _NotedAway(self, user, shards, again=again))

    def noted(self, user: str, shards: Sequence[int], replies: list[Any], *, again: bool) -> None:
        """Redis was to write that the user has missed something in these shards."""
        if _is_refused_for_now(replies):
            if len(self._refused) < MAX_WAITING:
                self._refused.setdefault(user, set()).update(shards)
            self._used.set()
        elif again:
            self._wait(user)

    def _note_refused(self) -> None:
        """Try again what Redis has refused to write, from time to time."""
        if not self._refused:
            return
        self._used.set()
        if self._clock() < self._retry_at:
            return
        self._retry_at = self._clock() + RETRY_SECONDS
        for user in list(islice(self._refused, MAX_PER_RETRY)):
            shards = sorted(self._refused.pop(user))
            CommandGroup(self._submit, [note_away(user, shards)], _NotedAway(self, user, shards, again=True))


def _is_refused_for_now(replies: list[Any]) -> bool:
    """Whether a command failed that may succeed later: Redis is unreachable, full, or read-only."""
    return any(
        reply is None
        or (isinstance(reply, Exception) and not (isinstance(reply, ReplyError) and not reply.transient))
        for reply in replies
    )


class _LookedUp:
    """A user was looked up, because of what it sent or because it has registered."""

    __slots__ = ("_by", "_user", "_wake_ups")

    def __init__(self, wake_ups: WakeUps, user: str, by: str) -> None:
        self._wake_ups = wake_ups
        self._user = user
        self._by = by

    def __call__(self, replies: list[Any]) -> None:
        self._wake_ups.looked_up(self._user, replies[0], self._by)


class _Woken:
    """The shards of a user were told."""

    __slots__ = ("_shards", "_user", "_wake_ups")

    def __init__(self, wake_ups: WakeUps, user: str, shards: Sequence[int]) -> None:
        self._wake_ups = wake_ups
        self._user = user
        self._shards = shards

    def __call__(self, replies: list[Any]) -> None:
        if failed(replies):
            self._wake_ups.wake_up_failed(self._user, self._shards, again=_is_refused_for_now(replies))


class _NotedAway:
    """What a user has missed was noted again."""

    __slots__ = ("_again", "_shards", "_user", "_wake_ups")

    def __init__(self, wake_ups: WakeUps, user: str, shards: Sequence[int], *, again: bool) -> None:
        self._wake_ups = wake_ups
        self._user = user
        self._shards = shards
        self._again = again

    def __call__(self, replies: list[Any]) -> None:
        self._wake_ups.noted(self._user, self._shards, replies, again=self._again)


class _Responder:
    """The response to a REGISTER: 200 when all edges were told, 503 if Redis is unreachable."""

    __slots__ = ("_registration", "_response", "_wall_clock")

    def __init__(
        self, response: PendingResponse, registration: Registration, wall_clock: Callable[[], float]
    ) -> None:
        self._response = response
        self._registration = registration
        self._wall_clock = wall_clock

    def __call__(self, replies: list[Any]) -> None:
        if failed(replies):
            self._response.unavailable()
            return
        # RFC 3261 §10.3: the contacts, each with its expiry, and Date
        headers = [("Contact", contact) for contact in self._registration.contacts]
        headers.append(("Warning", NO_REGISTRAR))
        self._response.send(200, [*headers, ("Date", formatdate(self._wall_clock(), usegmt=True))])
