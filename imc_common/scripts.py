"""The Lua scripts of `lua/` with their includes, as commands to send.

A script never contains user data: names and messages are passed as KEYS and ARGV. So a server caches one
script for each file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha1
from pathlib import Path
from types import MappingProxyType

from imc_common.errors import ImcError

_INCLUDE = re.compile(r'^ *--- @include "([a-z_]+)"$', re.MULTILINE)

Command = tuple[str | bytes | int, ...]


class ScriptError(ImcError):
    """A script or an include is missing. The error says which one, and where it was expected."""


def lua_folder() -> Path:
    """The folder of the scripts: in this package when installed, next to it in a checkout."""
    package = Path(__file__).parent
    installed = package / "lua"
    return installed if installed.is_dir() else package.parent / "lua"


class Scripts:
    """All scripts by name.

    `sources` maps a script's name to its text with all includes. Raises `ScriptError` if the folder has no
    scripts or a script includes a file that is not there.
    """

    def __init__(self, folder: Path | None = None) -> None:
        folder = folder or lua_folder()
        includes = {path.stem: path.read_text("utf-8") for path in folder.glob("include/*.lua")}
        scripts = {path.stem: path.read_text("utf-8") for path in sorted(folder.glob("*.lua"))}
        if not scripts:
            raise ScriptError(f"no Lua scripts in {folder}")
        sources = {name: _expand(name, text, includes, set()) for name, text in scripts.items()}
        self.sources = MappingProxyType(sources)
        # EVALSHA identifies a script by its SHA-1, which has no security purpose here
        self._shas = {
            name: sha1(text.encode(), usedforsecurity=False).hexdigest() for name, text in sources.items()
        }
        self._by_sha = {sha: sources[name] for name, sha in self._shas.items()}

    def command(self, name: str, keys: Sequence[str], args: Sequence[str | bytes | int]) -> Command:
        """The EVALSHA command that runs script `name`."""
        return ("EVALSHA", self._shas[name], len(keys), *keys, *args)

    def source_of(self, sha: str) -> str:
        """The text for EVAL after the reply NOSCRIPT to an EVALSHA of `sha`."""
        return self._by_sha[sha]


def _expand(script: str, text: str, includes: Mapping[str, str], done: set[str]) -> str:
    """The text with each include comment replaced by the file it names.

    An include may name others. Each is put in once, where it is named first; `done` are those put in before.
    `script` is named in errors.
    """

    def included(match: re.Match[str]) -> str:
        name = match[1]
        if name in done:
            return ""
        done.add(name)
        if name not in includes:
            raise ScriptError(f"{script}.lua: no include/{name}.lua")
        return _expand(script, includes[name], includes, done).rstrip("\n")

    return _INCLUDE.sub(included, text)
