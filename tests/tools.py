"""Programs that tests need from the machine: absent, the test is skipped, or fails where they are a must."""

from __future__ import annotations

import os
import shutil

import pytest


def require(program: str) -> str:
    """The program's path. Without it the test is skipped; with ``IMC_REQUIRE_TOOLS=1`` it fails."""
    path = shutil.which(program)
    if path is not None:
        return path
    if os.environ.get("IMC_REQUIRE_TOOLS") == "1":
        pytest.fail(f"{program} is not installed, and IMC_REQUIRE_TOOLS=1 asks for every tool", pytrace=False)
    return pytest.skip(f"{program} is not installed")
