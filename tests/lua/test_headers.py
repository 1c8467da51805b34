"""The header of a script says what its body does."""

from __future__ import annotations

import re

import pytest

from imc_common import keys
from imc_common.keys import Keys
from imc_common.rooms import commands, roles, texts
from tests.lua.header import FOLDER, events_of, header_of
from tests.lua.shard import SCRIPTS

every_script = pytest.mark.parametrize("script", sorted(SCRIPTS.sources))
PATTERNS = {
    Keys().rooms("S"),
    Keys().room("S", "ROOM"),
    Keys().members("S", "ROOM"),
    keys.requests("S"),
    Keys().history("S", "ROOM"),
    keys.history_off("S"),
    keys.expiring("S", "ROOM"),
    keys.events("S"),
    keys.DIGEST_KEYS,
    keys.dead("S"),
    keys.undelivered("S"),
    *keys.accepting("S"),
    keys.settled("S", "ENTRY"),
    keys.sequence("S", "DIALOG"),
    keys.lease("S", "ROLE"),
    keys.limit_notice("S", "LIMIT", "USER"),
    keys.budget("S", "KIND", "USER"),
    keys.typing("S", "ROOM", "SENDER"),
    keys.authors("S", "ROOM", "recent"),
    keys.authors("S", "ROOM", "older"),
    *(keys.receipts("S", "ROOM", part) for part in ("recent", "older")),
    *(keys.away_rooms("S", who) for who in ("USER", "FROM")),
    keys.probes("S"),
    keys.probe_waits("S"),
    *(keys.private_rooms("S", who) for who in ("SENDER", "USER", "FROM")),
    *(keys.owned_rooms("S", who) for who in ("SENDER", "USER", "FROM")),
    f"{keys.requests('S')} or {keys.events('S')}",
    f"{Keys().members('S', 'ROOM')} or {keys.devices('S', 'ROOM')}",
    f"{keys.WORKERS}, {keys.EDGES} or {keys.EDGE_ADDRESSES}",
}
NUMBERS = ("zero", "one", "two", "three", "four", "five")
TYPES = {"string", "hash", "set", "sorted set", "stream"}


@every_script
def test_a_header_states_a_purpose(script: str) -> None:
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
        if further and pattern == f"these {NUMBERS[len(named)]} of each further shard":
            continue
        assert pattern in PATTERNS
        assert kind.strip().partition("  ")[0] in TYPES


@every_script
def test_arguments_are_bound_as_the_header_names_them(script: str) -> None:
    """In the header's order; `...` stands for any number of further ones."""
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
def test_keys_and_arguments_are_not_read_by_number(script: str) -> None:
    """Except in the lines that bind them to names."""
    binding = (
        r"^local .* = (unpack\((KEYS|ARGV)\)|(KEYS|ARGV)\[1\]|\{ unpack\((KEYS|ARGV), \d+\) \}|ARGV(, \d+)?)$"
    )
    body = re.sub(rf"{binding}|--.*$", "", SCRIPTS.sources[script], flags=re.MULTILINE)
    assert not re.search(r"\b(KEYS|ARGV)\b", body)


@every_script
def test_a_header_names_all_results(script: str) -> None:
    """Every word and number that a script returns is in its header, and no other."""
    source = re.sub(r"^--.*", "", SCRIPTS.sources[script], flags=re.MULTILINE)
    functions = {
        "refusal",
        "with_role",
        "has_group",
        "emit",
        "lack_of_place",
        "note_failure",
    }  # return to the script, not to its caller
    for name in functions:
        source = re.sub(rf"^local function {name}\(.*?^end$", "", source, flags=re.MULTILINE | re.DOTALL)
    returned = set(re.findall(r'\breturn (?:there and )?"(\w+)"(?: or "(\w+)")?', source))
    words = {word for pair in returned for word in pair if word} | set(
        re.findall(r"\breturn (\d)$", source, re.MULTILINE)
    )
    named = {name for name in header_of(script).names("Returns") if not name.startswith("(")}
    assert words == named


