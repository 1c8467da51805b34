"""Many accept commands as few."""

from __future__ import annotations

import pytest

from imc_common import keys
from imc_common.scripts import Scripts
from imc_common.store import Command, StoreUnreachable
from imc_edge.accept_batch import MOST, AcceptBatch
from tests.fake_store import FakeStore

SCRIPTS = Scripts()


def accept(shard: int, digest: str, *fields: str | bytes, backlog: int = 100) -> Command:
    return SCRIPTS.command("accept", keys.accepting(shard), (64000, backlog, "", digest, *fields))


async def test_merged_commands_do_what_the_single_ones_do() -> None:
    """Same replies in the same order, same streams."""
    commands: list[Command] = [
        accept(1, "a", "type", "message", "data", b"\x81"),
        accept(2, "b", "type", "message"),
        ("XLEN", keys.requests(2)),
        accept(1, "a", "type", "message"),
        accept(1, "c", "type", "message", "user", ""),
    ]
    merged, places = AcceptBatch(SCRIPTS).merge(commands)
    assert len(merged) == 3
    single, many = FakeStore(), FakeStore()
    wanted = await single.run(commands)
    assert AcceptBatch.spread(await many.run(merged), places) == [
        b"accepted",
        b"accepted",
        1,
        b"duplicate",
        b"accepted",
    ]
    assert wanted == [b"accepted", b"accepted", 1, b"duplicate", b"accepted"]
    look: list[Command] = [("XRANGE", keys.requests(shard), "-", "+") for shard in (1, 2)]
    found = [
        [[fields for _, fields in stream] for stream in await store.run(look)] for store in (single, many)
    ]
    assert found[0] == found[1]
    await single.close()
    await many.close()


@pytest.mark.parametrize("count", [1, 2, MOST, MOST + 1, 3 * MOST])
def test_no_script_has_too_many(count: int) -> None:
    """And none is lost on the way."""
    merged, places = AcceptBatch(SCRIPTS).merge([accept(1, str(n), "type", "x") for n in range(count)])
    assert len(merged) == len(places) == -(-count // MOST)
    assert [at for group in places for at in group] == list(range(count))


def test_other_settings_are_another_script() -> None:
    """What a reload changes holds from the next request on."""
    merged, _ = AcceptBatch(SCRIPTS).merge([accept(1, "a", backlog=1), accept(1, "b", backlog=2)])
    assert len(merged) == 2


def test_an_error_is_everybodys() -> None:
    """Each of them is answered 503, and may be sent again."""
    error = StoreUnreachable("away")
    _, places = AcceptBatch(SCRIPTS).merge([accept(1, "a"), accept(2, "b"), accept(1, "c")])
    assert AcceptBatch.spread([error, b"accepted"], places) == [error, b"accepted", error]
