"""Nonces, and the keys that sign them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from imc_common import keys
from imc_common.users import Users
from imc_edge.identity import nonces
from imc_edge.identity.nonces import KeyFileError, NonceKeys, Nonces
from tests.fake_store import FakeStore


async def test_a_rotated_key_signs_after_a_minute_and_the_old_one_still_checks() -> None:
    """No nonce becomes invalid early, and no edge gets a nonce with a key that it has not read."""
    store, now = FakeStore(), 1_700_000_000.0
    signing = NonceKeys(store, "", lambda: now)  # type: ignore[arg-type]
    made = Nonces(signing, 300)
    old = made.make("example.org", b"saltsalt")
    await Users(store).rotate_key(now)
    await signing.read()
    first = signing.signing()
    assert made.age(old, "example.org") == 0
    now += 61
    assert signing.signing() != first
    young = made.make("example.org", b"saltsalt")
    unaware = Nonces(NonceKeys(store, "", lambda: now), 300)  # type: ignore[arg-type]
    assert unaware.age(young, "example.org") is None
    assert made.age(young, "example.org") == 0
    assert made.age(old, "example.org") == 61
    now += 300
    assert signing.checking(300) == [signing.signing()]


async def test_only_the_latest_keys_are_kept() -> None:
    """Daily rotation must not make each check slower."""
    store = FakeStore()
    for day in range(10):
        await Users(store).rotate_key(86_400.0 * day)
    (known,) = await store.run([("HKEYS", keys.DIGEST_KEYS)])
    assert sorted(map(int, known)) == [(86_400 * day + 60) * 1000 for day in range(6, 10)]


async def test_a_malformed_key_in_redis_is_ignored() -> None:
    """While Redis is unreachable, the known keys stay."""
    store = FakeStore()
    await store.run([("HSET", keys.DIGEST_KEYS, "soon", "xyz", "1", "00ff")])
    signing = NonceKeys(store, "", lambda: 1_700_000_000.0)  # type: ignore[arg-type]
    await signing.read()
    assert signing.signing() == b"\x00\xff"
    store.unreachable = True
    await signing.read()
    assert signing.signing() == b"\x00\xff"


async def test_a_rotation_in_redis_reaches_a_running_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a signal."""
    monkeypatch.setattr(nonces, "READ_SECONDS", 0.001)
    store = FakeStore()
    signing = NonceKeys(store, "", lambda: 1_700_000_000.0)  # type: ignore[arg-type]
    before = signing.signing()
    running = asyncio.ensure_future(signing.run())
    await Users(store).rotate_key(1.0)
    for _ in range(1000):
        if signing.signing() != before:
            break
        await asyncio.sleep(0.001)
    running.cancel()
    assert signing.signing() != before


async def test_keys_of_a_file_replace_those_in_redis(tmp_path: Path) -> None:
    """The first line signs, all check. An unusable file at SIGHUP changes nothing."""
    file = tmp_path / "secrets"
    file.write_text("a" * 32 + "\n\n" + "b" * 40 + "\n")
    signing = NonceKeys(FakeStore(), str(file), lambda: 1_700_000_000.0)  # type: ignore[arg-type]
    await signing.read()
    assert signing.signing() == b"a" * 32
    assert signing.checking(300) == [b"a" * 32, b"b" * 40]
    file.write_text("short")
    with pytest.raises(KeyFileError, match="lines of at least 32 characters"):
        signing.reread()
    assert signing.signing() == b"a" * 32
    file.unlink()
    with pytest.raises(KeyFileError, match="No such file"):
        signing.reread()


def test_a_retransmission_gets_the_same_nonce_within_a_second() -> None:
    """RFC 3261 §8.2.7: a stateless server sends the same response."""
    signing = NonceKeys(FakeStore(), "", lambda: 1_700_000_000.5)  # type: ignore[arg-type]
    made = Nonces(signing, 300)
    assert made.make("a", b"saltsalt") == made.make("a", b"saltsalt")
    assert made.make("a", b"saltsalt") != made.make("a", b"SALTSALT")
    assert made.age(made.make("a", b"saltsalt"), "b") is None


def test_a_nonce_from_the_future_is_not_valid() -> None:
    """Edges may differ about Redis's time by half a minute, but not by an hour."""

    def nonces_at(now: float) -> Nonces:
        return Nonces(NonceKeys(FakeStore(), "", lambda: now), 300)  # type: ignore[arg-type]

    ahead = nonces_at(1_700_000_029.0).make("a", b"saltsalt")
    far = nonces_at(1_700_003_600.0).make("a", b"saltsalt")
    now = nonces_at(1_700_000_000.0)
    assert now.age(ahead, "a") == -29
    assert now.age(far, "a") is None
