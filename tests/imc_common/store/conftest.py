"""Stores on real servers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import KINDS, Server, running


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of each kind that syncs its append-only file at every write. Its folder has a short path,
    because the path of a Unix socket has a length limit."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running(request.param, Path(folder), "--appendonly", "yes", "--appendfsync", "always") as server,
    ):
        yield server
