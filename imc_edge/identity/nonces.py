"""Nonces that every edge can check: they are signed with a shared key, so none has to be remembered."""

from __future__ import annotations

import asyncio
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import structlog

from imc_common import keys
from imc_common.errors import ImcError
from imc_common.rooms.request import RETRANSMISSION_SECONDS
from imc_common.store import Store, StoreUnreachable

GRACE_SECONDS: Final = float(RETRANSMISSION_SECONDS)
"""Seconds after a nonce has expired in which a retransmission of what was accepted with it is recognised."""
MAX_AHEAD_SECONDS: Final = 30.0
"""Seconds that the edge which made a nonce may be ahead of this one in what it takes for Redis's time. A
round trip to Redis takes less."""
READ_SECONDS = 15.0
"""Between two looks for new keys in Redis."""
MIN_KEY_LENGTH: Final = 32

_TIME_BYTES, SALT_BYTES, _MAC_BYTES = 5, 8, 16

_log = structlog.get_logger()


class KeyFileError(ImcError):
    """`digest_key_file` is unusable; says why."""


def read_keys(path: Path) -> list[bytes]:
    """The keys of a file, one per line. Raises KeyFileError."""
    try:
        lines = [line.strip() for line in path.read_bytes().splitlines()]
    except OSError as error:
        raise KeyFileError(f"digest_key_file {path}: {error.strerror}") from error
    found = [line for line in lines if line]
    if not found or min(map(len, found)) < MIN_KEY_LENGTH:
        raise KeyFileError(f"digest_key_file {path}: needs lines of at least {MIN_KEY_LENGTH} characters")
    return found


class NonceKeys:
    """The keys that sign nonces: those of `digest_key_file`, or those in Redis."""

    def __init__(self, store: Store, path: str, now: Callable[[], float]) -> None:
        """``path`` empty: keys in Redis; the first one is derived from the secret that all edges share.

        ``now`` gives the seconds since the epoch, by a clock that all edges share. Raises KeyFileError.
        """
        self.now = now
        """The clock for all times of nonces."""
        self._store = store
        self._path = Path(path) if path else None
        self._first = (0.0, hmac.digest(store.secret, b"digest nonces", "sha256"))
        self._keys: list[tuple[float, bytes]] = [self._first]
        self._of_file: list[bytes] = []
        self.reread()

    def reread(self) -> None:
        """Read the file again, if there is one. Raises KeyFileError; the keys then stay as they were."""
        if self._path is not None:
            self._of_file = read_keys(self._path)

    async def run(self) -> None:
        """Read keys from Redis periodically, until cancelled."""
        while True:
            await self.read()
            await asyncio.sleep(READ_SECONDS)

    async def read(self) -> None:
        """Read keys from Redis now. If it is unreachable, the known ones stay."""
        if self._path is not None:
            return
        try:
            (reply,) = await self._store.run([("HGETALL", keys.DIGEST_KEYS)])
        except StoreUnreachable:
            return
        if isinstance(reply, list):
            self._keys = [self._first, *sorted(_keys_of(reply))]

    def signing(self) -> bytes:
        """The key to sign with now."""
        if self._of_file:
            return self._of_file[0]
        now = self.now()
        return [key for first_use, key in self._keys if first_use <= now][-1]

    def checking(self, ttl: float) -> list[bytes]:
        """The keys that may have signed a nonce which is at most ``ttl`` seconds old."""
        if self._of_file:
            return self._of_file
        now = self.now()
        ends = [first_use + ttl for first_use, _ in self._keys[1:]]
        live = [key for (_, key), end in zip(self._keys, ends, strict=False) if end >= now]
        return [*live, self._keys[-1][1]]


class Nonces:
    """Makes nonces, and checks them."""

    def __init__(self, signing: NonceKeys, ttl: float) -> None:
        """``ttl``: seconds for which a nonce is valid."""
        self.ttl = ttl
        self._keys = signing

    def make(self, realm: str, salt: bytes) -> str:
        """A nonce for a realm. With the same ``salt`` it is the same for one second, so for a
        retransmission."""
        head = int(self._keys.now()).to_bytes(_TIME_BYTES, "big") + salt
        return urlsafe_b64encode(head + _mac(self._keys.signing(), realm, head)).decode().rstrip("=")

    def age(self, nonce: str, realm: str) -> float | None:
        """Seconds since it was made; None if it is forged, or too old even for a retransmission."""
        try:
            data = urlsafe_b64decode(nonce.encode("ascii") + b"==")
        except ValueError:
            return None
        head, mac = data[:-_MAC_BYTES], data[-_MAC_BYTES:]
        if len(head) != _TIME_BYTES + SALT_BYTES:
            return None
        age = self._keys.now() - int.from_bytes(head[:_TIME_BYTES], "big")
        if not -MAX_AHEAD_SECONDS <= age <= self.ttl + GRACE_SECONDS:
            return None
        for key in self._keys.checking(self.ttl + GRACE_SECONDS):
            if hmac.compare_digest(mac, _mac(key, realm, head)):
                return age
        return None


def _mac(key: bytes, realm: str, head: bytes) -> bytes:
    data = head + realm.encode(errors="surrogateescape")
    return hmac.digest(key, data, "sha256")[:_MAC_BYTES]


def _keys_of(reply: list[Any]) -> list[tuple[float, bytes]]:
    found = []
    for first_use, key in zip(reply[::2], reply[1::2], strict=True):
        try:
            found.append((int(first_use) / 1000, bytes.fromhex(key.decode())))
        except ValueError:
            _log.warning("malformed digest key in redis", first_use=repr(first_use))
    return found
