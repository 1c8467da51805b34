"""Requests of one pipeline are accepted by one script, on a Cluster by one for each shard."""

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


CLUSTER = Settings(db_url="redis+cluster://127.0.0.1:7000")
both = pytest.mark.parametrize("settings", [Settings(), CLUSTER], ids=["one server", "cluster"])


async def stream(store: FakeStore, shard: int) -> list[list[bytes]]:
    """The fields of all entries in a shard's in-stream."""
    (entries,) = await store.run([("XRANGE", keys.requests(shard), "-", "+")])
    return [fields for _, fields in entries]


async def streams(store: FakeStore) -> list[list[list[bytes]]]:
    """Those of shards 1 and 2."""
    return [await stream(store, shard) for shard in (1, 2)]


@both
async def test_each_request_gets_its_own_reply_in_the_order_of_the_commands(settings: Settings) -> None:
    """Of several shards, with a duplicate, and with a command of another kind between them."""
    store = FakeStore()
    commands: list[Command | Accept] = [
        Accept(1, "a", [*MESSAGE, "data", b"\x81"]),
        Accept(2, "b", MESSAGE),
        OTHER,
        Accept(1, "a", MESSAGE),
        Accept(1, "c", [*MESSAGE, "user", ""]),
    ]
    replies = await AcceptPipeline(store, settings).run(commands)
    assert replies == [0, 0, 1, b"duplicate", 0]
    assert len(store.ran[0]) == (3 if settings is CLUSTER else 2)
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
    assert [len(command) for command in store.ran[0]] == [3 + 4 + 3 + 5 + 10 + 4 + 2 + 5]
    entry = [*IN_REDIS, b"data", b"\x81"]
    assert await streams(store) == [[entry, [b"type", b"list", *entry[2:]]], [entry]]
    await store.close()


@both
async def test_many_in_one_pipeline_are_accepted_as_each_alone_would_be(settings: Settings) -> None:
    """Same replies, same streams."""
    commands: list[Command | Accept] = [Accept(1 + n % 2, str(n // 3), MESSAGE) for n in range(20)]
    together, alone = FakeStore(), FakeStore()
    replies = await AcceptPipeline(together, settings).run(commands)
    pipeline = AcceptPipeline(alone, settings)
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


async def test_a_script_for_several_shards_accepts_as_many() -> None:
    """Each request gets its own reply, whatever the order of the shards."""
    store = Recording()
    commands: list[Command | Accept] = [Accept(n * 7 % 5, str(n), MESSAGE) for n in range(MAX_REQUESTS + 9)]
    expected = [
        b"accepted %d" % number
        for first, count in ((0, MAX_REQUESTS), (MAX_REQUESTS, 9))
        for number in order_of_shards([n * 7 % 5 for n in range(first, first + count)], first)
    ]
    assert await AcceptPipeline(store, Settings()).run(commands) == expected
    assert len(store.ran) == 2


def order_of_shards(shards: list[int], first: int) -> list[int]:
    """The number that a request gets, which are counted shard by shard in the order of their first ones."""
    by_shard = sorted(range(len(shards)), key=lambda at: (shards.index(shards[at]), at))
    return [first + by_shard.index(at) for at in range(len(shards))]


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


async def test_what_a_server_refuses_for_now_is_the_reply_to_each_request_of_the_script() -> None:
    """Each of them gets 503, and may be sent again. To ask once more would only cost the server more."""
    error = ReplyError("OOM command not allowed")
    store = Recording({keys.requests(1): error})
    commands: list[Command | Accept] = [Accept(shard, str(shard), MESSAGE) for shard in (2, 1)]
    assert await AcceptPipeline(store, Settings()).run(commands) == [error, error]
    assert len(store.ran) == 1
    assert await AcceptPipeline(store, CLUSTER).run(commands) == [b"accepted 0", error]


@both
@pytest.mark.parametrize("place", range(4))
async def test_a_shard_with_a_key_of_a_wrong_type_is_no_concern_of_the_others(
    settings: Settings, place: int
) -> None:
    """The script for all writes nothing then, and each shard gets one of its own."""
    store = FakeStore()
    await store.run([("SET", keys.accepting(1)[place], "of no such type")])
    commands: list[Command | Accept] = [
        Accept(shard, str(n), MESSAGE) for n, shard in enumerate((2, 1, 2, 1))
    ]
    replies = await AcceptPipeline(store, settings).run(commands)
    assert [isinstance(reply, ReplyError) for reply in replies] == [False, True, False, True]
    assert replies[::2] == [0, 0]
    assert await stream(store, 2) == [IN_REDIS, IN_REDIS]
    await store.close()


async def test_an_unreachable_redis_is_raised() -> None:
    """The caller knows whom to tell."""
    store = FakeStore()
    store.unreachable = True
    with pytest.raises(StoreUnreachable):
        await AcceptPipeline(store, Settings()).run([Accept(1, "a", MESSAGE)])


class Recording:
    """Keeps the scripts, and numbers the requests in them; ``errors`` by the in-stream of a shard."""

    def __init__(self, errors: dict[str, ReplyError] | None = None) -> None:
        self._errors = errors or {}
        self._count = 0
        self.ran: list[tuple[list[str], list[Any]]] = []

    def script(self, name: str, keys: Any, args: Any) -> Command:
        assert name == "accept_many"
        return (*keys, None, *args)

    async def run(self, commands: Any, *, durable: bool = False) -> list[Any]:
        assert durable
        return [self._run(command) for command in commands]

    def _run(self, command: list[Any]) -> Any:
        names, args = command[: command.index(None)], command[command.index(None) + 1 :]
        self.ran.append((names, args))
        for name in names[3::4]:
            if name in self._errors:
                return self._errors[name]
        shards = len(names) // 4
        size = (len(args) - 2 - shards - (shards - 1)) // (2 + len(MESSAGE))
        self._count += size
        return [b"accepted %d" % number for number in range(self._count - size, self._count)]
