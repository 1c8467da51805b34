"""Every command and the demo conversation on a Redis Cluster: three primaries with a replica each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration import test_commands, test_entering, test_invitations, test_membership
from tests.integration.command import run
from tests.integration.service import Service, service

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(300)]

for module in (test_commands, test_entering, test_invitations, test_membership):
    globals().update({name: value for name, value in vars(module).items() if name.startswith("Test")})


@pytest.fixture(scope="module")
def imc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service on a cluster with `durability = replicas`."""
    folder = tmp_path_factory.mktemp("cluster")
    with service(folder, "cluster", {"durability": "replicas"}, edges=2, workers=2) as running:
        yield running


def test_the_demo_conversation_works_on_a_cluster(imc: Service) -> None:
    """Four users in a private room; each gets exactly the expected messages."""
    done = run("demo", "--via", f"127.0.0.1:{imc.ports[0]}")
    assert done.returncode == 0, done.stdout + done.stderr
