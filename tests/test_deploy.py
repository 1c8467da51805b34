"""The files for Kubernetes, Compose and systemd are well formed and name what exists."""

import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from imc_cli.embedded import CONFIG
from imc_common.settings import Settings
from tests.tools import require

ROOT = Path(__file__).parents[1]


def documents() -> list[dict[str, object]]:
    text = (ROOT / "deploy" / "kubernetes" / "imc.yaml").read_text()
    return list(yaml.safe_load_all(text))


def test_kubernetes_manifests_define_edges_workers_and_a_service() -> None:
    """Each has a document of its own."""
    kinds = [(d["kind"], d["metadata"]["name"]) for d in documents()]  # type: ignore[index]
    assert ("Deployment", "imc-edge") in kinds
    assert ("Deployment", "imc-worker") in kinds
    assert ("Service", "imc") in kinds


@pytest.mark.parametrize("version", ["1.25", "1.37"])
def test_kubernetes_manifests_follow_the_schema(version: str) -> None:
    """The schemas of an old and of a new cluster, strict: an unknown field is an error."""
    checked = 0
    for document in documents():
        kubernetes_validate.validate(document, version, strict=True)  # raises
        checked += 1
    assert checked


def test_pods_have_probes_and_enough_time_to_drain() -> None:
    """An edge leaves the service's endpoints before it drains (preStop), and the grace period covers both."""
    for deployment in (d for d in documents() if d["kind"] == "Deployment"):
        pod = deployment["spec"]["template"]["spec"]  # type: ignore[index]
        (container,) = pod["containers"]
        assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        hook = (
            container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])
        )
        assert pod["terminationGracePeriodSeconds"] > Settings().drain_timeout + int(hook[1])


@pytest.mark.parametrize("file", ["compose.yaml", "deploy/kubernetes/imc.yaml"])
def test_every_environment_variable_is_a_setting(file: str) -> None:
    """A misspelled variable would have no effect."""
    words = (ROOT / file).read_text().replace(":", " ").split()
    given = {word.removeprefix("IMC_").lower() for word in words if word.startswith("IMC_")}
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


@pytest.mark.parametrize("role", ["edge", "worker"])
def test_systemd_units_are_valid_and_expose_little(role: str, tmp_path: Path) -> None:
    """`systemd-analyze` finds no unknown directive and an exposure of at most 2.0 out of 10."""
    analyze = require("systemd-analyze")
    unit = tmp_path / f"imc-{role}@1.service"
    text = (ROOT / "deploy" / "systemd" / f"imc-{role}@.service").read_text()
    unit.write_text(text.replace("/opt/imc/bin/imc", "/bin/true"))
    verified = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    words = [analyze, "security", "--offline=true", "--threshold=20", unit]
    exposed = subprocess.run(words, capture_output=True, text=True, check=False)
    assert exposed.returncode == 0, exposed.stdout
