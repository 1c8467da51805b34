"""The measurement of durability counts only accepted requests."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.durability import measure
from imc_common import keys
from imc_common.settings import Settings
from imc_common.store import Store
from tests.servers import running

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("batch", [1, 8])
async def test_every_request_is_in_the_stream(tmp_path: Path, batch: int) -> None:
    """In complete batches."""
    with running("redis-server", tmp_path) as server:
        store = await Store.connect(Settings.model_validate({"db_url": server.url}))
        rate, median, p99 = await measure(store, batch, seconds=0.1)
        await store.close()
        accepted = int(server.call("XLEN", keys.requests(0))[1:])
        assert accepted > 0
        assert accepted % batch == 0
        assert rate > 0
        assert 0 < median <= p99


async def test_a_refused_request_makes_the_measurement_fail(tmp_path: Path) -> None:
    """A figure that includes refused requests would be wrong."""
    with running("redis-server", tmp_path) as server:
        store = await Store.connect(Settings.model_validate({"db_url": server.url}))
        server.call("SET", keys.requests(0), "no stream")
        with pytest.raises(RuntimeError, match="not all accepted"):
            await measure(store, 1, seconds=0.1)
        await store.close()
