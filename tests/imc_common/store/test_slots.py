"""Cluster slots of commands."""

from __future__ import annotations

import subprocess
import sys

import pytest

from imc_common import keys
from imc_common.store import Command
from imc_common.store.slots import redirected_to, slot_of, slot_table


def test_all_keys_of_a_shard_are_in_one_slot() -> None:
    """For any command, wherever its key is."""
    commands: list[Command] = [
        ("XADD", keys.requests(7), "*", "a", "b"),
        ("EVALSHA", "0" * 40, 2, keys.events(7), keys.requests(7)),
        ("XREADGROUP", "GROUP", "imc", "owner", "COUNT", 5, "STREAMS", keys.requests(7), ">"),
        ("XINFO", "GROUPS", keys.requests(7)),
        ("HGET", keys.Keys().room(7, "a{8}b@example.org"), "owner"),
        ("GET", keys.lease(7, "edge").encode()),
    ]
    assert len({slot_of(command) for command in commands}) == 1
    assert slot_of(commands[0]) == slot_of(("GET", "7"))


@pytest.mark.parametrize(("key", "slot"), [("foo", 12182), ("{foo}bar", 12182), ("foo{}{bar}", 8363)])
def test_slots_are_those_of_the_specification(key: str, slot: int) -> None:
    """CRC16 of the hash tag between the first pair of braces; an empty one does not count."""
    assert slot_of(("GET", key)) == slot


def test_commands_without_a_key_have_no_slot() -> None:
    """They may run on any node."""
    assert slot_of(("PING",)) is None
    assert slot_of(("CONFIG", "GET", "maxmemory-policy")) is None


def test_the_slot_table_has_the_node_of_each_slot() -> None:
    """An unassigned slot has none; a node without an address is the one that was asked."""
    table = slot_table(
        [[0, 99, [b"", 7000, b"id"]], [200, 299, [b"h", 7001, b"id"], [b"r", 7002]]], ("me", 1)
    )
    assert (table[0], table[150], table[299]) == (("me", 7000), None, ("h", 7001))


def test_redirections_name_the_node() -> None:
    """Also with an IPv6 address or an empty host."""
    assert redirected_to("MOVED 3999 127.0.0.1:6381", ("h", 1)) == ("127.0.0.1", 6381)
    assert redirected_to("ASK 3999 ::1:6381", ("h", 1)) == ("::1", 6381)
    assert redirected_to("MOVED 3999 :6381", ("h", 1)) == ("h", 6381)


def test_edges_and_workers_do_not_load_the_redis_client() -> None:
    """It would be a sixth of their start, and 6 MB. They need hiredis only."""
    code = "import sys, imc_edge.launcher, imc_worker.launcher; print('redis' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout == "False\n"
