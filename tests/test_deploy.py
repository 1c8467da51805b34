"""The files for Compose and systemd are well formed and name what exists."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from imc_cli.embedded import CONFIG
from imc_common.settings import Settings
from tests.tools import require

ROOT = Path(__file__).parents[1]
UNITS = ROOT / "deploy" / "systemd"
NAMES = ["imc-edge@.service", "imc-mi.service", "imc-worker@.service"]


@pytest.mark.parametrize("file", ["compose.yaml", "deploy/kubernetes/imc.yaml"])
def test_every_environment_variable_is_a_setting(file: str) -> None:
    """A misspelled variable would have no effect."""
    lines = [line.partition("#")[0] for line in (ROOT / file).read_text().splitlines()]
    given = {name.lower() for line in lines for name in re.findall(r"\bIMC_(\w+)", line)}
    assert given
    assert given <= set(Settings.model_fields)


def test_redis_has_the_same_configuration_everywhere() -> None:
    """The embedded server, compose.yaml and the advice in docs/running.md agree."""
    _, *words = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["redis"]["command"]
    given = dict(zip(words[::2], words[1::2], strict=True))
    assert {f"--{name}": value for name, value in CONFIG.items()}.items() <= given.items()
    page = (ROOT / "docs" / "running.md").read_text().partition("## Use your own Redis")[2]
    advised = page.split("```")[1].strip().splitlines()
    assert advised == [f"{name} {value}" for name, value in CONFIG.items()]


@pytest.mark.parametrize("role", ["edge", "worker"])
def test_systemd_waits_longer_than_a_drain_takes(role: str) -> None:
    """Otherwise it would kill a process that still delivers."""
    unit = (ROOT / "deploy" / "systemd" / f"imc-{role}@.service").read_text()
    seconds = next(line for line in unit.splitlines() if line.startswith("TimeoutStopSec=")).partition("=")[2]
    assert int(seconds) > Settings().drain_timeout


def directives(name: str) -> dict[str, list[str]]:
    """The directives of a unit with their values, in order."""
    given: dict[str, list[str]] = {}
    for line in (UNITS / name).read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not key.startswith("#"):
            given.setdefault(key, []).append(value)
    return given


def analyzed(folder: Path, name: str, more: str = "") -> subprocess.CompletedProcess[str]:
    """Verify a unit, as it is installed, with a drop-in; then judge its exposure."""
    analyze = require("systemd-analyze")
    unit = folder / name.replace("@", "@1")
    unit.write_text((UNITS / name).read_text().replace("/opt/imc/bin/imc", "/bin/true") + more)
    verified = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    words = [analyze, "security", "--offline=true", "--threshold=20", unit]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_every_systemd_unit_is_tested() -> None:
    """The names below are all there are."""
    assert sorted(path.name for path in UNITS.iterdir()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_systemd_units_are_valid_and_expose_little(name: str, tmp_path: Path) -> None:
    """`systemd-analyze` finds no unknown directive and an exposure of at most 2.0 out of 10."""
    exposed = analyzed(tmp_path, name)
    assert exposed.returncode == 0, exposed.stdout


def test_the_documented_drop_in_for_a_private_key_is_valid(tmp_path: Path) -> None:
    """It names a setting, and its credential has the name under which the setting looks for it."""
    page = (ROOT / "docs" / "running.md").read_text()
    drop_in = page.split("```ini\n")[1].split("```")[0]
    assert analyzed(tmp_path, "imc-edge@.service", drop_in).returncode == 0
    given = dict(line.split("=", 1) for line in drop_in.splitlines() if "=" in line)
    credential, _, _ = given["LoadCredential"].partition(":")
    variable, _, path = given["Environment"].partition("=")
    assert variable.removeprefix("IMC_").lower() in Settings.model_fields
    assert path == f"%d/{credential}"


@pytest.mark.parametrize("name", NAMES)
def test_systemd_units_read_secrets_that_only_root_can_read(name: str) -> None:
    """systemd opens the file as root, before it becomes the dynamic user; the file of one process wins."""
    given = directives(name)
    assert given["DynamicUser"] == ["yes"]
    assert given["EnvironmentFile"][0] == "-/etc/imc/secrets.env"
    assert len(given["EnvironmentFile"]) == 2
    assert "install -m 0600 /dev/null /etc/imc/secrets.env\n" in (ROOT / "docs" / "running.md").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_systemd_never_gives_up_but_on_wrong_settings(name: str) -> None:
    """An outage can outlast any number of restarts; a restart mends no setting."""
    given = directives(name)
    assert (given["Restart"], given["StartLimitIntervalSec"]) == (["always"], ["0"])
    assert given["RestartPreventExitStatus"] == ["2"]


def test_systemd_gives_room_administration_a_place_for_its_fifo() -> None:
    """Outside of PrivateTmp, where clients can reach it and make their reply FIFOs."""
    given = directives("imc-mi.service")
    settings = dict(
        value.removeprefix("IMC_").split("=") for value in given["Environment"] if "IMC_" in value
    )
    folder = f"/run/{given['RuntimeDirectory'][0]}"
    assert settings == {"MI_FIFO": f"{folder}/mi_fifo", "MI_REPLY_DIR": folder}
    words = f"imc mi --mi-fifo {folder}/mi_fifo --mi-reply-dir {folder} imc_list_rooms\n"
    assert words in (UNITS / "imc-mi.service").read_text()
    assert words in (ROOT / "docs" / "running.md").read_text()
