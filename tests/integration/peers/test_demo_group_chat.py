"""``make demo-linphone`` works where its programs are installed, and says what is missing elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.integration.peers.demo_group_chat import LIBRARY, missing
from tests.processes import ROOT
from tests.tools import absent

pytestmark = pytest.mark.integration


def played(path: str) -> subprocess.CompletedProcess[str]:
    """The demo, with programs from this path."""
    command = [sys.executable, "-m", "tests.integration.peers.demo_group_chat"]
    env = os.environ | {"PATH": path}
    return subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=280, check=False
    )


def test_the_demo_plays_to_its_end() -> None:
    """Each step waits until every app shows it."""
    if missing():
        absent(f"{LIBRARY} or a server is not installed")
    done = played(os.environ["PATH"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("The group chat worked.\n")


def test_the_demo_says_what_is_missing() -> None:
    """And how to install it."""
    done = played("/nowhere")
    assert done.returncode == 2
    assert "missing: redis-server" in done.stdout
    assert "apt-get install" in done.stdout
