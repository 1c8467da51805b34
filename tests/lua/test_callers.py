"""What Python gives to a script is what the script's header asks for."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from imc_common.keys import Keys
from imc_common.scripts import Command
from imc_common.settings import Settings
from imc_worker.all_shards import AllShards
from imc_worker.dispatcher import Dispatcher
from tests.lua.header import FOLDER, header_of
from tests.lua.shard import SCRIPT_OF, SCRIPTS

ROOT = FOLDER.parent
REQUESTS = [*SCRIPT_OF, "help", "rooms", "refused"]


def calls() -> Iterator[tuple[str, str, list[ast.expr], list[ast.expr]]]:
    """Every call in the packages that names a script and gives KEYS and ARGV as lists."""
    for package in ("imc_common", "imc_edge", "imc_worker"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                match node:
                    case ast.Call(
                        func=ast.Attribute(attr="script" | "command"),
                        args=[ast.Constant(value=str(name)), ast.List(elts=script_keys), ast.List(elts=args)],
                    ):
                        yield str(Path(path).relative_to(ROOT)), name, script_keys, args


def test_python_callers_give_what_the_headers_ask() -> None:
    """As many KEYS and ARGV as the header of the script names."""
    found = list(calls())
    assert found
    for where, script, script_keys, args in found:
        header = header_of(script)
        named = header.names("ARGV")
        starred = any(isinstance(arg, ast.Starred) for arg in args)
        assert len(script_keys) == len(header.names("KEYS")), (where, script)
        assert starred or "..." in named or len(args) == len(named), (where, script)


class NoRooms:
    """A store that holds nothing."""

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """No set has members, no page has rooms."""
        return [[] if command[0] in {"ZRANGE", "SMEMBERS"} else 0 for command in commands]


@pytest.mark.parametrize("kind", [*REQUESTS, "receipt of invited", "receipt of message", "receipt of 503"])
async def test_dispatcher_gives_what_the_headers_ask(kind: str) -> None:
    """Its KEYS are the header's patterns filled in, its ARGV as many as the header names."""
    kind, _, event = kind.partition(" of ")
    status = "503" if event == "503" else "404"
    fields = {
        "type": kind,
        "from": "SENDER",
        "room": "ROOM",
        "user": "USER",
        "event": event,
        "status": status,
    }
    flat = [text.encode() for pair in fields.items() for text in pair]
    dispatcher = Dispatcher(SCRIPTS, AllShards(NoRooms(), Keys(), 16), Settings())
    (command,) = await dispatcher.commands([(3, b"1-1", flat)])
    assert not isinstance(command, Exception), command

    sha, count = str(command[1]), int(command[2])
    header = header_of(next(name for name, text in SCRIPTS.sources.items() if SCRIPTS.source_of(sha) == text))
    patterns = [explanation.partition("  ")[0] for _, explanation in header.rows["KEYS"]]
    wanted = [pattern.replace("{S}", "{3}").replace(":FROM", ":SENDER") for pattern in patterns]
    assert list(command[3 : 3 + count]) == wanted
    named = header.names("ARGV")
    given = len(command) - 3 - count
    assert given == len(named) or ("..." in named and given >= len(named) - 1)
