"""The build that a process says it runs."""

from __future__ import annotations

import platform
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from imc_common.build_info import build_info
from imc_common.sip import uri

ROOT = Path(__file__).parents[2]


def test_the_version_is_that_of_the_package() -> None:
    """Read from the installed package's metadata."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert build_info().version == project["version"]
    assert build_info().python == platform.python_version()


def test_compiled_modules_are_recognised_by_their_file() -> None:
    """`make test` runs the sources, `make test-compiled` what mypyc made of them."""
    assert build_info().compiled == ("no" if uri.__file__.endswith(".py") else "yes")


def test_imc_that_is_not_installed_has_no_version() -> None:
    """It still starts: the sources alone, without any installed package."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from imc_common.build_info import build_info; print(build_info().version)"
    )
    command = [sys.executable, "-I", "-S", "-c", code, str(ROOT)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout == "unknown\n"


@pytest.mark.parametrize("option", ["include", "exclude"])
def test_every_pattern_of_compiled_modules_matches_a_file(option: str) -> None:
    """A module that was renamed would silently run uncompiled."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    hook = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["mypyc"]
    assert hook[option]
    assert [pattern for pattern in hook[option] if not list(ROOT.glob(pattern.removeprefix("/")))] == []
