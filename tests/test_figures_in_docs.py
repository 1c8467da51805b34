"""The figures of README.md and docs/performance.md are those of the latest benchmark, and quoted once."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = (ROOT / "bench/results/results.md").read_text()
README = (ROOT / "README.md").read_text()
PERFORMANCE = (ROOT / "docs/performance.md").read_text()


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading."""
    table = re.search(r"(?:^\|.*\|\n)+", text.partition(f"\n{heading}\n")[2], re.MULTILINE)
    assert table is not None, heading
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()[2:]]


def number(cell: str) -> float:
    """The first number of a cell."""
    match = re.search(r"[\d,]+(?:\.\d+)?", cell)
    assert match is not None, cell
    return float(match[0].replace(",", ""))


def test_the_readme_quotes_the_full_load_table() -> None:
    """CPU per delivery and deliveries per second, of both systems."""
    measured = [[number(row[at]) for at in (0, 1, 2, 4, 5)] for row in rows(RESULTS, "## Full load, UDP")]
    assert [[number(cell) for cell in row] for row in rows(README, "## How it scales")] == measured


def test_the_performance_page_quotes_the_ratios() -> None:
    """imc's CPU and throughput, divided by Kamailio's, with the goals of the benchmark."""
    measured = []
    for row in rows(RESULTS, "## Full load, UDP"):
        goals = [number(row[at].partition("(")[2]) for at in (3, 6)]
        measured.append([number(row[0]), number(row[3]), goals[0], number(row[6]), goals[1]])
    quoted = rows(PERFORMANCE, "## Compared with Kamailio's module")
    assert [[number(cell) for cell in row] for row in quoted] == measured


def test_the_performance_page_quotes_the_transports() -> None:
    """CPU per delivery over UDP, over UDP without segmentation, and over TCP."""
    measured: dict[float, list[float]] = {}
    for row in rows(RESULTS, "## Deliveries over UDP and TCP to the outbound proxy"):
        measured.setdefault(number(row[1]), []).append(number(row[3]))
    quoted = {
        number(row[0]): [number(cell) for cell in row[1:]] for row in rows(PERFORMANCE, "### UDP and TCP")
    }
    assert quoted == measured


def test_the_performance_page_quotes_what_cpim_costs() -> None:
    """CPU per delivery in CPIM, divided by that of plain text, by members."""
    cost: dict[float, dict[str, float]] = {}
    for row in rows(RESULTS, "## Texts in CPIM beside plain text"):
        cost.setdefault(number(row[1]), {})[row[0]] = number(row[3])
    measured = {members: f"{of['message/cpim'] / of['text/plain']:.2f}" for members, of in cost.items()}
    [paragraph] = [text for text in PERFORMANCE.split("\n\n") if text.startswith("**CPIM**")]
    quoted = re.findall(r"(\d\.\d\d) times[^.]*? with (\d+)", paragraph.replace("\n", " "))
    assert {float(members): ratio for ratio, members in quoted} == measured


def test_the_performance_page_compares_with_the_time_before_rooms_had_a_history() -> None:
    """CPU per delivery of this build without history, divided by that of the other one, by members."""
    of: dict[float, dict[str, float]] = {}
    for row in rows(RESULTS, "## This build without the history of rooms beside another"):
        of.setdefault(number(row[1]), {})[row[0]] = number(row[3])
    measured = [f"{of[members]['this'] / of[members]['other']:.2f}" for members in (2, 20, 200)]
    start = "**Switched off, history has no measurable cost.**"
    [paragraph] = [text for text in PERFORMANCE.split("\n\n") if text.startswith(start)]
    assert re.findall(r"\d\.\d\d", paragraph.partition("times as much")[0]) == measured


def test_the_performance_page_quotes_what_requests_for_history_cost() -> None:
    """The p99 of others: at once, alone, in the long run; then the longest delivery, beside and alone."""
    found = rows(RESULTS, "## 20-member rooms beside members of others who ask for their history")
    of = {row[0]: row for row in found}
    measured = [number(of[name][3]) for name in ("all at once", "nobody", "steadily")]
    measured += [round(number(of[name][6])) for name in ("all at once", "nobody")]
    start = "**Members who ask for history**"
    [paragraph] = [text for text in PERFORMANCE.split("\n\n") if text.startswith(start)]
    quoted = [float(each) for each in re.findall(r"(?<!below )\b([\d.]+) ms", paragraph.replace("\n", " "))]
    assert quoted == measured


def test_results_of_chaos_runs_are_quoted_once() -> None:
    """In docs/reliability.md; a second copy would soon differ."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("bench/*.md"), *ROOT.glob("lua/*.md")]
    quoting = [
        page.name for page in pages if re.search(r"\bseed \d{4}\b|\bmisdirected 0\b", page.read_text())
    ]
    assert quoting == ["reliability.md"]
