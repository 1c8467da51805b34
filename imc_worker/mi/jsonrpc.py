"""JSON-RPC 2.0 as in OpenSIPS's MI: text in, text out, no sockets."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from imc_common.errors import ImcError

PARSE_ERROR = (-32700, "Parse error")
INVALID_REQUEST = (-32600, "Invalid Request")
METHOD_NOT_FOUND = (-32601, "Method not found")
INVALID_PARAMS = (-32602, "Invalid params")
SERVER_ERROR = (-32000, "Server error")

MAX_BATCH = 50
"""Requests of one batch (JSON-RPC 2.0 §6)."""

Params = list[Any] | dict[str, Any]
Call = Callable[[str, Params], Awaitable[Any]]

log = structlog.get_logger()


class MiError(ImcError):
    """A command failed: `code` and text as the client gets them, `data` with details."""

    def __init__(self, code: int, message: str, data: str = "") -> None:
        super().__init__(f"{code} {message}" + (f" ({data})" if data else ""))
        self.code = code
        self.message = message
        self.data = data


async def respond(text: str | bytes, call: Call) -> str | None:
    """The response to a request or batch; None to a notification, which gets none (JSON-RPC 2.0 §4.1)."""
    try:
        request = json.loads(text)
    except (ValueError, RecursionError):
        return json.dumps(_failure(None, *PARSE_ERROR))
    if not isinstance(request, list):
        response = await _one(request, call)
        return None if response is None else json.dumps(response)
    if not 0 < len(request) <= MAX_BATCH:
        return json.dumps(_failure(None, *INVALID_REQUEST))
    responses = [await _one(each, call) for each in request]
    due = [response for response in responses if response is not None]
    return json.dumps(due) if due else None


async def _one(request: Any, call: Call) -> dict[str, Any] | None:
    if not isinstance(request, dict):
        return _failure(None, *INVALID_REQUEST)
    request_id, method, params = request.get("id"), request.get("method"), request.get("params", [])
    if (
        request.get("jsonrpc") != "2.0"
        or not isinstance(method, str)
        or not isinstance(params, list | dict)
        or not isinstance(request_id, str | int | float | None)
    ):
        return _failure(None, *INVALID_REQUEST)
    try:
        response = {"jsonrpc": "2.0", "result": await call(method, params), "id": request_id}
    except MiError as error:
        response = _failure(request_id, error.code, error.message, error.data)
    except Exception:
        log.exception("mi command failed", command=method)
        response = _failure(request_id, *SERVER_ERROR)
    return response if "id" in request else None


def _failure(request_id: Any, code: int, message: str, data: str = "") -> dict[str, Any]:
    error = {"code": code, "message": message} | ({"data": data} if data else {})
    return {"jsonrpc": "2.0", "error": error, "id": request_id}
