"""The status pages, asked by `imc health` as well."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from imc_cli import application
from imc_common import probe
from imc_common.build_info import build_info
from imc_common.http_server import HttpRequest
from imc_common.metrics import Metrics
from imc_common.probe import ask
from imc_common.settings import Settings
from imc_common.status import StatusPages


def get(path: str, method: str = "GET") -> HttpRequest:
    """A request for a page."""
    return HttpRequest(method, path, {})


async def test_metrics_are_in_prometheus_format() -> None:
    """As its own parser reads it."""
    metrics = Metrics()
    metrics.counter("imc_things", "Things.").value += 3
    answer = await StatusPages(metrics, lambda: "").answer(get("/metrics"))
    families = {f.name: f for f in text_string_to_metric_families(answer.body.decode())}
    assert families["imc_things"].samples[0].value == 3
    assert answer.content_type.startswith("text/plain; version=")


async def test_metrics_say_which_build_runs() -> None:
    """With the labels in the order they are declared in."""
    answer = await StatusPages(Metrics(), lambda: "").answer(get("/metrics"))
    families = {family.name: family for family in text_string_to_metric_families(answer.body.decode())}
    (sample,) = families["imc_build_info"].samples
    assert (sample.name, sample.value, sample.labels) == ("imc_build_info", 1, build_info()._asdict())


async def test_a_process_in_trouble_lives_but_is_not_ready() -> None:
    """So it is not restarted, but gets no work."""
    pages = StatusPages(Metrics(), lambda: "redis is unreachable")
    assert (await pages.answer(get("/livez"))).status == 200
    ready = await pages.answer(get("/readyz"))
    assert (ready.status, ready.body) == (503, b"redis is unreachable\n")
    assert b"\nimc_ready 0.0\n" in (await pages.answer(get("/metrics"))).body
    well = StatusPages(Metrics(), lambda: "")
    assert b"\nimc_ready 1.0\n" in (await well.answer(get("/metrics"))).body


async def test_other_paths_and_methods_are_refused() -> None:
    """404 and 405 with the methods there are."""
    pages = StatusPages(Metrics(), lambda: "")
    assert (await pages.answer(get("/"))).status == 404
    refused = await pages.answer(get("/metrics", "POST"))
    assert (refused.status, refused.headers) == (405, (("Allow", "GET, HEAD"),))


async def test_without_the_setting_nothing_listens() -> None:
    """The default."""
    pages = StatusPages(Metrics(), lambda: "")
    assert await pages.start(Settings()) is None
    await pages.close()


async def test_a_taken_address_leaves_the_process_running() -> None:
    """Messages matter more than pages about them."""
    first, second = (StatusPages(Metrics(), lambda: "") for _ in range(2))
    address = await first.start(Settings(status_listen="127.0.0.1:0"))
    assert address is not None
    assert await second.start(Settings(status_listen=f"127.0.0.1:{address[1]}")) is None
    await first.close()


@pytest.mark.parametrize(("trouble", "live", "status"), [("", False, 0), ("ill", False, 1), ("ill", True, 0)])
async def test_imc_health_tells_by_its_exit_status(trouble: str, live: bool, status: int) -> None:
    """0 ready (with --live: living), 1 not."""
    pages = StatusPages(Metrics(), lambda: trouble)
    address = await pages.start(Settings(status_listen="0.0.0.0:0"))
    assert address is not None
    arguments = ["health", "--status-listen", f"0.0.0.0:{address[1]}", *(["--live"] if live else [])]
    result = await asyncio.to_thread(CliRunner().invoke, application(), arguments)
    await pages.close()
    assert result.exit_code == status, result.output
    assert (trouble if status else "ok") in result.output


def test_imc_health_without_an_address_says_so() -> None:
    """Exit status 2: that is a mistake in the settings."""
    result = CliRunner().invoke(application(), ["health"], env={"IMC_STATUS_LISTEN": ""})
    assert result.exit_code == 2


def test_nobody_there_is_not_well() -> None:
    """Status 0 and why."""
    status, text = ask("127.0.0.1", 1, "/readyz")
    assert status == 0
    assert "127.0.0.1:1" in text


@pytest.mark.parametrize(("trouble", "status"), [("", 0), ("ill", 1)])
async def test_the_probe_of_containers_tells_the_same(
    trouble: str, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the environment alone."""
    pages = StatusPages(Metrics(), lambda: trouble)
    address = await pages.start(Settings(status_listen="0.0.0.0:0"))
    assert address is not None
    monkeypatch.setenv("IMC_STATUS_LISTEN", f"0.0.0.0:{address[1]}")
    assert await asyncio.to_thread(probe.main) == status
    await pages.close()
    assert (trouble or "ok") in capsys.readouterr().out


def test_the_probe_without_an_address_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit status 2."""
    monkeypatch.delenv("IMC_STATUS_LISTEN", raising=False)
    assert probe.main() == 2


def test_the_probe_loads_nothing_heavy() -> None:
    """It runs in every container every ten seconds."""
    code = "import sys, imc_common.probe; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"pydantic", "typer", "redis", "asyncio"} & set(loaded.split())
