"""Wrong passwords, counted in Redis for all edges. Guessing is slowed down, and nobody is locked out.

There are two counters: of a user at one source, and of a user at all sources. Past its limit, only one
attempt is verified per delay, and the delay doubles with each wrong password. This does not apply to clients
that have sent the right password before, as with the device cookies of OWASP:

- a client that used its nonce successfully before: it has a counter of its own;
- for the second counter, a source from which the user was authenticated within 30 days.

So someone behind the same proxy cannot stop a client that is in use, and someone elsewhere stops nobody.
"""

from __future__ import annotations

import math
from hashlib import blake2b
from typing import Final, NamedTuple

import structlog

from imc_common import keys
from imc_common.sip.auth import Authorization
from imc_common.sip.errors import SipError
from imc_common.store import Command, ReplyError
from imc_edge.identity.lookups import ask

COUNTED_MS: Final = 900_000
"""How long wrong passwords are counted after the last one. Longer than the longest delay."""
FIRST_DELAY_MS: Final = 1000
MAX_DELAY_MS: Final = 300_000
SOURCES: Final = 10
"""The limit for all sources together is so many times `digest_max_failures`."""
KNOWN_MS: Final = 30 * 24 * 3600 * 1000
"""How long a source of a user is known."""
MAX_KNOWN: Final = 8192
"""Sources of users that this edge has written to Redis. If there are more, all are forgotten."""

_log = structlog.get_logger()


class Attempt(NamedTuple):
    """Who wants to be authenticated as whom."""

    user: str
    source: str
    given: Authorization

    @property
    def shard(self) -> str:
        """The hash tag of the user's keys."""
        return keys.user_shard(self.user)

    def at_source(self) -> str:
        """Counter of wrong passwords for the user from this source."""
        return keys.failures(self.shard, hashed(self.user, self.source))

    def at_all_sources(self) -> str:
        """Counter of wrong passwords for the user."""
        return keys.failures(self.shard, hashed(self.user))

    def with_nonce(self) -> str:
        """Counter of wrong passwords for the user with a nonce that was used with the right one."""
        return keys.failures(self.shard, hashed(self.user, self.given.nonce, "nonce"))

    def use(self, count: int) -> str:
        """The use of one nonce count."""
        return keys.nonce_use(self.shard, hashed(self.user, self.given.nonce, f"{count:08x}"))


class Guesses:
    """The limits of wrong passwords."""

    def __init__(self, max_failures: int) -> None:
        """``max_failures``: from one source without a delay; 0: no limit."""
        self._max = max_failures
        self._known: set[tuple[str, str]] = set()

    async def check(self, attempt: Attempt, at_source: bytes | None, at_all_sources: bytes | None) -> str:
        """Raise SipError (403) if an attempt must not be verified now, by the values of both counters.

        Returns the further counter that a wrong password counts in; empty if there is none.
        """
        if not self._max:
            return ""
        here = _delay_ms(_number(at_source) - self._max)
        everywhere = _delay_ms(_number(at_all_sources) - self._max * SOURCES)
        if not here and not everywhere:
            return ""

        # The previous count, or this one for a retransmission, was used: the client knew the password then.
        # Only so many guesses, so that one who reads along gains nothing by a nonce that is not theirs.
        counter = attempt.with_nonce()
        known = keys.known_source(attempt.shard, hashed(attempt.user, attempt.source))
        count = int(attempt.given.count or "0", 16)
        uses = ("EXISTS", attempt.use(count - 1), attempt.use(count)) if count else ("EXISTS", attempt.use(0))
        used, failures, is_known = await ask(uses, ("GET", counter), ("EXISTS", known))
        if used and _number(failures) < self._max:
            return counter

        turns = [(attempt.at_source(), here), (attempt.at_all_sources(), 0 if is_known else everywhere)]
        for limited, delay in turns:
            if delay:
                await _take_turn(limited, delay)
        return ""

    async def count(self, attempt: Attempt, further: str) -> None:
        """Count a wrong password; ``further``: what `check` returned. The log has an alarm at each limit."""
        counters = [attempt.at_source(), attempt.at_all_sources(), *filter(None, [further])]
        commands: list[Command] = []
        for counter in counters:
            commands += (("INCR", counter), ("PEXPIRE", counter, COUNTED_MS))
        here, _, everywhere, *_ = await ask(*commands)
        if here == self._max:
            _log.warning("too many wrong passwords", user=attempt.user, source=attempt.source)
        times, rest = divmod(everywhere, self._max * SOURCES) if self._max else (0, 1)
        if not rest and times & (times - 1) == 0:  # at the limit, twice the limit, four times, …
            _log.error("passwords are guessed", user=attempt.user, failures=everywhere, source=attempt.source)

    def succeeded(self, attempt: Attempt) -> list[Command]:
        """What to write after a right password, with the next commands: most often nothing."""
        name = (attempt.user, attempt.source)
        if name in self._known:
            return []
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known.add(name)
        return [("SET", keys.known_source(attempt.shard, hashed(*name)), "1", "PX", KNOWN_MS)]


async def _take_turn(counter: str, delay: int) -> None:
    """One attempt per delay: exactly one, however many arrive at all edges at the same moment."""
    (is_mine,) = await ask(("SET", keys.turn(counter), "1", "NX", "PX", delay))
    if is_mine is None:
        raise SipError(403, "Too Many Failures", [("Retry-After", str(math.ceil(delay / 1000)))])


def _delay_ms(over: int) -> int:
    return 0 if over < 0 else int(min(FIRST_DELAY_MS << min(over, 20), MAX_DELAY_MS))


def _number(reply: bytes | None) -> int:
    """The count in a counter of failures. Raises ReplyError if somebody wrote something else there."""
    try:
        return int(reply or 0)
    except ValueError:
        raise ReplyError(f"WRONGTYPE a failure counter holds {reply!r}") from None


def hashed(*parts: str) -> str:
    """A key's part made of what users write: of fixed length, without strange characters."""
    return blake2b(length_prefixed(*parts), digest_size=16).hexdigest()


def length_prefixed(*parts: str) -> bytes:
    """Each with its length before it, so that no part can pass for two."""
    return "".join([f"{len(part)}:{part}" for part in parts]).encode(errors="surrogateescape")
