"""Errors and output of `imc mi`, `imc trace`, `imc top` and `imc mi-server`. Covers mi.py, mi_client.py and
trace.py.

Their normal use is tested in tests/integration/mi and tests/integration/test_seeing.py.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from imc_cli import mi_client
from imc_cli.application import application
from imc_cli.mi import _show
from imc_cli.mi_client import MiFailure, MiUnreachable
from imc_cli.trace import _printer
from imc_common.http_server import HttpRequest, HttpResponse, HttpServer
from imc_common.settings import Settings
from imc_worker.mi import __main__ as mi_process

NOWHERE = ["--db-url", "redis://127.0.0.1:1/0"]


def imc(*words: str) -> Result:
    """Run the command line with these arguments."""
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
def test_commands_that_fail_have_an_exit_status_and_a_reason(words: list[str], status: int) -> None:
    """2 for wrong arguments and for no response, 1 without Redis."""
    result = imc(*words)
    assert result.exit_code == status
    assert result.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("mi which", "Set --mi-listen HOST:PORT or --mi-fifo PATH"),
        ("mi which --mi-listen 127.0.0.1:1", "no response from 127.0.0.1:1: Connection refused\n"),
        ("health", "Set --status-listen HOST:PORT"),
    ],
)
def test_a_command_that_finds_no_process_says_what_to_set(command: str, said: str) -> None:
    """Or where it has looked."""
    result = imc(*command.split())
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (HttpResponse(401), MiUnreachable),
        (HttpResponse(200, b"<html>"), MiUnreachable),
        (
            HttpResponse(200, json.dumps({"error": {"code": 404, "message": "x", "data": "y"}}).encode()),
            MiFailure,
        ),
    ],
)
async def test_responses_without_a_result_are_errors(response: HttpResponse, error: type[Exception]) -> None:
    """Refused, not JSON, or a failure with details."""
    seen: list[HttpRequest] = []

    async def handle(request: HttpRequest) -> HttpResponse:
        seen.append(request)
        return response

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
        ([["text"], ["text", "room"]], ["text\ntext room\n"]),
        ({"ROOMS": [{"URI": "sip:r@h", "MEMBERS": 2, "OWNER": "sip:o@h"}]}, ["1 room ", "sip:o@h"]),
        ({"ROOMS": [{"ROOM": "sip:r@h", "ROLE": "member"}], "MESSAGES": []}, ['"ROLE": "member"']),
        ("OK", ["OK"]),
    ],
)
def test_any_mi_result_is_printed(result: Any, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """As a table, as text, or as JSON."""
    _show(result)
    shown = capsys.readouterr().out
    assert [word for word in words if word not in shown] == []


def test_imc_trace_prints_a_line_for_each_step(capsys: pytest.CaptureFixture[str]) -> None:
    """Long lists of users are shortened; steps that were left out are counted."""
    show = _printer()
    show({"process": "edge e", "left_out": "3"})
    users = " ".join(f"u{number}@h" for number in range(6))
    about = {"at": "1700000000000", "process": "edge e1", "step": "sending", "room": "r@h", "users": users}
    show(about | {"call_id": "c1@h", "type": "message"})
    first, second = capsys.readouterr().out.splitlines()
    assert "3 steps of edge e left out" in first
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
def test_imc_mi_server_reports_why_it_does_not_start(
    given: dict[str, str], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong settings, neither FIFO nor address, or no Redis."""
    monkeypatch.setattr("sys.argv", ["imc mi-server"])
    monkeypatch.setattr(mi_process.logs, "configure", lambda _settings: None)
    for name, value in given.items():
        monkeypatch.setenv(f"IMC_{name}", value)
    assert mi_process.main() == status
    assert capsys.readouterr().err
