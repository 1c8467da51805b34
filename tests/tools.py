"""Programs that tests need. Without one the test is skipped; with ``IMC_REQUIRE_TOOLS=1`` it fails."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def require(program: str) -> str:
    """The program's path; skips or fails the test if it is not installed."""
    return shutil.which(program) or absent(f"{program} is not installed")


def absent(why: str) -> NoReturn:
    """Skip the test because something is missing; with ``IMC_REQUIRE_TOOLS=1``, fail it."""
    if os.environ.get("IMC_REQUIRE_TOOLS") == "1":
        pytest.fail(f"{why}, and IMC_REQUIRE_TOOLS=1 requires every tool", pytrace=False)
    pytest.skip(why)
