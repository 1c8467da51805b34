"""Digest authentication of who sends (RFC 3261 §22, RFC 7616, RFC 8760).

No edge remembers a challenge: nonces are signed, and which nonce counts were used stands in Redis. What Redis
is asked for one request goes there together with what it is asked for others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Any, Protocol

import structlog

from imc_common import address, keys
from imc_common.rooms.request import RETRANSMISSION_SECONDS
from imc_common.settings import Settings
from imc_common.sip.auth import Authorization, Challenge
from imc_common.sip.digest import is_right
from imc_common.sip.errors import SipError
from imc_common.sip.message import Request
from imc_common.sip.uri import Uri
from imc_common.store import Command, Store
from imc_common.users import unpack
from imc_edge.commit import GroupCommit
from imc_edge.flow import Flow
from imc_edge.identifiers import Fingerprint
from imc_edge.identity.nonces import AHEAD, GRACE, NonceKeys, Nonces
from imc_edge.identity.sender import sender_of

MAX_WAITING = 10_000
FAILURES_MS = 300_000
"""How long failures are counted, from the first one on."""
RETRANSMISSION_MS = (RETRANSMISSION_SECONDS - 4) * 1000
"""How long after its first use a nonce count may be used again by the same request, accepted then or not. It
has to end before Redis forgets what was accepted, and an edge needs a moment to ask."""
_NOBODY = "0" * 64
"""Stands in for HA1 of a user who is not there, so that it takes as long to refuse them."""

_log = structlog.get_logger()


@dataclass(slots=True)
class Login:
    """One request whose sender says to have a password."""

    request: Request
    flow: Flow
    fingerprint: Fingerprint
    given: Authorization
    user: str
    """The address that the credentials are for."""
    age: float
    """Seconds since the nonce was made."""
    counter: str = ""
    """The key of the failures that count here."""
    use: str = ""
    """The key of the nonce count's use."""
    is_locked: bool = False
    is_over: bool = False
    """It was answered because Redis is away; nothing that still comes of it matters."""


class Outcome(Protocol):
    """What becomes of a request; none of these raises."""

    def proved(self, login: Login, *, is_late: bool) -> None:
        """The sender is who From says. ``is_late``: the request was taken before, or is not to be."""
        ...

    def refused(self, login: Login, error: SipError) -> None:
        """Answer with an error."""
        ...

    def unknown(self, login: Login) -> None:
        """Redis does not say."""
        ...


