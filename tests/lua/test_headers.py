"""Headers, bodies and lua/README.md say the same."""

from __future__ import annotations

import re

import pytest

from imc_common import keys
from imc_common.keys import Keys
from tests.lua.header import FOLDER, header_of
from tests.lua.shard import SCRIPTS

README = (FOLDER / "README.md").read_text(encoding="utf-8")
every_script = pytest.mark.parametrize("script", sorted(SCRIPTS.sources))
PATTERNS = {
    Keys().rooms("S"),
    Keys().room("S", "ROOM"),
    Keys().members("S", "ROOM"),
    keys.requests("S"),
    keys.events("S"),
    keys.DIGEST_KEYS,
    keys.dead("S"),
    keys.undelivered("S"),
    *keys.accepting("S"),
    keys.settled("S", "ENTRY"),
    keys.unreachable("S", "ROOM"),
    keys.lease("S", "ROLE"),
    keys.limit_notice("S", "LIMIT", "USER"),
    keys.budget("S", "KIND", "USER"),
    *(keys.private_rooms("S", who) for who in ("SENDER", "USER", "FROM")),
    *(keys.owned_rooms("S", who) for who in ("SENDER", "USER", "FROM")),
    f"{keys.requests('S')} or {keys.events('S')}",
    f"{keys.WORKERS}, {keys.EDGES} or {keys.EDGE_ADDRESSES}",
}
TYPES = {"string", "hash", "set", "sorted set", "stream"}


def table(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading or line of the README."""
    below = README.partition(heading)[2]
    rows = re.search(r"(?:^\|.*\|\n)+", below, re.MULTILINE)
    assert rows is not None
    lines = rows[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@every_script
def test_header_states_a_purpose(script: str) -> None:
    """At least one sentence."""
    assert header_of(script).purpose.endswith(".")


@every_script
def test_keys_are_bound_as_the_header_names_them(script: str) -> None:
    """In the header's order; patterns are those of imc_common/keys.py."""
    header = header_of(script)
    bound = re.search(r"^local ([\w, ]+) = (?:unpack\(KEYS\)|KEYS\[1\])$", header.body, re.MULTILINE)
    further = re.search(r"^local \w+ = \{ unpack\(KEYS, (\d+)\) \}$", header.body, re.MULTILINE)
    named = [name for name in header.names("KEYS") if name != "..."]
    assert (bound[1].split(", ") if bound else []) == named
    assert bool(further) == ("..." in header.names("KEYS"))
    assert not further or int(further[1]) == len(named) + 1
    for _, explanation in header.rows["KEYS"]:
        pattern, _, kind = explanation.partition("  ")
        assert pattern in PATTERNS
        assert kind.strip().partition("  ")[0] in TYPES


@every_script
def test_arguments_are_bound_as_the_header_names_them(script: str) -> None:
    """In the header's order; `...` stands for as many more as the caller likes."""
    header = header_of(script)
    bound = re.search(r"^local ([\w, ]+) = (?:unpack\(ARGV\)|ARGV\[1\])$", header.body, re.MULTILINE)
    further = re.search(
        r"^local [\w, ]+ = (?:\{ unpack\(ARGV, (\d+)\) \}|ARGV(?:, (\d+))?)$", header.body, re.MULTILINE
    )
    named = bound[1].split(", ") if bound else []
    assert [*named, *(["..."] if further else [])] == header.names("ARGV")
    if further and (first := further[1] or further[2]):
        assert int(first) == len(named) + 1


@every_script
def test_no_bare_index(script: str) -> None:
    """Below the first lines, which bind them, nobody reads KEYS or ARGV by number."""
    binding = (
        r"^local .* = (unpack\((KEYS|ARGV)\)|(KEYS|ARGV)\[1\]|\{ unpack\((KEYS|ARGV), \d+\) \}|ARGV(, \d+)?)$"
    )
    body = re.sub(rf"{binding}|--.*$", "", SCRIPTS.sources[script], flags=re.MULTILINE)
    assert not re.search(r"\b(KEYS|ARGV)\b", body)


@every_script
def test_results_are_all_named(script: str) -> None:
    """Every word and number a script returns stands in its header, and nothing else does."""
    source = re.sub(r"^--.*", "", SCRIPTS.sources[script], flags=re.MULTILINE)
    functions = {"refusal", "with_role", "has_group", "emit"}  # return to the script, not to its caller
    for name in functions:
        source = re.sub(rf"^local function {name}\(.*?^end$", "", source, flags=re.MULTILINE | re.DOTALL)
    returned = set(re.findall(r'\breturn (?:there and )?"(\w+)"(?: or "(\w+)")?', source))
    words = {word for pair in returned for word in pair if word} | set(
        re.findall(r"\breturn (\d)$", source, re.MULTILINE)
    )
    named = {name for name in header_of(script).names("Returns") if not name.startswith("(")}
    assert words == named


@every_script
def test_events_are_all_named(script: str) -> None:
    """Every event a script can emit stands in its header, and nothing else does."""
    emitted = set(re.findall(r'\b(?:emit|admit)\((?:request\.\w+, )?"(\w+)"', SCRIPTS.sources[script]))
    named = set(header_of(script).names("Events"))
    assert emitted == named or script == "notify_sender"  # whose event is an argument


@every_script
def test_reasons_are_named(script: str) -> None:
    """The reasons of a script's own lines stand in its header; those its header names, it has."""
    known = {row[0].strip("`") for row in table("Of `refused`:")}
    header = header_of(script)
    assert header.reasons <= known
    assert {word for word in known if f'"{word}"' in header.body} <= header.reasons
    assert {word for word in header.reasons if f'"{word}"' not in SCRIPTS.sources[script]} == set()


def test_readme_lists_every_script() -> None:
    """With the KEYS and ARGV of its header, in order, and its results."""
    room_keys = ["requests", "events", "rooms", "room", "members"]
    listed = table("## Scripts")
    rows = {row[0].strip("`"): row[1:] for row in listed}
    assert set(rows) == set(SCRIPTS.sources)
    assert len(rows) == len(listed)
    for script, (script_keys, args, results) in rows.items():
        header = header_of(script)
        stated = [
            word
            for cell in script_keys.split(", ")
            for word in (room_keys if cell == "room keys" else [cell])
        ]
        named = [name for name in header.names("KEYS") if name != "..."]
        assert [cell.split(" ")[0] for cell in stated if cell][: len(named)] == named, script
        assert ("…" in script_keys) == ("..." in header.names("KEYS")), script
        named = [name for name in header.names("ARGV") if name != "..."]
        assert [arg.split(" ")[0] for arg in args.split(", ") if arg][: len(named)] == named, script
        assert ("…" in args) == ("..." in header.names("ARGV")), script
        if words := re.findall(r"`(\w+)`", results):
            assert words == header.names("Returns"), script


def test_readme_lists_every_event() -> None:
    """The events of all headers, each once."""
    listed = [row[0].strip("`") for row in table("## Events")]
    emitted = {name for script in SCRIPTS.sources for name in header_of(script).names("Events")}
    assert sorted(listed) == sorted(emitted)


def test_readme_lists_every_reason() -> None:
    """The reasons of all headers."""
    listed = {row[0].strip("`") for row in table("Of `refused`:")}
    assert listed == set().union(*(header_of(script).reasons for script in SCRIPTS.sources))
