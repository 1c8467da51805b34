"""The alerts, evaluated by Prometheus's own `promtool`."""

from __future__ import annotations

import subprocess

import pytest
import yaml

from tests.processes import ROOT
from tests.tools import require

ALERTS = ROOT / "deploy/prometheus/alerts.yml"
CASES = ROOT / "tests/prometheus/alerts.yml"


@pytest.mark.parametrize(
    "words",
    [
        ("check", "rules", ALERTS),
        ("check", "config", ROOT / "deploy/prometheus/prometheus.yml"),
        ("test", "rules", CASES),
    ],
    ids=["rules are well formed", "the configuration loads them", "they fire when they should"],
)
def test_promtool_is_content(words: tuple[str, ...]) -> None:
    """With the version of Debian, the oldest that operators are likely to have."""
    done = subprocess.run([require("promtool"), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_in_one_case_and_is_silent_in_another() -> None:
    """An alert that no case makes fire may be one that cannot."""
    rules = {
        rule["alert"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
    }
    checks = [
        check for case in yaml.safe_load(CASES.read_text())["tests"] for check in case["alert_rule_test"]
    ]
    assert {check["alertname"] for check in checks if check["exp_alerts"]} == rules
    assert {check["alertname"] for check in checks if not check["exp_alerts"]} == rules


def test_each_alert_has_a_severity_and_a_summary() -> None:
    """Alertmanager routes by the one; people read the other."""
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in {"critical", "warning"}
            assert rule["annotations"]["summary"]