@every_script
def test_a_header_names_all_events(script: str) -> None:
    """Every event a script can emit is in its header, or in that of an include, and no other."""
    emitted = set(
        re.findall(r'\b(?:emit|admit|tell|announce)\((?:request\.\w+, )?"(\w+)"', SCRIPTS.sources[script])
    )
    named = events_of(script, SCRIPTS.sources[script])
    assert emitted == named or script == "notify_sender"  # whose event is an argument


@every_script
def test_a_header_names_all_reasons(script: str) -> None:
    """The reasons in a script's own lines are in its header; the script can give each that its header
    names."""
    header = header_of(script)
    assert {word for word in texts.REASONS if f'"{word}"' in header.body} <= header.reasons
    assert {word for word in header.reasons if f'"{word}"' not in SCRIPTS.sources[script]} == set()


def test_every_event_and_reason_has_a_text() -> None:
    """No text is left over, except for refusals by the edge."""
    headers = [header_of(script) for script in SCRIPTS.sources]
    events = [events_of(script, source) for script, source in SCRIPTS.sources.items()]
    assert set().union(*events) == texts.EVENTS
    of_scripts = set().union(*(header.reasons for header in headers))
    assert of_scripts | set(commands.REASONS) | set(texts.OVER_LIMIT) == texts.REFUSALS
    assert set(texts.WHY_FAILED) == set(
        re.findall(r'"(no_response|delivery_failed)"', header_of("withdraw_invitation").body)
    )


def test_the_roles_of_the_scripts_are_those_of_python() -> None:
    """`room.lua` and `may_speak.lua` in `lua/include/` have copies, highest role first."""
    source = SCRIPTS.sources["modify_member"]
    (ranks,) = re.findall(r"^local RANK = \{ (.*) \}$", source, re.MULTILINE)
    assert ranks == ", ".join(f"{role} = {rank}" for rank, role in enumerate(roles.ROLES, 1))
    (in_charge,) = re.findall(r"^local IN_CHARGE = \{ (.*) \}$", source, re.MULTILINE)
    assert in_charge == ", ".join(f"{role} = true" for role in roles.IN_CHARGE)
    (here,) = re.findall(r"^local HERE = \{\n(.*?)\n\}$", source, re.MULTILINE | re.DOTALL)
    lines = [", ".join(f"{role} = true" for role in roles.ROLES)]
    lines += [", ".join(f'["{role} {each}"] = "{each}"' for role in roles.ROLES) for each in roles.CLIENTS]
    lines.append(f"{roles.DEVICE} = true")
    assert [line.strip().rstrip(",") for line in here.split("\n")] == lines
    assert f'value:match("{roles.AWAY}$")' in SCRIPTS.sources["note_client"]


def test_no_script_knows_another_role() -> None:
    """Every role that a script writes or compares is one of the list, or `invited`."""
    named = {
        word
        for source in SCRIPTS.sources.values()
        for word in re.findall(r'role [=~]= "(\w+)"|refusal\("(\w+)"\)', source)
        for word in word
        if word
    }
    assert named <= {*roles.ROLES, roles.INVITED}
    assert roles.INVITED in named


def test_the_head_of_an_include_names_each_function_that_other_files_call() -> None:
    """Who reads such a call finds where the function is."""
    sources = {path: path.read_text(encoding="utf-8") for path in FOLDER.rglob("*.lua")}
    code = {path: re.sub(r"--.*", "", source) for path, source in sources.items()}
    missing = []
    for path in (FOLDER / "include").iterdir():
        head = re.split(r"^(?!--)", sources[path], maxsplit=1, flags=re.MULTILINE)[0]
        for name in re.findall(r"^local function (\w+)", sources[path], re.MULTILINE):
            call = re.compile(rf"(?<!function ){name}\(")
            is_shared = any(
                call.search(text) and f"function {name}(" not in text
                for other, text in code.items()
                if other != path
            )
            if is_shared and not re.search(rf"\b{name}\b", head):
                missing.append(f"{path.name}: {name}")
    assert missing == []
