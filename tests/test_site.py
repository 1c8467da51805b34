"""The pages as a web site."""

from __future__ import annotations

import re
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


def test_the_readme_lists_the_pages_in_the_order_of_the_site() -> None:
    """Who reads in the repository finds the same order as on the site."""
    navigation = re.findall(r"^ +- ([\w./-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    listed = (ROOT / "README.md").read_text().partition("\n## Documentation\n")[2]
    links = [link.removeprefix("docs/") for link in re.findall(r"\]\(([\w./-]+\.md)\)", listed)]
    elsewhere = {"README.md", "bench/results/results.md", "SECURITY.md", "CHANGELOG.md", "CONTRIBUTING.md"}
    assert [link for link in links if link not in elsewhere] == [
        page for page in navigation if page not in elsewhere
    ]


def test_the_table_of_commands_is_complete() -> None:
    """`docs/cli.md` has a row for each `imc …`."""
    help_text = subprocess.run(
        [sys.executable, "-c", "from imc_cli.application import application; application()(['--help'])"],
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
