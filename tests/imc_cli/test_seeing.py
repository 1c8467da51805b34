"""`imc mi`, `imc trace`, `imc top` where things are not as they should be."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from imc_cli import application, mi_client
from imc_cli.mi import _show
from imc_cli.mi_client import MiFailure, MiUnreachable
from imc_cli.trace import _printer
from imc_common.http_server import HttpRequest, HttpResponse, HttpServer
from imc_common.settings import Settings
from imc_worker.mi import __main__ as mi_process

NOWHERE = ["--db-url", "redis://127.0.0.1:1/0"]


def imc(*words: str) -> Result:
    """The command line run with these arguments."""
    return CliRunner().invoke(application(), words)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["trace", "nonsense"], 2),
        (["trace", "a@example.org", *NOWHERE], 1),
        (["top", *NOWHERE], 1),
        (["top", "--seconds", "1", *NOWHERE], 1),
        (["mi", "which"], 2),
        (["mi", "which", "--mi-listen", "127.0.0.1:1"], 2),
    ],
)
def test_exit_statuses(words: list[str], status: int) -> None:
    """2 for what was asked wrongly or of nobody, 1 without Redis; and why."""
    result = imc(*words)
    assert result.exit_code == status
    assert result.stderr


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (HttpResponse(401), MiUnreachable),
        (HttpResponse(200, b"<html>"), MiUnreachable),
        (
            HttpResponse(200, json.dumps({"error": {"code": 404, "message": "x", "data": "y"}}).encode()),
            MiFailure,
        ),
    ],
)
async def test_answers_that_are_no_result(answer: HttpResponse, error: type[Exception]) -> None:
    """Refused, no JSON, a failure with its detail."""
    seen: list[HttpRequest] = []

    async def handle(request: HttpRequest) -> HttpResponse:
        seen.append(request)
        return answer

    server = HttpServer(handle)
    _, port = await server.start("127.0.0.1", 0)
    settings = Settings(mi_listen=f"0.0.0.0:{port}", mi_token="secret")
    with pytest.raises(error):
        await asyncio.to_thread(mi_client.ask, settings, "which", [])
    await server.close()
    assert seen[0].headers["authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"LEFT": ["sip:a@h", "sip:b@h"], "USER": "sip:u@h"}, ["LEFT", "sip:a@h", "sip:b@h", "sip:u@h"]),
        (["one", "two"], ["one", "two"]),
        ("OK", ["OK"]),
    ],
)
def test_any_result_is_shown(result: Any, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Tables where there is something to line up."""
    _show(result)
    shown = capsys.readouterr().out
    assert [word for word in words if word not in shown] == []


def test_steps_are_shown_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    """Many people are cut; what was left out is told."""
    show = _printer()
    show({"process": "edge e", "left_out": "3"})
    users = " ".join(f"u{number}@h" for number in range(6))
    about = {"at": "1700000000000", "process": "edge e1", "step": "sending", "room": "r@h", "users": users}
    show(about | {"call_id": "c1@h", "type": "message"})
    first, second = capsys.readouterr().out.splitlines()
    assert "3 steps were too many for edge e" in first
    for words in ("edge", "sending", "r@h", "u3@h and 2 more", "type=message", "c1@h"):
        assert words in second


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"HASH_SIZE": "99"}, 2),
        ({}, 2),
        ({"MI_LISTEN": "127.0.0.1:0", "DB_URL": "redis://127.0.0.1:1/0"}, 1),
    ],
)
def test_imc_mi_server_does_not_start(
    given: dict[str, str], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With wrong settings, with nothing to serve, without Redis."""
    monkeypatch.setattr("sys.argv", ["imc mi-server"])
    monkeypatch.setattr(mi_process.logs, "configure", lambda _settings: None)
    for name, value in given.items():
        monkeypatch.setenv(f"IMC_{name}", value)
    assert mi_process.main() == status
    assert capsys.readouterr().err
