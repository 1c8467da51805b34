"""The exit status of the benchmark. Covers bench/report.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.report import judge, write


def window(system: str, *, seconds: float = 1.0, **faults: int) -> dict[str, Any]:
    """The judged part of a record."""
    return {"case": "fan_out", "system": system, "cpu_us_per_delivery": 1e6 * seconds, "faults": faults}


def test_slow_results_and_faults_of_kamailio_do_not_fail() -> None:
    """They are only reported."""
    assert judge([window("imc", seconds=1000.0), window("kamailio", doubled=3, lost=1)]) == 0


@pytest.mark.parametrize("fault", ["lost", "doubled", "wrong", "reordered"])
def test_one_fault_of_imc_fails(fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is printed."""
    assert judge([window("imc"), window("imc", **{fault: 1})]) == 1
    assert fault in capsys.readouterr().out


def half_offline(system: str, *, cpu: float, messages: float, seconds: float) -> dict[str, Any]:
    """The record of a window of 2 s, with the CPU in seconds and messages per second."""
    return {
        "case": "half_offline",
        "system": system,
        "cpu": {"all": cpu},
        "seconds": 2.0,
        "messages_per_second": messages,
        "seconds_until_50": seconds,
        "faults": {},
    }


def test_the_table_of_absent_members_counts_cpu_per_message(tmp_path: Path) -> None:
    """Not per delivery: Kamailio with `msilo` writes a row for each member who is absent."""
    records = [
        half_offline("kamailio", cpu=2.0, messages=500.0, seconds=0.01),  # 2 ms per message
        half_offline("imc", cpu=1.0, messages=5000.0, seconds=0.25),  # 0.1 ms
    ]
    machine = dict.fromkeys(
        ("cores", "cpu", "memory_gib", "kernel", "python", "compiled", "kamailio", "redis", "load_average"), 1
    )
    write({"records": records, "when": "now", "quick": False, "machine": machine}, tmp_path)
    table = (tmp_path / "results.md").read_text()
    assert "| Kamailio with msilo, and MariaDB | 2,000 | 500 | 0.01 | none |" in table
    assert "| imc | 100 | 5,000 | 0.25 | none |" in table
    assert "| imc / Kamailio (goal) | 0.05 (≤ 0.2) | 10.0 (≥ 5.0) |" in table
