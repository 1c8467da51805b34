"""The reference page of settings."""

from __future__ import annotations

import tomllib
from pathlib import Path

from imc_common.reload import RELOADABLE
from imc_common.settings import Settings, load
from imc_common.settings.reference import page
from imc_common.settings.toml import effective

ROOT = Path(__file__).parents[3]


def test_the_page_is_up_to_date() -> None:
    """To update it: python -m imc_common.settings.reference > docs/settings.md"""
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == page()


def test_every_setting_has_a_description_and_its_allowed_values() -> None:
    """No cell of the table is empty."""
    for row in page().splitlines():
        if row.startswith("| `"):
            name, default, allowed, _, about = row.replace(r"\|", "").strip("|").split("|")
            assert all(cell.strip() for cell in (name, default, allowed, about)), row
    assert all(f"| `{name}` |" in page() for name in Settings.model_fields)


def test_every_reloadable_setting_says_so_on_the_page() -> None:
    """The column names the processes that apply a change on SIGHUP."""
    rows = [
        row.replace(r"\|", "").strip("|").split("|") for row in page().splitlines() if row.startswith("| `")
    ]
    shown = {row[0].strip(" `"): row[3].strip() for row in rows}
    assert RELOADABLE["edge"] == {name for name, who in shown.items() if who in ("edges", "both")}
    assert RELOADABLE["worker"] == {name for name, who in shown.items() if who in ("workers", "both")}


def test_effective_settings_can_be_used_as_a_settings_file(tmp_path: Path) -> None:
    """The output of `imc check` is a valid file, also with unusual characters."""
    values = {
        "sender_prefix": 'a "\\\x7f é',
        "listen": "udp:[::1]:0",
        "create_on_join": "false",
        "lease_ttl": 2,
    }
    first = load(None, {}, values).settings
    written = effective(load(None, {}, values))
    assert set(tomllib.loads(written)) == set(Settings.model_fields)
    (tmp_path / "imc.toml").write_text(written)
    assert load(tmp_path / "imc.toml", {}, {}).settings == first
