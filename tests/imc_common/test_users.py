"""Users and the stored hashes of their passwords."""

from __future__ import annotations

import hashlib

import pytest

from imc_common import keys
from imc_common.store import ReplyError
from imc_common.users import Users, UsersError, hashes_of, pack, unpack, user_address
from tests.fake_store import FakeStore

ALICE = "alice@example.org"


def test_ha1_is_the_hash_of_name_realm_and_password() -> None:
    """RFC 7616 §3.4.2. The name is the unescaped user part, the realm is the host without port."""
    expected = hashlib.sha256(b"J\xc3\xbcrgen K:example.org:secret").hexdigest()
    assert hashes_of("J%C3%BCrgen%20K@example.org", "secret", ["SHA-256"]) == {"SHA-256": expected}


def test_password_hashes_are_packed_and_unpacked() -> None:
    """Malformed parts are ignored."""
    hashes = hashes_of(ALICE, "secret", ["SHA-512-256", "SHA-256", "MD5"])
    assert unpack(pack(hashes).encode()) == hashes
    assert unpack(b"SHA-1=abc =x MD5= \xff SHA-256=ok") == {"SHA-256": "ok"}
    assert unpack(b"") == {}


@pytest.mark.parametrize(
    "text",
    [
        "sip:alice@EXAMPLE.org",
        "alice@example.org.",
        "alice@example.org:5060",
        "sips:%61lice@example.org;x=y",
    ],
)
def test_a_user_has_a_canonical_address(text: str) -> None:
    """The same as in rooms."""
    assert user_address(text) == ALICE


@pytest.mark.parametrize("text", ["", "alice", "alice@", "alice@192.0.2.1:5060", "a b@example.org", "\x1b@b"])
def test_an_invalid_user_is_refused(text: str) -> None:
    """Also an address with a port, where a port belongs to the address."""
    with pytest.raises(UsersError):
        user_address(text)


async def test_users_are_added_changed_and_removed() -> None:
    """Each command reports a user that exists, or does not exist."""
    users = Users(FakeStore())
    await users.add(ALICE, {"MD5": "1"})
    with pytest.raises(UsersError, match=r"the user alice@example\.org exists already"):
        await users.add(ALICE, {"MD5": "2"})
    await users.change(ALICE, {"SHA-256": "3", "MD5": "4"})
    await users.add("bob@example.org", {"MD5": "5"})
    assert await users.all() == {ALICE: ["SHA-256", "MD5"], "bob@example.org": ["MD5"]}
    await users.remove(ALICE)
    for asked in (users.remove(ALICE), users.change(ALICE, {})):
        with pytest.raises(UsersError, match=r"the user alice@example\.org does not exist"):
            await asked
    assert await users.all() == {"bob@example.org": ["MD5"]}


async def test_an_error_reply_of_redis_is_reported() -> None:
    """Such as for a key of a wrong type."""
    store = FakeStore()
    await store.run([("SET", keys.users(keys.user_shard(ALICE)), "planted")])
    for asked in (Users(store).add(ALICE, {}), Users(store).all()):
        with pytest.raises(UsersError, match="redis: WRONGTYPE"):
            await asked
    await store.run([("SET", keys.DIGEST_KEYS, "planted")])
    with pytest.raises(UsersError, match="redis: WRONGTYPE"):
        await Users(store).rotate_key()
    assert isinstance((await store.run([("HGET", keys.DIGEST_KEYS, "x")]))[0], ReplyError)


async def test_a_new_key_is_first_used_a_minute_later_by_redis_s_clock() -> None:
    """Edges use Redis's clock as well, not that of their machine."""
    store = FakeStore()
    tell_time = store.script("read_clock", [keys.DIGEST_KEYS], [])
    before, first_use, after = (
        (await store.run([tell_time]))[0],
        await Users(store).rotate_key(),
        (await store.run([tell_time]))[0],
    )
    assert before <= first_use * 1000 - 60_000 <= after
    (fields,) = await store.run([("HKEYS", keys.DIGEST_KEYS)])
    assert fields == [str(int(first_use * 1000)).encode()]


def test_users_are_distributed_over_all_their_shards() -> None:
    """Their hash tags differ from those of rooms."""
    tags = {keys.user_shard(f"user{number}@example.org") for number in range(1000)}
    assert tags == {f"u{number}" for number in range(keys.USER_SHARDS)}
