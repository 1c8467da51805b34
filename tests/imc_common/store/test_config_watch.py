"""What processes agreed on: noticed when it is gone or differs, on a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from imc_common import keys
from imc_common.settings import Settings
from imc_common.store import Store, StoreRefused
from imc_common.store.config_watch import ConfigWatch
from tests.patience import PATIENCE
from tests.servers import Server, redis_alone

FIELDS = ("hash_size", "layout", "secret")


@pytest.fixture
async def started() -> AsyncIterator[tuple[Server, Store, ConfigWatch]]:
    """A process that has started, its store, and its Redis."""
    with redis_alone() as server:
        store = await Store.connect(Settings(db_url=server.url))
        yield server, store, ConfigWatch(store, Settings().hash_size, store.secret)
        await store.close()


async def config(store: Store) -> list[bytes | None]:
    """What is in Redis."""
    (found,) = await store.run([("HMGET", keys.CONFIG, *FIELDS)])
    assert isinstance(found, list)
    return found


async def test_what_is_lost_is_written_again_and_the_log_says_so(
    started: tuple[Server, Store, ConfigWatch],
) -> None:
    """FLUSHALL. Each process that starts later finds the same secret."""
    server, store, watch = started
    before = await config(store)
    with capture_logs() as lines:
        await watch.check()
        assert lines == []
        assert server.call("FLUSHALL") == b"+OK"
        await watch.check()
        await watch.check()
    assert await config(store) == before
    assert [(line["event"], line["log_level"], line["written_again"]) for line in lines] == [
        ("redis lost its data", "error", True)
    ]
    other = await Store.connect(Settings(db_url=server.url))
    assert other.secret == store.secret
    await other.close()
    with pytest.raises(StoreRefused, match="hash_size is 5"):
        await Store.connect(Settings(db_url=server.url, hash_size=5))


@pytest.mark.parametrize("field", FIELDS)
async def test_a_single_lost_value_is_written_again(
    started: tuple[Server, Store, ConfigWatch], field: str
) -> None:
    """Somebody deleted it by hand."""
    _, store, watch = started
    before = await config(store)
    await store.run([("HDEL", keys.CONFIG, field)])
    await watch.check()
    assert await config(store) == before


@pytest.mark.parametrize(("field", "value"), [("hash_size", "5"), ("layout", "2"), ("secret", "00")])
async def test_a_value_that_differs_ends_the_process(
    started: tuple[Server, Store, ConfigWatch], field: str, value: str
) -> None:
    """Another process was first after the loss, or the data are those of another service."""
    _, store, watch = started
    await store.run([("HSET", keys.CONFIG, field, value)])
    with pytest.raises(StoreRefused, match=f"another {field}"):
        async with asyncio.timeout(PATIENCE):
            await watch.run()
    assert value.encode() in await config(store)  # it is left as it is


async def test_a_process_that_started_first_after_the_loss_is_followed(
    started: tuple[Server, Store, ConfigWatch],
) -> None:
    """The earlier one does not overwrite its secret."""
    server, store, watch = started
    server.call("FLUSHALL")
    later = await Store.connect(Settings(db_url=server.url))
    assert later.secret != store.secret
    with pytest.raises(StoreRefused, match="another secret"):
        await watch.check()
    await ConfigWatch(later, Settings().hash_size, later.secret).check()
    await later.close()


async def test_an_unreachable_or_full_redis_ends_nothing(
    started: tuple[Server, Store, ConfigWatch],
) -> None:
    """What is lost while nothing can be written is written at a later check."""
    server, store, watch = started
    server.call("CONFIG", "SET", "maxmemory", "1")
    server.call("FLUSHALL")
    with capture_logs() as lines:
        await watch.check()
    assert [line["written_again"] for line in lines] == [False]
    server.call("CONFIG", "SET", "maxmemory", "0")
    await watch.check()
    assert None not in await config(store)
    server.kill()
    await watch.check()


async def test_a_key_of_a_wrong_type_ends_the_process(started: tuple[Server, Store, ConfigWatch]) -> None:
    """Nothing can be agreed on there."""
    _, store, watch = started
    await store.run([("DEL", keys.CONFIG), ("SET", keys.CONFIG, "x")])
    with pytest.raises(StoreRefused, match="cannot read"):
        await watch.check()
