"""The header of a script, read as the tables it holds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "lua"
SECTIONS = ("KEYS", "ARGV", "Returns", "Events")


@dataclass(frozen=True)
class Header:
    """What a script's header says: `rows` has a list of (name, explanation) for each section."""

    purpose: str
    rows: dict[str, list[tuple[str, str]]]
    body: str

    def names(self, section: str) -> list[str]:
        """The names a section explains, in order."""
        return [name for names, _ in self.rows[section] for name in names.split(", ")]

    @property
    def reasons(self) -> set[str]:
        """The reason codes the section Events names after a colon, with `refused`."""
        text = " ".join(text for name, text in self.rows["Events"] if name == "refused")
        return set(re.findall(r"[a-z]+_[a-z]+(?:_[a-z]+)?", text.partition(":")[2]))


def events_of(script: str, source: str) -> set[str]:
    """The events that the headers of a script and its includes name; `source` is the script as it is run."""
    included = re.findall(r"^-- Events of this include: (.*)$", source, re.MULTILINE)
    return {*header_of(script).names("Events"), *re.findall(r"`(\w+)`", " ".join(included))}


def header_of(script: str) -> Header:
    """Reads the comment lines at a script's top; what follows is its body, includes not put in."""
    lines = (FOLDER / f"{script}.lua").read_text(encoding="utf-8").splitlines()
    end = next(number for number, line in enumerate(lines) if not line.startswith("--"))
    purpose: list[str] = []
    rows: dict[str, list[tuple[str, str]]] = {section: [] for section in SECTIONS}
    section = None
    for line in lines[:end]:
        text = line.removeprefix("--")
        if text.strip().rstrip(":") in SECTIONS and text.endswith(":"):
            section = text.strip().rstrip(":")
        elif section is None:
            purpose.append(text.strip())
        elif text.startswith("    "):  # goes on from the line above
            name, explanation = rows[section][-1]
            rows[section][-1] = (name, f"{explanation} {text.strip()}")
        elif text.strip():
            name, _, explanation = text.strip().partition("  ")
            rows[section].append((name, explanation.strip()))
    return Header(" ".join(purpose).strip(), rows, "\n".join(lines[end:]))
