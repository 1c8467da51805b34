"""The exit status of the benchmark. Covers bench/report.py."""

from __future__ import annotations

from typing import Any

import pytest

from bench.report import judge


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
