"""The pages as a web site."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """`mkdocs build --strict`: every link leads to an existing page and heading."""
    # without --quiet: with it, MkDocs does not count its warnings, and a broken link would pass
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert built.returncode == 0, built.stderr
    for page in ("index.html", "first-chat/index.html", "lua/index.html", "bench/results/results/index.html"):
        text = (tmp_path / page).read_text()
        assert "<h1" in text
        assert 'href="docs/' not in text, "links have to lead to the site's paths"


def test_the_table_of_commands_is_complete() -> None:
    """`docs/cli.md` has a row for each `imc …`."""
    help_text = subprocess.run(
        [sys.executable, "-c", "from imc_cli import application; application()(['--help'])"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    table = (ROOT / "docs" / "cli.md").read_text()
    commands = [
        line.split()[1] for line in help_text.splitlines() if line.startswith("│ ") and line[2] != " "
    ]
    assert "top" in commands
    assert [
        command
        for command in commands
        if not command.startswith("--") and f"| `imc {command}` |" not in table
    ] == []
