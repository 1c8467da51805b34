"""The loader of the Lua scripts."""

from hashlib import sha1
from pathlib import Path

import pytest

from imc_common.scripts import ScriptError, Scripts


def test_every_file_becomes_one_script() -> None:
    """The scripts are the files of the folder, without those of include/."""
    folder = Path(__file__).parents[2] / "lua"
    assert set(Scripts().sources) == {path.stem for path in folder.glob("*.lua")}


def test_command_names_the_script_by_its_digest() -> None:
    """EVALSHA carries the SHA-1 of the text with includes, the number of keys, then both as given."""
    scripts = Scripts()
    sha = sha1(scripts.sources["take_lease"].encode(), usedforsecurity=False).hexdigest()
    assert scripts.command("take_lease", ["imc:{0}:lease:worker"], ["p", 3000]) == (
        "EVALSHA", sha, 1, "imc:{0}:lease:worker", "p", 3000,
    )  # fmt: skip
    assert scripts.source_of(sha) == scripts.sources["take_lease"]


def test_include_is_put_in(tmp_path: Path) -> None:
    """An include comment is replaced by the file, and no other line is touched."""
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "piece.lua").write_text("local a = 1\n")
    (tmp_path / "act.lua").write_text('-- header\n--- @include "piece"\nreturn a\n')
    assert Scripts(tmp_path).sources["act"] == "-- header\nlocal a = 1\nreturn a\n"


def test_an_include_may_name_others_and_each_is_put_in_once(tmp_path: Path) -> None:
    """Where it is named first."""
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "one.lua").write_text('--- @include "two"\nlocal one = two\n')
    (tmp_path / "include" / "two.lua").write_text("local two = 2\n")
    (tmp_path / "act.lua").write_text('--- @include "one"\n--- @include "two"\nreturn one\n')
    assert Scripts(tmp_path).sources["act"] == "local two = 2\nlocal one = two\n\nreturn one\n"


def test_no_include_is_left_in() -> None:
    """No script goes to the server with an unresolved include."""
    assert not any("@include" in text for text in Scripts().sources.values())


def test_missing_include_is_named(tmp_path: Path) -> None:
    """The error names the script and the file it wanted."""
    (tmp_path / "act.lua").write_text('--- @include "piece"\n')
    with pytest.raises(ScriptError, match=r"act\.lua.*piece\.lua"):
        Scripts(tmp_path)


def test_empty_folder_is_an_error(tmp_path: Path) -> None:
    """An installation without its scripts does not start."""
    with pytest.raises(ScriptError, match="no Lua scripts"):
        Scripts(tmp_path)
