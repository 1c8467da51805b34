"""Ctrl-C while a command still starts ends it quietly.

A module that imc imports is replaced with one that sends SIGINT to its own process. So the signal comes in
the middle of the imports, however fast the machine is.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.deployment import ROOT
from tests.ports import free_port

pytestmark = pytest.mark.integration

IMC = Path(sys.executable).with_name("imc")
INTERRUPTING = """
import os, signal, sys
sys.path.remove({folder!r})
del sys.modules[{name!r}]
if {when}:
    os.kill(os.getpid(), signal.SIGINT)
import {name}
"""


def interrupted(folder: Path, name: str, when: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `imc` with a module that interrupts it when it is imported."""
    modules = folder / "modules"
    modules.mkdir()
    (modules / f"{name}.py").write_text(INTERRUPTING.format(folder=str(modules), name=name, when=when))
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(modules), str(ROOT)]),
        "IMC_LISTEN": "udp:127.0.0.1:0",
        "IMC_DB_URL": f"redis://127.0.0.1:{free_port()}",
        "IMC_MI_FIFO": str(folder / "fifo"),
    }
    return subprocess.run(
        [IMC, *words], env=env, cwd=folder, capture_output=True, text=True, timeout=110, check=False
    )


@pytest.mark.parametrize("words", ["up", "chat sip:a@127.0.0.1:0 --room sip:r@h", "top", "edge", "dead list"])
def test_ctrl_c_during_the_imports_of_a_command(tmp_path: Path, words: str) -> None:
    """No traceback, and the status that shells have for it."""
    done = interrupted(tmp_path, "typer", "True", *words.split())
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize("command", ["edge", "worker"])
def test_ctrl_c_during_the_imports_of_a_process(tmp_path: Path, command: str) -> None:
    """It is not lost: the process stops as soon as it handles signals. There, Redis would not be reached."""
    done = interrupted(tmp_path, "structlog", "'typer' not in sys.modules", command)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0, done.stderr
