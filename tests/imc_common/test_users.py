"""Users and what is kept of their passwords."""

from __future__ import annotations

import hashlib

import pytest

from imc_common import keys
from imc_common.store import ReplyError
from imc_common.users import Users, UsersError, hashes_of, pack, unpack, user_address
from tests.fake_store import FakeStore

ALICE = "alice@example.org"


def test_ha1_is_the_hash_of_name_realm_and_password() -> None:
    """RFC 7616 §3.4.2; the name is the user part unescaped, the realm the host without its port."""
    expected = hashlib.sha256(b"J\xc3\xbcrgen K:example.org:secret").hexdigest()
    assert hashes_of("J%C3%BCrgen%20K@example.org", "secret", ["SHA-256"]) == {"SHA-256": expected}


def test_what_is_packed_comes_out_again() -> None:
    """And what makes no sense is left out."""
    hashes = hashes_of(ALICE, "secret", ["SHA-512-256", "SHA-256", "MD5"])
    assert unpack(pack(hashes).encode()) == hashes
    assert unpack(b"SHA-1=abc =x MD5= \xff SHA-256=ok") == {"SHA-256": "ok"}
    assert unpack(b"") == {}


@pytest.mark.parametrize(
    "text", ["sip:alice@EXAMPLE.org", "alice@example.org.", "sips:%61lice@example.org;x=y"]
)
def test_a_user_is_named_as_rooms_name_them(text: str) -> None:
    """One spelling for each."""
    assert user_address(text) == ALICE


@pytest.mark.parametrize(
    "text", ["", "alice", "alice@", "alice@example.org:5060", "a b@example.org", "\x1b@b"]
)
def test_what_is_no_user_is_told(text: str) -> None:
    """A port is no part of who one is."""
    with pytest.raises(UsersError):
        user_address(text)


async def test_users_come_change_and_go() -> None:
    """Each command says when there is nothing to do it to."""
    users = Users(FakeStore())
    await users.add(ALICE, {"MD5": "1"})
    with pytest.raises(UsersError, match=r"there is a user alice@example\.org already"):
        await users.add(ALICE, {"MD5": "2"})
    await users.change(ALICE, {"SHA-256": "3", "MD5": "4"})
    await users.add("bob@example.org", {"MD5": "5"})
    assert await users.all() == {ALICE: ["SHA-256", "MD5"], "bob@example.org": ["MD5"]}
    await users.remove(ALICE)
    for asked in (users.remove(ALICE), users.change(ALICE, {})):
        with pytest.raises(UsersError, match=r"there is no user alice@example\.org"):
            await asked
    assert await users.all() == {"bob@example.org": ["MD5"]}


async def test_what_redis_refuses_is_told() -> None:
    """A key of a wrong type."""
    store = FakeStore()
    await store.run([("SET", keys.users(keys.user_shard(ALICE)), "planted")])
    for asked in (Users(store).add(ALICE, {}), Users(store).all()):
        with pytest.raises(UsersError, match="redis: WRONGTYPE"):
            await asked
    await store.run([("SET", keys.DIGEST_KEYS, "planted")])
    with pytest.raises(UsersError, match="redis: WRONGTYPE"):
        await Users(store).rotate_key()
    assert isinstance((await store.run([("HGET", keys.DIGEST_KEYS, "x")]))[0], ReplyError)


async def test_a_new_key_is_used_in_a_minute_by_redis_s_clock() -> None:
    """Not by the clock of the machine on which it is made: edges go by Redis's, too."""
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


def test_users_are_spread_over_all_their_shards() -> None:
    """And none of these tags is that of a room's shard."""
    tags = {keys.user_shard(f"user{number}@example.org") for number in range(1000)}
    assert tags == {f"u{number}" for number in range(keys.USER_SHARDS)}
