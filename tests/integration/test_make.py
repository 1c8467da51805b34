"""`make run` on a machine that has only Python and make: a new environment from the lock file."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from imc_cli.demo_conversation import CONVERSATION, PHONE_OFF
from tests.ports import free_port

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_make_run_once_works_in_a_new_environment(tmp_path: Path) -> None:
    """It installs the locked packages, plays the demo conversation and exits with status 0."""
    if os.environ.get("IMC_REQUIRE_TOOLS") != "1":
        pytest.skip("installs from the package index; run with IMC_REQUIRE_TOOLS=1")
    args = f"--once --listen udp:127.0.0.1:{free_port()} --data-dir {tmp_path / 'var'}"
    done = subprocess.run(
        ["make", "run", f"VENV={tmp_path / 'venv'}", f"ARGS={args}"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith(("COV", "IMC_"))},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    absence = (
        (*PHONE_OFF.before, *PHONE_OFF.missed, *PHONE_OFF.after) if "phone is off" in done.stdout else ()
    )
    assert done.stdout.count(" -> demo-") == len((*CONVERSATION, *absence))
    assert "The conversation succeeded." in done.stdout


@pytest.mark.parametrize(
    ("python", "venv", "told"),
    [
        ("exit 1", "venv", "PYTHON is older than Python 3.11, which imc needs: make PYTHON=/path/to/python"),
        (None, "venv", "PYTHON does not exist: make PYTHON=/path/to/python"),
        (
            'case "$2" in *ensurepip*) exit 1;; esac',
            "venv",
            "PYTHON cannot make environments: install its venv module",
        ),
        ("exit 0", "/proc/venv", "/proc/venv cannot be written to: make VENV=/another/folder"),
    ],
    ids=["old Python", "no such Python", "no venv module", "read-only folder"],
)
def test_make_says_what_is_wrong_and_what_to_do(
    tmp_path: Path, python: str | None, venv: str, told: str
) -> None:
    """In one line, before anything is installed."""
    fake = tmp_path / "python"
    if python is not None:
        fake.write_text(f"#!/bin/sh\n{python}\n")
        fake.chmod(0o755)
    done = subprocess.run(
        ["make", "--no-print-directory", "run", f"PYTHON={fake}", f"VENV={tmp_path / venv}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    (line,) = done.stdout.splitlines()
    assert line.startswith(told.replace("PYTHON", str(fake), 1))
