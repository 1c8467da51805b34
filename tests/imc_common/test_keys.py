"""Redis keys: their hash tags, and how rooms are assigned to shards."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from zlib import crc32

import pytest

from imc_common import keys

ROOT = Path(__file__).parent.parent.parent
HOSTILE = "a{8}b@example.org"
"""An address with the braces of a hash tag."""


def shard_keys(shard: int) -> list[str]:
    """One key of each kind that belongs to a shard."""
    made = list(keys.accepting(shard))
    makers = [make for _, make in inspect.getmembers(keys, inspect.isfunction) if make is not keys.accepting]
    makers += [getattr(keys.Keys(), name) for name in ("rooms", "room", "members", "history")]
    for make in makers:
        first, *rest = inspect.signature(make).parameters
        if first == "shard":
            made.append(make(shard, *[HOSTILE] * len(rest)))
    return made


def test_every_key_of_a_shard_has_its_number_as_hash_tag() -> None:
    """Redis hashes the text between the first pair of braces, so all of them are in one slot."""
    assert len(shard_keys(7)) > 10
    assert {key.partition("{")[2].partition("}")[0] for key in shard_keys(7)} == {"7"}


@pytest.mark.parametrize("hash_size", [0, 4, 12])
def test_a_room_is_in_the_shard_of_its_crc_32(hash_size: int) -> None:
    """The lowest `hash_size` bits."""
    assert keys.shard_of("chat@example.org", hash_size) == crc32(b"chat@example.org") % 2**hash_size


def test_rooms_are_owned_at_all_ports_of_a_user() -> None:
    """Proxies rarely check the port in From."""
    assert keys.owned_rooms(0, "alice@example.org:5070") == keys.owned_rooms(0, "alice@example.org")


def test_the_page_of_keys_names_each_field_of_a_room_by_user() -> None:
    """Bans, what ends with the membership, and what a device has."""
    page = (ROOT / "docs" / "redis.md").read_text(encoding="utf-8")
    scripts = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "lua").rglob("*.lua"))
    kinds = set(re.findall(r'"([a-z_]+):" \.\.', scripts)) - {"imc", "imc_devices", "expiring"}
    assert kinds > {"away", "ban", "dialog", "invitation", "joined", "missed_invite", "nick"}
    assert sorted(kind for kind in kinds if not re.search(rf"`{kind}:(USER|DEVICE)`", page)) == []
