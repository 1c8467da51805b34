"""What makes a run of the benchmark fail."""

from __future__ import annotations

from typing import Any

import pytest

from bench.report import judge


def window(system: str, *, seconds: float = 1.0, **faults: int) -> dict[str, Any]:
    """A record, as far as it is judged."""
    return {"case": "fan_out", "system": system, "cpu_us_per_delivery": 1e6 * seconds, "faults": faults}


def test_nobody_fails_by_being_slow() -> None:
    """Nor by the other system's faults."""
    assert judge([window("imc", seconds=1000.0), window("kamailio", doubled=3, lost=1)]) == 0


@pytest.mark.parametrize("fault", ["lost", "doubled", "wrong", "reordered"])
def test_one_wrong_delivery_fails(fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    """And is named."""
    assert judge([window("imc"), window("imc", **{fault: 1})]) == 1
    assert fault in capsys.readouterr().out
