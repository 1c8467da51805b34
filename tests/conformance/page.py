"""Generates the tables of docs/conformance.md: run ``python -m tests.conformance.page``."""

from __future__ import annotations

import re
from pathlib import Path

from imc_common.sip.limits import DEFAULT
from tests.conformance.cases import CASES, Case
from tests.conformance.client_corpus import CLIENTS

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"
_TABLE = re.compile(r"(<!-- table: ([a-z0-9]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def tables() -> dict[str, str]:
    """The generated tables, by the name in the page's markers."""
    made = {
        rfc: ["| message | section | original | as a MESSAGE | why |", "|---|---|---|---|---|"]
        for rfc in ("rfc4475", "rfc5118")
    }
    for case in CASES:
        made[case.rfc].append(_row(case))
    limits = [
        ("message", f"{DEFAULT.message:,} bytes", 513),
        ("start line and headers", f"{DEFAULT.head:,} bytes", 513),
        ("one header field", f"{DEFAULT.header:,} bytes", 513),
        ("header fields", str(DEFAULT.headers), 513),
        ("Via values", str(DEFAULT.vias), 513),
        ("Request-URI", f"{DEFAULT.uri:,} characters", 414),
        ("method name", f"{DEFAULT.method} characters", 400),
        ("body", f"`max_body`, {DEFAULT.body:,} bytes", 413),
    ]
    made["clients"] = [
        "| message | sent by | expected |",
        "|---|---|---|",
        *(f"| {each.name} | {each.client} | `{each.expected}` |" for each in CLIENTS),
    ]
    made["limits"] = [
        "| what | maximum | status beyond it |",
        "|---|---|---|",
        *(f"| {what} | {maximum} | {status} |" for what, maximum, status in limits),
    ]
    return {name: "\n".join(lines) for name, lines in made.items()}


def filled(page: str) -> str:
    """The page with its tables generated anew."""
    known = tables()
    return _TABLE.sub(lambda match: f"{match[1]}{known[match[2]]}\n{match[3]}", page)


def _row(case: Case) -> str:
    as_message = "" if case.message is None else _statuses(case.message)
    return f"| {case.name} | {case.section} | {_statuses(case.original)} | {as_message} | {case.why} |"


def _statuses(statuses: tuple[int, ...]) -> str:
    return " or ".join(map(str, statuses)) if statuses else "no response"


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
