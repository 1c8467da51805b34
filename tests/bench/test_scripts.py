"""The measurement of Lua scripts against another version."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench import scripts
from imc_common.scripts import lua_folder

pytestmark = pytest.mark.integration


def measured(old: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines that it prints."""
    monkeypatch.setattr(sys, "argv", ["bench.scripts", str(old), "--calls", "1"])
    assert scripts.main() == 0
    return capsys.readouterr().out.splitlines()


def test_every_hot_script_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """KEYS and ARGV follow the headers: a script that gets another argument needs it in `ARGUMENT`."""
    lines = measured(lua_folder(), monkeypatch, capsys)
    assert [line.partition(":")[0] for line in lines] == list(scripts.CASES)
    assert all("median ratio" in line for line in lines), lines


def test_a_script_with_arguments_of_another_version_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says so, and measures the others."""
    (tmp_path / "include").symlink_to(lua_folder() / "include")
    for path in lua_folder().glob("*.lua"):
        text = path.read_text(encoding="utf-8")
        (tmp_path / path.name).write_text(
            text.replace("--   settled_ttl_ms", "--   unheard_of"), encoding="utf-8"
        )
    lines = measured(tmp_path, monkeypatch, capsys)
    assert [line for line in lines if "not measured" in line] == [
        "settle: not measured, one version does not have it or 'unheard_of'"
    ]
