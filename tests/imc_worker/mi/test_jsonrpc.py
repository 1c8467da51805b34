"""JSON-RPC 2.0, with the examples of its specification."""

from __future__ import annotations

import json
from typing import Any

import pytest

from imc_worker.mi.jsonrpc import MAX_BATCH, MiError, Params, respond


async def call(name: str, params: Params) -> Any:
    """A few methods."""
    if name == "echo":
        return params
    if name == "break":
        raise RuntimeError("broken")
    raise MiError(404, "no such thing", "look elsewhere")


async def said(request: Any) -> Any:
    """The response as an object; None if there is none."""
    text = await respond(json.dumps(request), call)
    return None if text is None else json.loads(text)


async def test_a_call_has_a_result() -> None:
    """With its id."""
    request = {"jsonrpc": "2.0", "method": "echo", "params": {"a": 1}, "id": "x"}
    assert await said(request) == {"jsonrpc": "2.0", "result": {"a": 1}, "id": "x"}


async def test_an_error_has_code_message_and_data() -> None:
    """As in MI."""
    error = {"code": 404, "message": "no such thing", "data": "look elsewhere"}
    assert (await said({"jsonrpc": "2.0", "method": "x", "id": 1}))["error"] == error


async def test_a_notification_has_no_response() -> None:
    """JSON-RPC 2.0 §4.1, whatever its result."""
    for method in ("echo", "x", "break"):
        assert await said({"jsonrpc": "2.0", "method": method}) is None


async def test_an_unexpected_exception_is_a_server_error() -> None:
    """Without its text."""
    response = await said({"jsonrpc": "2.0", "method": "break", "id": 1})
    assert response["error"] == {"code": -32000, "message": "Server error"}


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
async def test_an_invalid_request_is_32600(request_: Any) -> None:
    """JSON-RPC 2.0 §5.1: id null."""
    response = await said(request_)
    assert (response["error"]["code"], response["id"]) == (-32600, None)


@pytest.mark.parametrize("text", ["{", "", "[" * 100_000, b"\xff"])
async def test_invalid_json_is_32700(text: str | bytes) -> None:
    """JSON-RPC 2.0 §5.1: id null."""
    response = json.loads(await respond(text, call) or "")
    assert response["error"]["code"] == -32700


async def test_a_batch_has_a_response_for_each_call() -> None:
    """JSON-RPC 2.0 §6: none if all are notifications."""
    one = {"jsonrpc": "2.0", "method": "echo", "id": 1}
    note = {"jsonrpc": "2.0", "method": "echo"}
    response = await said([one, note, 7])
    assert [each["id"] for each in response] == [1, None]
    assert await said([note, note]) is None
