"""JSON-RPC 2.0, as its specification's examples have it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from imc_worker.mi.jsonrpc import MAX_BATCH, MiError, Params, answer


async def call(name: str, params: Params) -> Any:
    """A few methods."""
    if name == "echo":
        return params
    if name == "break":
        raise RuntimeError("broken")
    raise MiError(404, "no such thing", "look elsewhere")


async def said(request: Any) -> Any:
    """The answer as an object; None if there is none."""
    text = await answer(json.dumps(request), call)
    return None if text is None else json.loads(text)


async def test_a_call_has_a_result() -> None:
    """With the id it came with."""
    request = {"jsonrpc": "2.0", "method": "echo", "params": {"a": 1}, "id": "x"}
    assert await said(request) == {"jsonrpc": "2.0", "result": {"a": 1}, "id": "x"}


async def test_a_failure_has_code_text_and_detail() -> None:
    """As MI has them."""
    error = {"code": 404, "message": "no such thing", "data": "look elsewhere"}
    assert (await said({"jsonrpc": "2.0", "method": "x", "id": 1}))["error"] == error


async def test_a_notification_has_no_answer() -> None:
    """§4.1, whatever came of it."""
    for method in ("echo", "x", "break"):
        assert await said({"jsonrpc": "2.0", "method": method}) is None


async def test_what_breaks_is_a_server_error() -> None:
    """Without its inner words."""
    answered = await said({"jsonrpc": "2.0", "method": "break", "id": 1})
    assert answered["error"] == {"code": -32000, "message": "Server error"}


@pytest.mark.parametrize(
    "request_",
    [
        1,
        {},
        {"jsonrpc": "1.0", "method": "echo", "id": 1},
        {"jsonrpc": "2.0", "method": 1, "id": 1},
        {"jsonrpc": "2.0", "method": "echo", "params": "x", "id": 1},
        {"jsonrpc": "2.0", "method": "echo", "id": {}},
        [],
        [{"jsonrpc": "2.0", "method": "echo", "id": 1}] * (MAX_BATCH + 1),
    ],
)
async def test_what_is_no_request(request_: Any) -> None:
    """§5.1: -32600, id null."""
    answered = await said(request_)
    assert (answered["error"]["code"], answered["id"]) == (-32600, None)


@pytest.mark.parametrize("text", ["{", "", "[" * 100_000, b"\xff"])
async def test_what_is_no_json(text: str | bytes) -> None:
    """§5.1: -32700."""
    answered = json.loads(await answer(text, call) or "")
    assert answered["error"]["code"] == -32700


async def test_a_batch_has_an_answer_for_each_call_in_it() -> None:
    """§6: and none if all are notifications."""
    one = {"jsonrpc": "2.0", "method": "echo", "id": 1}
    note = {"jsonrpc": "2.0", "method": "echo"}
    answered = await said([one, note, 7])
    assert [each["id"] for each in answered] == [1, None]
    assert await said([note, note]) is None
