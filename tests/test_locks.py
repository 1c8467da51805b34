"""The lock files in requirements/ agree with the ranges in pyproject.toml and with each other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def locked(name: str) -> dict[str, str]:
    """The version of each package in one lock file."""
    text = (ROOT / "requirements" / name).read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", text, re.MULTILINE))


@pytest.mark.parametrize("name", ["run.txt", "compile.txt", "test.txt"])
def test_every_locked_package_has_a_hash(name: str) -> None:
    """With a hash, pip installs only the file that was locked."""
    text = (ROOT / "requirements" / name).read_text()
    blocks = re.split(r"^(?=[a-z])", text, flags=re.MULTILINE)[1:]
    assert blocks
    assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == []


@pytest.mark.parametrize(
    ("name", "extras"),
    [("run.txt", ["embedded"]), ("compile.txt", []), ("test.txt", list(PROJECT["optional-dependencies"]))],
)
def test_lock_satisfies_the_ranges_of_pyproject(name: str, extras: list[str]) -> None:
    """It does not after a change of a range without `make lock`."""
    wanted = [
        *PROJECT["dependencies"],
        *(r for extra in extras for r in PROJECT["optional-dependencies"][extra]),
    ]
    versions = locked(name)
    wrong = []
    for requirement in map(Requirement, wanted):
        version = versions.get(canonicalize_name(requirement.name))
        if version is None or version not in requirement.specifier:
            wrong.append(f"{requirement}: locked {version}")
    assert wrong == []


def test_all_lock_files_have_the_versions_that_were_tested() -> None:
    """`make run` and the image install the same versions as `make test`."""
    tested = locked("test.txt")
    assert {name: version for name, version in locked("run.txt").items() if tested.get(name) != version} == {}
    compiled = locked("compile.txt").items()
    assert {name: version for name, version in compiled if tested.get(name, version) != version} == {}
