"""What is remembered of the network is bounded: caches of functions, and Python's own cache of codecs."""

from __future__ import annotations

import ast
import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imc_common.bodies.content import Content
from imc_common.rooms.event import Event
from imc_common.rooms.request import RequestData
from imc_common.rooms.texts import render
from imc_common.settings import Settings

ROOT = Path(__file__).parent.parent
SOURCES = [path for package in ("imc_cli", "imc_common", "imc_edge", "imc_worker") for path in sorted(
    (ROOT / package).rglob("*.py")
)]  # fmt: skip


def caches_of(source: str) -> Iterator[tuple[int, int | None]]:
    """Line and size of each cache of a function; None: without a bound, or one that is no number."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "functools":
            yield from ((node.lineno, None) for each in node.names if each.name == "cache")
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("lru_cache"):
            sizes = [each.value for each in node.keywords if each.arg == "maxsize"] + node.args
            size = sizes[0].value if sizes and isinstance(sizes[0], ast.Constant) else None
            yield node.lineno, size if isinstance(size, int) else None


def test_every_cache_of_a_function_is_bounded() -> None:
    """Its keys may come from anybody: 8,192 of 2 KB each are 16 MB."""
    found = [(path, *cache) for path in SOURCES for cache in caches_of(path.read_text())]
    assert len(found) > 10
    assert [each for each in found if each[2] is None or each[2] > 8192] == []


@pytest.mark.parametrize(
    "source", ["from functools import cache", "f = lru_cache(maxsize=None)(g)", "lru_cache()(f)"]
)
def test_a_cache_without_a_bound_is_found(source: str) -> None:
    """Whichever way it is written."""
    assert [size for _, size in caches_of(source)] == [None]


@contextmanager
def looked_up() -> Iterator[list[str]]:
    """The names of codecs that Python did not know and looked for; it remembers each for ever."""
    names: list[str] = []

    def search(name: str) -> None:
        names.append(name)

    codecs.register(search)
    try:
        yield names
    finally:
        codecs.unregister(search)


def test_no_charset_that_a_sender_invents_reaches_pythons_codecs() -> None:
    """A new name in each message would stay in memory for ever."""
    with looked_up() as names:
        for number in range(50):
            content_type = f"text/plain;charset=invented-{number}"
            Content.parse(content_type, b"#list")
            data = RequestData(content_type=content_type, body=b"hello")
            event = Event(
                "1-0", 0, "message", "r@example.org", ("b@example.org",), actor="a@example.org", data=data
            )
            render(event, Settings())
        assert names == []
        with pytest.raises(LookupError):
            b"x".decode("invented-50")
        assert names == ["invented_50"]
