"""The status server, and its clients `imc health` and the probe of containers.

This file also covers imc_common/probe.py and imc_cli/health.py.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs
from typer.testing import CliRunner

from imc_cli.application import application
from imc_common import probe
from imc_common.build_info import build_info
from imc_common.http_server import HttpRequest
from imc_common.metrics import Metrics
from imc_common.probe import ask
from imc_common.settings import Settings
from imc_common.status import StatusServer
from imc_common.status import server as module
from tests.patience import PATIENCE


def get(path: str, method: str = "GET") -> HttpRequest:
    """A request for this path."""
    return HttpRequest(method, path, {})


async def test_metrics_are_in_prometheus_format() -> None:
    """Prometheus' own parser accepts them."""
    metrics = Metrics()
    metrics.counter("imc_things", "Things.").value += 3
    response = await StatusServer(metrics, lambda: "").respond(get("/metrics"))
    families = {f.name: f for f in text_string_to_metric_families(response.body.decode())}
    assert families["imc_things"].samples[0].value == 3
    assert response.content_type.startswith("text/plain; version=")


async def test_metrics_say_which_build_runs() -> None:
    """With the labels in the order they are declared in."""
    response = await StatusServer(Metrics(), lambda: "").respond(get("/metrics"))
    families = {family.name: family for family in text_string_to_metric_families(response.body.decode())}
    (sample,) = families["imc_build_info"].samples
    assert (sample.name, sample.value, sample.labels) == ("imc_build_info", 1, build_info()._asdict())


async def test_a_process_is_live_whatever_number_of_connections_is_idle_or_slow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise whoever runs the process would restart it. Half of them do not read a page of metrics."""
    monkeypatch.setattr(probe, "TIMEOUT_SECONDS", PATIENCE)
    metrics = Metrics()
    for number in range(2000):
        metrics.counter(f"imc_thing{number}", "A long page." * 20)
    server = StatusServer(metrics, lambda: "")
    host, port = await server.start(Settings(status_listen="127.0.0.1:0")) or ("", 0)
    writers = []
    try:
        for number in range(100):
            _, writer = await asyncio.open_connection(host, port)
            writer.write(b"GET /metrics HTTP/1.1\r\n\r\n" if number % 2 else b"GET /livez")
            writers.append(writer)
            if number >= 60:  # all connections are taken by now, or nearly
                assert await asyncio.to_thread(ask, host, port, "/livez") == (200, "ok")
    finally:
        for writer in writers:
            writer.transport.abort()
        await server.close()


async def test_a_process_with_a_problem_is_live_but_not_ready() -> None:
    """It is not restarted, and gets no traffic."""
    server = StatusServer(Metrics(), lambda: "redis is unreachable")
    assert (await server.respond(get("/livez"))).status == 200
    ready = await server.respond(get("/readyz"))
    assert (ready.status, ready.body) == (503, b"redis is unreachable\n")
    assert b"\nimc_ready 0.0\n" in (await server.respond(get("/metrics"))).body
    well = StatusServer(Metrics(), lambda: "")
    assert b"\nimc_ready 1.0\n" in (await well.respond(get("/metrics"))).body


async def test_other_paths_and_methods_are_refused() -> None:
    """With 404, and with 405 and the allowed methods."""
    server = StatusServer(Metrics(), lambda: "")
    assert (await server.respond(get("/"))).status == 404
    refused = await server.respond(get("/metrics", "POST"))
    assert (refused.status, refused.headers) == (405, (("Allow", "GET, HEAD"),))


async def test_without_status_listen_there_is_no_server() -> None:
    """The default is none."""
    server = StatusServer(Metrics(), lambda: "")
    assert await server.start(Settings()) is None
    await server.close()


async def test_an_address_in_use_does_not_stop_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log says what to do. The status server starts as soon as the address is free."""
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.05)
    first, second, third = (StatusServer(Metrics(), lambda: "") for _ in range(3))
    address = await first.start(Settings(status_listen="127.0.0.1:0"))
    assert address is not None
    settings = Settings(status_listen=f"127.0.0.1:{address[1]}")
    with capture_logs() as logged:
        assert await second.start(settings) is None
        assert await third.start(settings) is None
    await third.close()
    assert logged[0]["log_level"] == "error"
    assert "status_listen" in logged[0]["hint"]
    await first.close()
    async with asyncio.timeout(PATIENCE):
        while (await asyncio.to_thread(ask, *address, "/livez"))[0] != 200:
            await asyncio.sleep(0.05)
    await second.close()


@pytest.mark.parametrize(("trouble", "live", "status"), [("", False, 0), ("ill", False, 1), ("ill", True, 0)])
async def test_imc_health_reports_by_its_exit_status(trouble: str, live: bool, status: int) -> None:
    """0: ready (with --live: live), 1: not."""
    server = StatusServer(Metrics(), lambda: trouble)
    address = await server.start(Settings(status_listen="0.0.0.0:0"))
    assert address is not None
    arguments = ["health", "--status-listen", f"0.0.0.0:{address[1]}", *(["--live"] if live else [])]
    result = await asyncio.to_thread(CliRunner().invoke, application(), arguments)
    await server.close()
    assert result.exit_code == status, result.output
    assert (trouble if status else "ok") in result.output


def test_imc_health_without_an_address_ends_with_status_2() -> None:
    """That is a mistake in the settings."""
    result = CliRunner().invoke(application(), ["health"], env={"IMC_STATUS_LISTEN": ""})
    assert result.exit_code == 2


def test_an_unreachable_status_server_is_reported() -> None:
    """With status 0 and the reason."""
    status, text = ask("127.0.0.1", 1, "/readyz")
    assert status == 0
    assert "127.0.0.1:1" in text


@pytest.mark.parametrize(("trouble", "status"), [("", 0), ("ill", 1)])
async def test_the_container_probe_reports_by_its_exit_status(
    trouble: str, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It reads only the environment."""
    server = StatusServer(Metrics(), lambda: trouble)
    address = await server.start(Settings(status_listen="0.0.0.0:0"))
    assert address is not None
    monkeypatch.setenv("IMC_STATUS_LISTEN", f"0.0.0.0:{address[1]}")
    assert await asyncio.to_thread(probe.main) == status
    await server.close()
    assert (trouble or "ok") in capsys.readouterr().out


def test_the_probe_without_an_address_ends_with_status_2(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads only IMC_STATUS_LISTEN."""
    monkeypatch.delenv("IMC_STATUS_LISTEN", raising=False)
    assert probe.main() == 2


def test_the_probe_loads_nothing_heavy() -> None:
    """It runs in every container every ten seconds."""
    code = "import sys, imc_common.probe; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"pydantic", "typer", "redis", "asyncio"} & set(loaded.split())
