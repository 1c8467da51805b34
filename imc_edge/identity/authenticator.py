"""Digest authentication of the sender (RFC 3261 §22, RFC 7616, RFC 8760).

No edge remembers a challenge: nonces are signed, and Redis knows which nonce counts have been used.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b
from typing import Final, NamedTuple

from imc_common import address, keys
from imc_common.address import without_case, without_port
from imc_common.rooms.request import RETRANSMISSION_SECONDS
from imc_common.settings import Settings
from imc_common.sip.auth import Authorization, Challenge
from imc_common.sip.digest import is_right
from imc_common.sip.errors import SipError
from imc_common.sip.message import Request
from imc_common.sip.uri import Uri
from imc_common.store import Store
from imc_common.users import unpack
from imc_edge.conference.dialog import MARKS
from imc_edge.identifiers import Fingerprint
from imc_edge.identity.guesses import Attempt, Guesses, hashed, length_prefixed
from imc_edge.identity.lookups import Lookups, ask
from imc_edge.identity.nonces import GRACE_SECONDS, MAX_AHEAD_SECONDS, NonceKeys, Nonces
from imc_edge.identity.sender import sender_of

RETRANSMISSION_MS: Final = (RETRANSMISSION_SECONDS - 4) * 1000
"""How long after its first use a nonce count may be used again by the same request, accepted then or not. It
has to end before Redis forgets what was accepted, and an edge needs a moment to ask."""
EXPIRED: Final = -1
_NO_HASH: Final = "0" * 64
"""Stands in for HA1 of an unknown user, so that refusing takes as long as for a known one."""

_ACTED_ON: Final = ("Content-Type", "Content-Encoding", "Expires", "Date", "Auto-Submitted")
"""Headers of a MESSAGE with an effect beside From and To; of those that repeat, all."""
_ACTED_ON_IN_DIALOGS: Final = (
    *_ACTED_ON,
    *("Contact", "Subject", "Refer-To", "Event", "Last-Notify-Version"),
    *MARKS,
)
"""The same of other methods."""


class Verified(NamedTuple):
    """The sender is who From says."""

    unless_duplicate: SipError | None
    """The response if the request was not accepted before. None: it may be accepted now."""


class Authenticator:
    """Challenges senders, and verifies their credentials."""

    def __init__(self, store: Store, settings: Settings, nonce_keys: NonceKeys) -> None:
        self._nonce_keys = nonce_keys
        self.lookups = Lookups(store)
        """Runs `verify`. Its own ``run()`` has to be kept running."""
        self.reload(settings)

    def reload(self, settings: Settings) -> None:
        """Go on with these settings."""
        self._algorithms = settings.digest_algorithms
        self._ignores_case = not settings.case_sensitive_users
        self._guesses = Guesses(settings.digest_max_failures)
        self._nonces = Nonces(self._nonce_keys, settings.digest_nonce_ttl)

    async def verify(self, request: Request, source: str, fingerprint: Fingerprint) -> Verified:
        """Find out whether the request is from the user that From names; `lookups` runs this.

        ``source`` is the client's (`client_source`). Raises SipError with the response for a sender who is
        not verified; StoreUnreachable or ReplyError if Redis does not tell.
        """
        # RFC 3261 §22.2: a request without credentials is challenged, whether or not there is such a user.
        # That asks Redis nothing, so strangers cannot make it work.
        sender = sender_of(request).address
        realm = address.domain(sender)
        given = _choose(_credentials(request), realm)
        if given is None:
            raise self._challenge(realm, fingerprint)

        # RFC 7616 §3.3: if the nonce has expired or is not ours, the client may try again without asking its
        # user. RFC 8760 §2.4: an algorithm that was not offered may be a weaker one, so it is not used.
        age = self._nonces.age(given.nonce, given.realm)
        user = _user_of(given)
        if age is None or given.algorithm not in self._algorithms or user is None:
            raise self._challenge(realm, fingerprint, stale=age is None)

        # RFC 8760 §2.6: credentials have a qop. Clients that know only MD5 may be older than qop.
        if not given.count and given.algorithm != "MD5":
            raise SipError(400, "Digest Without Qop")
        _check_uri(request, given.uri)

        attempt = Attempt(user, source, given)
        if not await self._is_right_password(attempt, request.method):
            raise self._challenge(realm, fingerprint)

        # The credentials tell who sent the request, not that From is true: both have to name the same user.
        # A port names one of a user's devices.
        if self._identity(sender) != self._identity(user):
            raise SipError(403, "From Does Not Match Credentials")

        # RFC 7616 §3.4: a nonce count that was used before is a replay, unless this request itself used it.
        used_ms = await self._use(attempt, age, _contents(request, fingerprint))
        if used_ms is None:
            raise self._challenge(realm, fingerprint, stale=True)
        if used_ms == EXPIRED:
            raise await self._renew(attempt, realm, fingerprint)

        # The edge that noted the first use may have died before it accepted the request. So any edge may
        # accept it, as long as Redis would know the other's copy for a duplicate.
        if used_ms < RETRANSMISSION_MS:
            return Verified(None)
        return Verified(self._challenge(realm, fingerprint, stale=True))

    def _identity(self, user: str) -> str:
        """The user of an address, whatever the device and the spelling."""
        user = without_port(user)
        return without_case(user) if self._ignores_case else user

    def _challenge(self, realm: str, fingerprint: Fingerprint, *, stale: bool = False) -> SipError:
        """The 401 with a challenge for each algorithm.

        RFC 8760 §2.4 leaves the order to us and lets a client pick any. Linphone takes the first and gives up
        if it does not know that one, so the operator's order counts and not their strength.
        """
        nonce = self._nonces.make(realm, bytes.fromhex(fingerprint.tag))
        challenges = [
            Challenge(realm, nonce, algorithm, qop=True, stale=stale) for algorithm in self._algorithms
        ]
        return SipError(401, "Unauthorized", [("WWW-Authenticate", str(each)) for each in challenges])

    async def _renew(self, attempt: Attempt, realm: str, fingerprint: Fingerprint) -> SipError:
        """The challenge for a client with the right password and an expired nonce, which it never used so.

        Count 0 of the new nonce is noted as used: it stays a client whose password was right (`guesses`).
        """
        error = self._challenge(realm, fingerprint, stale=True)
        nonce = self._nonces.make(realm, bytes.fromhex(fingerprint.tag))
        renewed = attempt._replace(given=replace(attempt.given, nonce=nonce))
        milliseconds = int((self._nonces.ttl + GRACE_SECONDS + MAX_AHEAD_SECONDS) * 1000)
        await ask(("SET", renewed.use(0), "renewed", "NX", "PX", milliseconds))
        return error

    async def _is_right_password(self, attempt: Attempt, method: str) -> bool:
        """Whether the credentials are made with the user's password; a failure is counted.

        Raises SipError while the user's password is guessed, whatever this one is. It is computed in any
        case, so that the time tells neither that nor whether there is such a user.
        """
        here, everywhere, packed = await ask(
            ("GET", attempt.at_source()),
            ("GET", attempt.at_all_sources()),
            ("HGET", keys.users(attempt.shard), attempt.user),
        )
        given = attempt.given
        ha1 = unpack(packed).get(given.algorithm, "") if packed else ""
        is_right_password = is_right(given, ha1 or _NO_HASH, method) and bool(ha1)
        further = await self._guesses.check(attempt, here, everywhere)
        if not is_right_password:
            await self._guesses.count(attempt, further)
        return is_right_password

    async def _use(self, attempt: Attempt, age: float, digest: str) -> int | None:
        """Use up the nonce count for the request with these contents, for all rooms and shards together.

        Returns for how many ms it has been used by this request, 0 if it was not, or EXPIRED if nobody used
        it while the nonce was valid; None if another request has used it. By Redis's clock alone, which is
        the same for all edges.
        """
        given = attempt.given
        use = keys.nonce_use(attempt.shard, hashed(attempt.user, given.nonce, given.count.lower()))
        left = self._nonces.ttl - age
        if left < 0:  # an expired nonce still serves the requests that used it in time
            (noted,) = await ask(("GET", use))
            if noted is None:
                return EXPIRED
        else:
            milliseconds = int((left + GRACE_SECONDS + MAX_AHEAD_SECONDS) * 1000)
            note = f"{digest} {milliseconds}"
            noted, *_ = await ask(
                ("SET", use, note, "NX", "GET", "PX", milliseconds), *self._guesses.succeeded(attempt)
            )
            if noted is None:
                return 0
        user_of_count, _, lifetime = noted.decode().partition(" ")
        if user_of_count != digest:
            return None
        (ms_left,) = await ask(("PTTL", use))
        return int(lifetime) - int(ms_left)


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
    """Those for the sender's domain; without such, any: the response then says that From does not match."""
    own = [given for given in credentials if given.realm.lower() == realm]
    return next(iter(own or credentials), None)


