"""Requests of one pipeline and shard are accepted by one script."""

from __future__ import annotations

from typing import Any

import pytest

from imc_common import keys
from imc_common.settings import Settings
from imc_common.store import Command, ReplyError, StoreUnreachable
from imc_edge.receiving.accept_pipeline import MAX_REQUESTS, Accept, AcceptPipeline
from tests.fake_store import FakeStore

MESSAGE: list[str | bytes] = ["type", "message", "from", "alice@example.org", "room", "chat-000@example.org"]
IN_REDIS = [str(part).encode() for part in MESSAGE]
OTHER: Command = ("XLEN", keys.requests(2))


async def streams(store: FakeStore) -> list[list[list[bytes]]]:
    """The fields of all entries in the in-streams of shards 1 and 2."""
    look: list[Command] = [("XRANGE", keys.requests(shard), "-", "+") for shard in (1, 2)]
    return [[fields for _, fields in stream] for stream in await store.run(look)]


async def test_each_request_gets_its_own_reply_in_the_order_of_the_commands() -> None:
    """Of several shards, with a duplicate, and with a command of another kind between them."""
    store = FakeStore()
    commands: list[Command | Accept] = [
        Accept(1, "a", [*MESSAGE, "data", b"\x81"]),
        Accept(2, "b", MESSAGE),
        OTHER,
        Accept(1, "a", MESSAGE),
        Accept(1, "c", [*MESSAGE, "user", ""]),
    ]
    replies = await AcceptPipeline(store, Settings()).run(commands)
    assert replies == [0, 0, 1, b"duplicate", 0]
    assert len(store.ran[0]) == 3
    assert await streams(store) == [
        [[*IN_REDIS, b"data", b"\x81"], [*IN_REDIS, b"user", b""]],
        [IN_REDIS],
    ]
    await store.close()


async def test_the_usual_message_goes_in_with_its_four_fields() -> None:
    """As any other; only the script's arguments are fewer."""
    store = FakeStore()
    usual = [*MESSAGE, "data", b"\x81"]
    other = ["type", "list", *MESSAGE[2:], "data", b"\x81"]
    commands: list[Command | Accept] = [Accept(1, "a", usual), Accept(1, "b", other), Accept(2, "c", usual)]
    assert await AcceptPipeline(store, Settings()).run(commands) == [0, b"accepted", 0]
    assert [len(command) for command in store.ran[0]] == [3 + 4 + 3 + 5 + 10, 3 + 4 + 3 + 5]
    entry = [*IN_REDIS, b"data", b"\x81"]
    assert await streams(store) == [[entry, [b"type", b"list", *entry[2:]]], [entry]]
    await store.close()


async def test_many_in_one_pipeline_are_accepted_as_each_alone_would_be() -> None:
    """Same replies, same streams."""
    commands: list[Command | Accept] = [Accept(1 + n % 2, str(n // 3), MESSAGE) for n in range(20)]
    together, alone = FakeStore(), FakeStore()
    replies = await AcceptPipeline(together, Settings()).run(commands)
    pipeline = AcceptPipeline(alone, Settings())
    assert replies == [(await pipeline.run([command]))[0] for command in commands]
    assert await streams(together) == await streams(alone)
    await together.close()
    await alone.close()


@pytest.mark.parametrize("count", [1, 2, MAX_REQUESTS, MAX_REQUESTS + 1, 3 * MAX_REQUESTS])
async def test_a_script_accepts_a_limited_number_of_requests(count: int) -> None:
    """Redis runs nothing else meanwhile; none is lost between two scripts."""
    store = Recording()
    commands: list[Command | Accept] = [Accept(1, str(n), MESSAGE) for n in range(count)]
    assert await AcceptPipeline(store, Settings()).run(commands) == [
        b"accepted %d" % number for number in range(count)
    ]
    assert len(store.ran) == -(-count // MAX_REQUESTS)


async def test_a_look_behind_a_request_finds_it_accepted() -> None:
    """A retransmission or a CANCEL in the same pipeline, whatever the request is merged with."""
    store = FakeStore()
    look = store.script("find_duplicate", keys.accepting(1)[:2], ("a",))
    commands: list[Command | Accept] = [Accept(1, "x", MESSAGE), OTHER, Accept(1, "a", MESSAGE), look]
    assert await AcceptPipeline(store, Settings()).run(commands) == [0, 0, 0, b"duplicate"]
    await store.close()


async def test_a_reload_holds_from_the_next_request_on() -> None:
    """The limit of the stream, and whether recipients are counted."""
    store = FakeStore()
    pipeline = AcceptPipeline(store, Settings(max_deliveries_per_second=0))
    assert await pipeline.run([Accept(1, "a", MESSAGE)]) == [b"accepted"]
    pipeline.reload(Settings(max_backlog=1))
    assert await pipeline.run([Accept(1, "b", MESSAGE), Accept(2, "b", MESSAGE)]) == [b"overloaded", 0]
    await store.close()


async def test_an_error_of_a_script_is_the_reply_to_each_of_its_requests() -> None:
    """Each of them gets 503, and may be sent again; the others are not concerned."""
    error = ReplyError("OOM command not allowed")
    store = Recording({keys.requests(1): error})
    commands: list[Command | Accept] = [
        Accept(1, "a", MESSAGE),
        Accept(2, "b", MESSAGE),
        Accept(1, "c", MESSAGE),
    ]
    assert await AcceptPipeline(store, Settings()).run(commands) == [error, b"accepted 0", error]


async def test_an_unreachable_redis_is_raised() -> None:
    """The caller knows whom to tell."""
    store = FakeStore()
    store.unreachable = True
    with pytest.raises(StoreUnreachable):
        await AcceptPipeline(store, Settings()).run([Accept(1, "a", MESSAGE)])


class Recording:
    """Keeps the scripts, and numbers the requests in them; ``errors`` by in-stream."""

    def __init__(self, errors: dict[str, ReplyError] | None = None) -> None:
        self._errors = errors or {}
        self._count = 0
        self.ran: list[Command] = []

    def script(self, name: str, keys: Any, args: Any) -> Command:
        assert name == "accept_many"
        return (*keys, *args)

    async def run(self, commands: Any, *, durable: bool = False) -> list[Any]:
        assert durable
        self.ran += commands
        return [self._errors.get(command[3]) or self._accept(command) for command in commands]

    def _accept(self, command: Command) -> list[bytes]:
        size = (len(command) - 7) // (2 + len(MESSAGE))
        self._count += size
        return [b"accepted %d" % number for number in range(self._count - size, self._count)]
