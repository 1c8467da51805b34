"""The Lua scripts as test doubles of a store use them: every command is compared with its script's header."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import ClassVar

from imc_common.scripts import Command, Scripts
from tests.lua.header import header_of

_WORDS = {"S": r"\d+", "ROLE": "worker|edge"}
"""What stands in keys for the capitals of a header; anything for the other ones."""


@cache
def _patterns(script: str) -> tuple[list[re.Pattern[str]], bool]:
    """What each of the named keys looks like, and whether those of further shards may be behind them."""
    named = []
    for name, explanation in header_of(script).rows["KEYS"]:
        if name == "...":
            return named, True
        alternatives = re.split(", | or ", explanation.partition("  ")[0])
        patterns = [
            re.sub(r"[A-Z]+", lambda word: f"(?:{_WORDS.get(word[0], '.*')})", re.escape(each))
            for each in alternatives
        ]
        named.append(re.compile("|".join(patterns), re.DOTALL))
    return named, False


def check_call(script: str, keys: Sequence[str], args: Sequence[object]) -> None:
    """Fails unless these are KEYS and ARGV as the script's header asks for them."""
    named, has_further = _patterns(script)
    assert len(keys) == len(named) or (has_further and keys and len(keys) % len(named) == 0), (script, keys)
    for at, key in enumerate(keys):
        pattern = named[at % len(named)]
        assert pattern.fullmatch(key), (script, key, pattern.pattern)
    arguments = header_of(script).names("ARGV")
    if "..." in arguments:
        assert len(args) >= len(arguments) - 1, (script, args)  # the list at the end may be empty
    else:
        assert len(args) == len(arguments), (script, args)


SCRIPTS = Scripts()
"""Read once: thousands of tests have a store of their own."""


class CheckedScripts:
    """As `Scripts`, of which a compiled form cannot have an interpreted subclass.

    `seen` has the names of all scripts that were called, in this process, since a test cleared it.
    """

    seen: ClassVar[set[str]] = set()

    def __init__(self) -> None:
        self._scripts = SCRIPTS
        self.sources = self._scripts.sources
        self.source_of = self._scripts.source_of

    def command(self, name: str, keys: Sequence[str], args: Sequence[str | bytes | int]) -> Command:
        if keys or args:  # without both, a test only wants the digest of the script
            check_call(name, keys, args)
            self.seen.add(name)
        return self._scripts.command(name, keys, args)