def _user_of(given: Authorization) -> str | None:
    """The address that credentials are for: user name at realm; None if there can be no such user."""
    try:
        return f"{address.parse_user(given.username)}@{address.parse_host(given.realm)}"
    except address.AddressError:
        return None


def _check_uri(request: Request, given: str) -> None:
    """RFC 3261 §22.4, RFC 7616 §3.4.6: credentials are made for one Request-URI. Parameters may differ."""
    try:
        same = Uri.parse(given).address() == request.target.address()
    except (ValueError, SipError):
        same = False
    if not same:
        raise SipError(400, "Digest URI Does Not Match Request-URI")


def _contents(request: Request, fingerprint: Fingerprint) -> str:
    """A hash of all in a request that has an effect, which a retransmission has byte by byte the same.

    The response of ``qop=auth`` covers only the method, the URI and the nonce count (RFC 7616 §3.4.3). So
    what else is acted on is noted with the count when it is used. The fingerprint stands for From and To; Via
    and Max-Forwards may differ in a retry by a balancer, as may parameters of the Request-URI.
    """
    get_all = request.headers.get_all
    acted_on = _ACTED_ON if request.method == "MESSAGE" else _ACTED_ON_IN_DIALOGS
    hashed = blake2b(digest_size=16)
    hashed.update(
        length_prefixed(
            fingerprint.digest, request.target.address(), *("\n".join(get_all(name)) for name in acted_on)
        )
    )
    hashed.update(request.body)
    return hashed.hexdigest()
