"""What tests need from the machine: absent, the test is skipped, or fails where all of it is a must."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def require(program: str) -> str:
    """The program's path. Without it the test is skipped; with ``IMC_REQUIRE_TOOLS=1`` it fails."""
    return shutil.which(program) or absent(f"{program} is not installed")


def absent(why: str) -> NoReturn:
    """Something is not there: the test is skipped; with ``IMC_REQUIRE_TOOLS=1`` it fails."""
    if os.environ.get("IMC_REQUIRE_TOOLS") == "1":
        pytest.fail(f"{why}, and IMC_REQUIRE_TOOLS=1 asks for every tool", pytrace=False)
    pytest.skip(why)
