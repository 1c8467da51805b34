"""The loader of the Lua scripts."""

from hashlib import sha1
from pathlib import Path

import pytest

from imc_common.scripts import ScriptError, Scripts


def test_every_file_becomes_one_script() -> None:
    """The files of the folder, without those in include/."""
    folder = Path(__file__).parents[2] / "lua"
    assert set(Scripts().sources) == {path.stem for path in folder.glob("*.lua")}


def test_a_command_names_the_script_by_its_sha1() -> None:
    """EVALSHA has the SHA-1 of the expanded text, the number of keys, the keys and the arguments."""
    scripts = Scripts()
    sha = sha1(scripts.sources["acquire_lease"].encode(), usedforsecurity=False).hexdigest()
    assert scripts.command("acquire_lease", ["imc:{0}:lease:worker"], ["p", 3000]) == (
        "EVALSHA", sha, 1, "imc:{0}:lease:worker", "p", 3000,
    )  # fmt: skip
    assert scripts.source_of(sha) == scripts.sources["acquire_lease"]


def test_an_include_is_expanded(tmp_path: Path) -> None:
    """The comment is replaced by the file; other lines stay."""
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "piece.lua").write_text("local a = 1\n")
    (tmp_path / "act.lua").write_text('-- header\n--- @include "piece"\nreturn a\n')
    assert Scripts(tmp_path).sources["act"] == "-- header\nlocal a = 1\nreturn a\n"


def test_nested_includes_are_expanded_once(tmp_path: Path) -> None:
    """At the first place that names it."""
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "one.lua").write_text('--- @include "two"\nlocal one = two\n')
    (tmp_path / "include" / "two.lua").write_text("local two = 2\n")
    (tmp_path / "act.lua").write_text('--- @include "one"\n--- @include "two"\nreturn one\n')
    assert Scripts(tmp_path).sources["act"] == "local two = 2\nlocal one = two\n\nreturn one\n"


def test_no_script_has_an_unexpanded_include() -> None:
    """In the scripts of the repository."""
    assert not any("@include" in text for text in Scripts().sources.values())


def test_a_missing_include_is_reported(tmp_path: Path) -> None:
    """The error names the script and the missing file."""
    (tmp_path / "act.lua").write_text('--- @include "piece"\n')
    with pytest.raises(ScriptError, match=r"act\.lua.*piece\.lua"):
        Scripts(tmp_path)


def test_a_folder_without_scripts_is_an_error(tmp_path: Path) -> None:
    """So an incomplete installation does not start."""
    with pytest.raises(ScriptError, match="no Lua scripts"):
        Scripts(tmp_path)
