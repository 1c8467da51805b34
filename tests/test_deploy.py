"""Files for service managers are well formed and name what exists."""

from pathlib import Path

import pytest
import yaml

from imc_common.settings import Settings

ROOT = Path(__file__).parents[1]


def documents() -> list[dict[str, object]]:
    text = (ROOT / "deploy" / "kubernetes" / "imc.yaml").read_text()
    return list(yaml.safe_load_all(text))


def test_kubernetes_manifests_have_the_parts_that_belong_together() -> None:
    """Each document stands alone; edges and workers are there, and the service finds the edges."""
    kinds = [(d["kind"], d["metadata"]["name"]) for d in documents()]  # type: ignore[index]
    assert ("Deployment", "imc-edge") in kinds
    assert ("Deployment", "imc-worker") in kinds
    assert ("Service", "imc") in kinds


@pytest.mark.parametrize("file", ["compose.yaml", "deploy/kubernetes/imc.yaml"])
def test_every_setting_that_is_given_exists(file: str) -> None:
    """A variable that no process reads would be a promise nobody keeps."""
    words = (ROOT / file).read_text().replace(":", " ").split()
    given = {word.removeprefix("IMC_").lower() for word in words if word.startswith("IMC_")}
    assert given
    assert given <= set(Settings.model_fields)


@pytest.mark.parametrize("role", ["edge", "worker"])
def test_units_give_more_time_than_a_drain_takes(role: str) -> None:
    """systemd must not kill what is still delivering."""
    unit = (ROOT / "deploy" / "systemd" / f"imc-{role}@.service").read_text()
    seconds = next(line for line in unit.splitlines() if line.startswith("TimeoutStopSec=")).partition("=")[2]
    assert int(seconds) > Settings().drain_timeout
