"""The Kubernetes manifest: its parts fit together, and phones behind its balancer can be reached.

`tests/integration/compose/test_kubernetes.py` runs what is in it.
"""

from __future__ import annotations

import re
from typing import Any

import kubernetes_validate
import pytest

from imc_common.settings import Settings
from tests.manifest import ROOT, container, documents, environment, pod, selected

DEPLOYMENTS = documents("Deployment")
SERVICES = documents("Service")
FIELDS = {"status.podIP": "10.0.0.1", "metadata.namespace": "chat"}
SECRETS = {"imc-redis/url": "redis://redis/0"}


@pytest.mark.parametrize("version", ["1.25", "1.37"])
def test_the_manifest_follows_the_schema(version: str) -> None:
    """Those of an old and of a new cluster, strict: an unknown field is an error."""
    for document in documents().values():
        kubernetes_validate.validate(document, version, strict=True)  # raises


def test_edges_workers_and_the_balancer_are_deployed() -> None:
    """With more than one of what keeps no state."""
    assert {name: each["spec"]["replicas"] for name, each in DEPLOYMENTS.items()} == {
        "imc-edge": 2,
        "imc-worker": 2,
        "imc-lb": 1,
    }


@pytest.mark.parametrize("name", ["imc-edge", "imc-worker"])
def test_processes_are_probed_and_have_time_to_drain(name: str) -> None:
    """The grace period is longer than the drain."""
    probed = container(DEPLOYMENTS[name])
    assert probed["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert probed["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert pod(DEPLOYMENTS[name])["terminationGracePeriodSeconds"] > Settings().drain_timeout


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_containers_have_no_privileges(name: str) -> None:
    """No root, no capabilities, nothing to write to but volumes in memory."""
    assert pod(DEPLOYMENTS[name])["securityContext"]["runAsNonRoot"] is True
    context = container(DEPLOYMENTS[name])["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    volumes = {
        volume["name"]: volume["emptyDir"]["medium"] for volume in pod(DEPLOYMENTS[name]).get("volumes", [])
    }
    mounts = {mount["name"] for mount in container(DEPLOYMENTS[name]).get("volumeMounts", [])}
    assert volumes == dict.fromkeys(mounts, "Memory")


@pytest.mark.parametrize("name", SERVICES)
def test_services_lead_to_ports_of_their_pods(name: str) -> None:
    """A service that selects nothing, or a port that nobody has, takes requests to nowhere."""
    service = SERVICES[name]["spec"]
    (target,) = selected(service["selector"])
    ports = {
        (each["containerPort"], each.get("protocol", "TCP"))
        for each in container(DEPLOYMENTS[target])["ports"]
    }
    assert {(each["port"], each["protocol"]) for each in service["ports"]} <= ports


def test_only_the_balancer_is_reached_from_outside_and_only_by_private_networks() -> None:
    """It asks nobody for a password when they register."""
    outside = {
        name: each["spec"]
        for name, each in SERVICES.items()
        if each["spec"].get("type", "ClusterIP") != "ClusterIP"
    }
    assert list(outside) == ["imc"]
    assert selected(outside["imc"]["selector"]) == ["imc-lb"]
    assert {port["port"] for port in outside["imc"]["ports"]} == {5060}
    assert outside["imc"]["loadBalancerSourceRanges"] == ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]


def test_edges_deliver_to_the_balancer() -> None:
    """To the port that its configuration has for edges, by a name that needs no search list."""
    given = environment(DEPLOYMENTS["imc-edge"], FIELDS, SECRETS)
    proxy = re.fullmatch(r"sip:([\w-]+)\.chat\.svc\.cluster\.local:(\d+)", given["IMC_OUTBOUND_PROXY"])
    assert proxy
    service = SERVICES[proxy[1]]["spec"]
    assert selected(service["selector"]) == ["imc-lb"]
    assert {(port["port"], port["protocol"]) for port in service["ports"]} == {
        (int(proxy[2]), "UDP"),
        (int(proxy[2]), "TCP"),
    }
    assert f"$Rp == {proxy[2]}" in (ROOT / "deploy/lb/kamailio.cfg").read_text()


def test_the_balancer_finds_every_edge() -> None:
    """By the name of a headless service, which has the addresses of edges that are not ready, too."""
    name = environment(DEPLOYMENTS["imc-lb"], FIELDS, SECRETS)["EDGES"]
    service: dict[str, Any] = SERVICES[name]["spec"]
    assert selected(service["selector"]) == ["imc-edge"]
    assert (service["clusterIP"], service["publishNotReadyAddresses"]) == ("None", True)


def test_policies_admit_the_balancer_to_edges_and_edges_to_the_balancer() -> None:
    """Whoever else reached an edge would be one of its trusted peers."""
    admitted = {}
    for name, policy in documents("NetworkPolicy").items():
        assert selected(policy["spec"]["podSelector"]["matchLabels"]) == [name]
        for rule in policy["spec"]["ingress"]:
            who = [selected(source["podSelector"]["matchLabels"]) for source in rule.get("from", [])]
            admitted |= {(name, port["port"]): who for port in rule["ports"]}
    assert admitted == {
        ("imc-edge", 5060): [["imc-lb"]],
        ("imc-edge", 9090): [],
        ("imc-lb", 5060): [],
        ("imc-lb", 5080): [["imc-edge"]],
    }


@pytest.mark.parametrize("name", ["imc-edge", "imc-worker"])
def test_the_environment_is_valid_settings(name: str) -> None:
    """Every variable of ours is a setting with a value that it takes."""
    given = environment(DEPLOYMENTS[name], FIELDS, SECRETS)
    ours = {key.removeprefix("IMC_").lower(): value for key, value in given.items() if key.startswith("IMC_")}
    assert ours.keys() <= Settings.model_fields.keys()
    settings = Settings(**ours)
    assert settings.identity == "digest"
    assert settings.db_url == "redis://redis/0"


def test_workers_serve_room_administration_inside_their_container() -> None:
    """At a FIFO on a volume; no port, no service."""
    given = environment(DEPLOYMENTS["imc-worker"], FIELDS, SECRETS)
    mounts = {mount["mountPath"] for mount in container(DEPLOYMENTS["imc-worker"])["volumeMounts"]}
    assert given["IMC_MI_FIFO"].rpartition("/")[0] in mounts
    assert str(Settings().mi_reply_dir) in mounts
    assert "IMC_MI_LISTEN" not in given
