"""The dashboard, the alerts, the scrape configuration and docs/operating.md name what exists in the code."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from imc_common.settings import Settings
from imc_worker.mi.commands import MiCommands
from tests.tools import require

BY_SHARD = {"imc_backlog", "imc_pending", "imc_dead_letters"}
ROOT = Path(__file__).parents[1]
DASHBOARD = json.loads((ROOT / "deploy/grafana/imc.json").read_text())
ALERTS = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())


@cache
def defined() -> frozenset[str]:
    """Every metric that the sources define, as Prometheus shows it."""
    kinds = {"counter": ("_total",), "counters": ("_total",), "gauge": ("",), "histogram": ("_bucket",)}
    names = set()
    for package in ("imc_common", "imc_edge", "imc_worker"):
        for path in (ROOT / package).rglob("*.py"):
            found = re.findall(r'\.(counters?|gauge|histogram)\(\s*"(imc_\w+)"', path.read_text())
            names |= {name + ending for kind, name in found for ending in kinds[kind]}
    return frozenset(names)


def queries() -> list[str]:
    """Every query of the dashboard."""
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def expressions() -> list[str]:
    """Every query of the dashboard and of the alerts."""
    return queries() + [rule["expr"] for group in ALERTS["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("expression", expressions())
def test_every_query_uses_existing_metrics(expression: str) -> None:
    """After a renaming, a panel would be empty or an alert would never fire."""
    asked = set(re.findall(r"\bimc_\w+", expression))
    assert asked or expression.startswith("up{")
    assert asked <= defined()
    assert expression.count("(") == expression.count(")")


def test_every_important_metric_has_a_panel() -> None:
    """Requests, latencies, deliveries, backlog, pending, leases, retransmissions, reports, rooms."""
    shown = set(re.findall(r"\bimc_\w+", " ".join(expressions())))
    assert shown >= {
        *("imc_responses_total", "imc_accept_seconds_bucket", "imc_delivery_seconds_bucket"),
        *("imc_deliveries_total", "imc_backlog", "imc_pending", "imc_leases", "imc_delivery_reports_total"),
        *("imc_delivery_retransmissions_total", "imc_active_rooms", "imc_members", "imc_dead_letters"),
    }


def test_no_metric_has_a_label_per_room_or_user() -> None:
    """The number of rooms and users is unbounded, and so would be the number of time series."""
    sources = "".join(path.read_text() for path in ROOT.glob("imc_*/**/*.py"))
    labels = set(re.findall(r"by \(([\w, ]+)\)", " ".join(expressions())))
    assert not {"room", "user", "address"} & {name for each in labels for name in each.split(", ")}
    assert not re.search(r'counters\(\s*"[^"]+",\s*"[^"]+",\s*"(room|user|address)"', sources)


def parts(node: Any) -> Iterator[dict[str, Any]]:
    """Every object of the dashboard, the outermost first."""
    if isinstance(node, dict):
        yield node
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from parts(inner)


def test_the_dashboard_can_be_imported_into_any_grafana() -> None:
    """It names no data source and no database id of the Grafana that it was made with."""
    sources = [part["datasource"] for part in parts(DASHBOARD) if "datasource" in part]
    assert len(sources) > len(DASHBOARD["panels"])
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
    assert DASHBOARD.get("id") is None
    first, *others = DASHBOARD["templating"]["list"]
    assert (first["name"], first["type"], first["query"]) == ("datasource", "datasource", "prometheus")
    assert [each["name"] for each in others] == ["instance", "shard"]


def test_dashboard_variables_are_read_from_existing_metrics() -> None:
    """All values are chosen at first; the list comes from the label that the queries filter by."""
    for variable in DASHBOARD["templating"]["list"][1:]:
        assert variable["multi"] is variable["includeAll"] is True
        assert variable["current"]["value"] == ["$__all"]
        match = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])
        assert match
        assert match[1] in defined()
        assert match[2] == variable["name"]


@pytest.mark.parametrize("query", queries())
def test_every_dashboard_query_follows_the_variables(query: str, tmp_path: Path) -> None:
    """Each metric is filtered by instance, and by shard where it has that label; Prometheus can parse it."""
    for metric, labels in re.findall(r"\b(imc_\w+)(\{[^}]*\})?", query):
        assert 'instance=~"$instance"' in labels, metric
        assert ('shard=~"$shard"' in labels) == (metric in BY_SHARD), metric
    rule = {"record": "r", "expr": query.replace("$__rate_interval", "1m")}
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": [rule]}]}))
    words = [require("promtool"), "check", "rules", tmp_path / "rules.yml"]
    checked = subprocess.run(words, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_dashboard_panels_do_not_overlap() -> None:
    """They also stay within the 24 columns of a dashboard."""
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken
        taken |= cells


def test_prometheus_scrapes_the_status_port_of_the_compose_services() -> None:
    """It finds them by name; the metrics services belong to a profile that is off by default."""
    scrape = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    found: list[dict[str, Any]] = [job["dns_sd_configs"][0] for job in scrape]
    assert {job["names"][0] for job in found} == {"edge", "worker"} <= set(COMPOSE["services"])
    (port,) = {job["port"] for job in found}
    for role in ("edge", "worker"):
        environment = COMPOSE["services"][role]["environment"]
        settings = Settings(status_listen=environment["IMC_STATUS_LISTEN"])
        assert settings.status_listen.endswith(f":{port}")
        assert COMPOSE["services"][role]["healthcheck"]["test"] == [
            "CMD",
            "python3",
            "-I",
            "-m",
            "imc_common.probe",
        ]
    for extra in ("prometheus", "grafana"):
        service = COMPOSE["services"][extra]
        assert service["profiles"] == ["metrics"]
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            assert not source.startswith("./") or (ROOT / source).exists()


def test_the_documented_table_of_metrics_matches_the_code() -> None:
    """`docs/operating.md` names every metric, and no other."""
    section = (ROOT / "docs/operating.md").read_text().split("\n## Metrics\n")[1].split("\n## ")[0]
    told = set(re.findall(r"^\| `(imc_\w+)` \|", section, re.MULTILINE))
    assert told == {name.removesuffix("_bucket") for name in defined()}


def test_the_documented_table_of_mi_commands_matches_the_code() -> None:
    """Names and parameters of each command."""
    section = (ROOT / "docs/operating.md").read_text().split("\n## Use the management interface\n")[1]
    told = {}
    for names, params in re.findall(r"^\| (`[^|]+) \|([^|]*)\|", section, re.MULTILINE):
        for name in re.findall(r"`([^`]+)`", names):
            told[name] = re.findall(r"`(\w+)`", params)
    there = MiCommands(None, None, None, Settings()).table  # type: ignore[arg-type] # none of them is run
    assert told == {
        name: list(command.params) for name, command in there.items() if not name.startswith(("imc:", "imc."))
    }