class Authenticator:
    """Challenges, and checks what answers them."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        nonce_keys: NonceKeys,
        outcome: Outcome,
    ) -> None:
        self._nonce_keys = nonce_keys
        self._outcome = outcome
        self.lookups: GroupCommit[Callable[[Any], None]] = GroupCommit(
            store, MAX_WAITING, lambda step, reply: step(reply), durable=False
        )
        """Its ``run()`` has to be kept running."""
        self.reload(settings)

    def reload(self, settings: Settings) -> None:
        """Go on with these settings."""
        self._algorithms = settings.digest_algorithms
        self._max_failures = settings.digest_max_failures
        self._nonces = Nonces(self._nonce_keys, settings.digest_nonce_ttl)

    def check(self, request: Request, flow: Flow, fingerprint: Fingerprint) -> None:
        """Find out whether the request is from whom From says; ``outcome`` hears of it.

        Raises SipError where that takes no look into Redis: 401 first of all, the same for every user, known
        or not.
        """
        realm = _realm_of(request)
        given = _choose(_credentials(request), realm)
        if given is None:
            raise self.challenge(realm, fingerprint)
        age = self._nonces.age(given.nonce, given.realm)
        user = _user_of(given)
        if age is None or given.algorithm not in self._algorithms or user is None:
            raise self.challenge(realm, fingerprint, stale=age is None)
        if not given.count and given.algorithm != "MD5":
            raise SipError(400, "Digest Without Qop")  # RFC 8760 §2.6; of MD5 there are older clients
        _check_uri(request, given.uri)
        self._look_up(Login(request, flow, fingerprint, given, user, age))

    def challenge(self, realm: str, fingerprint: Fingerprint, *, stale: bool = False) -> SipError:
        """The 401 with a challenge for each algorithm, the strongest first (RFC 8760 §2.4)."""
        nonce = self._nonces.make(realm, bytes.fromhex(fingerprint.tag))
        challenges = [
            Challenge(realm, nonce, algorithm, qop=True, stale=stale) for algorithm in self._algorithms
        ]
        return SipError(401, "Unauthorized", [("WWW-Authenticate", str(each)) for each in challenges])

    # --- the steps, each with what Redis said to the one before

    def _look_up(self, login: Login) -> None:
        shard = keys.user_shard(login.user)
        login.counter = keys.failures(shard, _hashed(login.user, login.flow.peer[0]))
        users = keys.users(shard)
        self._ask(login, ("GET", login.counter), self._with_failures)
        self._ask(login, ("HGET", users, login.user), self._with_user)

    def _with_failures(self, login: Login, reply: Any) -> None:
        login.is_locked = 0 < self._max_failures <= int(reply or 0)

    def _with_user(self, login: Login, reply: Any) -> None:
        known = unpack(reply) if reply else {}
        ha1 = known.get(login.given.algorithm, "")
        is_proved = is_right(login.given, ha1 or _NOBODY, login.request.method) and bool(ha1)
        if login.is_locked:
            self._outcome.refused(login, SipError(403, "Too Many Failures"))
        elif is_proved:
            self._with_password(login)
        else:
            self._ask(login, ("INCR", login.counter), self._with_count)
            self._ask(login, ("PEXPIRE", login.counter, FAILURES_MS, "NX"), _heard)

    def _with_count(self, login: Login, reply: Any) -> None:
        if reply == self._max_failures:
            _log.warning("too many wrong passwords", user=login.user, source=login.flow.peer[0])
        self._outcome.refused(login, self.challenge(_realm_of(login.request), login.fingerprint))

    def _with_password(self, login: Login) -> None:
        """The password is right; it must be the sender's own, and this use of the nonce the first one."""
        sender = sender_of(login.request).address
        if address.split(sender)[0] != address.split(login.user)[0] or address.domain(
            sender
        ) != address.domain(login.user):
            self._outcome.refused(login, SipError(403, "From Is Somebody Else"))
            return
        given, seen = login.given, login.fingerprint.seen
        use = keys.nonce_use(keys.user_shard(login.user), _hashed(login.user, given.nonce, given.count))
        login.use = use
        left = self._nonces.ttl - login.age
        if left < 0:  # good for what was taken while it lasted
            self._ask(login, ("GET", use), self._with_use)
            return
        milliseconds = int((left + GRACE + AHEAD) * 1000)
        value = f"{seen} {milliseconds}"
        self._ask(login, ("SET", use, value, "NX", "GET", "PX", milliseconds), self._with_first_use)

    def _with_first_use(self, login: Login, reply: Any) -> None:
        if reply is None:
            self._outcome.proved(login, is_late=False)
        else:
            self._with_use(login, reply)

    def _with_use(self, login: Login, reply: Any) -> None:
        """The nonce count was used: by this request, which is repeated then, or by another one."""
        seen, _, lifetime = (reply or b"").decode().partition(" ")
        if seen == login.fingerprint.seen:
            self._ask(login, ("PTTL", login.use), partial(self._with_time_left, lifetime=int(lifetime)))
        else:
            self._outcome.refused(login, self.stale(login))

    def _with_time_left(self, login: Login, reply: Any, *, lifetime: int) -> None:
        """The edge that noted the use may not have taken the request yet, or have died before it could.

        So it is taken here, and if that edge comes to it after all, both are one. How long ago the use was is
        told by Redis's clock alone.
        """
        self._outcome.proved(login, is_late=lifetime - reply >= RETRANSMISSION_MS)

    def stale(self, login: Login) -> SipError:
        """The 401 that says: the password is right, but do it again with this nonce."""
        return self.challenge(_realm_of(login.request), login.fingerprint, stale=True)

    def _ask(self, login: Login, command: Command, step: Callable[[Login, Any], None]) -> None:
        """Ask Redis, together with whoever else does; then go on with ``step``."""
        if login.is_over:
            return
        if not self.lookups.submit(command, partial(self._go_on, login, step)):
            self._give_up(login)

    def _go_on(self, login: Login, step: Callable[[Login, Any], None], reply: Any) -> None:
        if login.is_over:
            return
        if isinstance(reply, Exception):
            self._give_up(login)
            return
        try:
            step(login, reply)
        except Exception:
            _log.exception("a login could not be handled", user=login.user)
            self._give_up(login)

    def _give_up(self, login: Login) -> None:
        login.is_over = True
        self._outcome.unknown(login)


def _heard(login: Login, reply: Any) -> None:
    """Nothing follows."""


def _realm_of(request: Request) -> str:
    """The domain of who says to send: users of one domain share no passwords with those of another."""
    return address.domain(sender_of(request).address)


def _credentials(request: Request) -> list[Authorization]:
    """The digest credentials in a request. Raises SipError for malformed ones."""
    found = []
    for value in request.headers.get_all("Authorization"):
        if value[:7].lower() == "digest ":
            try:
                found.append(Authorization.parse(value))
            except ValueError:
                raise SipError(400, "Malformed Authorization header") from None
    return found


def _choose(credentials: list[Authorization], realm: str) -> Authorization | None:
    """Those for the sender's own domain, or, to be told that they are somebody else's, any."""
    own = [given for given in credentials if given.realm.lower() == realm]
    return next(iter(own or credentials), None)


def _user_of(given: Authorization) -> str | None:
    """The address that credentials are for: user name at realm; None if there can be no such user."""
    try:
        return f"{address.parse_user(given.username)}@{address.parse_host(given.realm)}"
    except address.AddressError:
        return None


def _check_uri(request: Request, given: str) -> None:
    """RFC 3261 §22.4 (RFC 7616 §3.4.6): credentials were made for one Request-URI. Parameters may differ."""
    try:
        same = Uri.parse(given).address() == request.target.address()
    except (ValueError, SipError):
        same = False
    if not same:
        raise SipError(400, "Digest URI Is Not The Request-URI")


def _hashed(*parts: str) -> str:
    """What users write makes keys neither long nor strange."""
    text = "\0".join(parts).encode(errors="surrogateescape")
    return blake2b(text, digest_size=16).hexdigest()
