"""The pods of the Kubernetes manifest as containers of this machine's Docker engine.

Each container gets what a kubelet would give it: environment, user, volumes, privileges. The services
are names on a Docker network of its own. Policies and load balancers are the cluster's and are not here.
"""

from __future__ import annotations

import random
import secrets
from typing import Any

import yaml

from tests.integration.compose.stack import PATIENCE, compose_command, docker
from tests.manifest import ROOT, Document, container, documents, environment, pod, selected
from tests.ports import free_port
from tests.processes import wait_until

NAMESPACE = "default"
SECRETS = {"imc-redis/url": "redis://redis:6379/0"}


class Pods:
    """Redis and every deployment of the manifest, phones' port published on 127.0.0.1."""

    def __init__(self) -> None:
        compose_command()  # skips the test if there is no engine
        self.port = free_port()
        self.names: dict[str, list[str]] = {}
        self._network = f"imc-test-{secrets.token_hex(4)}"
        self._subnet = f"10.{random.randrange(100, 250)}.{random.randrange(256)}"
        self._hosts = iter(range(10, 250))

    def start(self) -> None:
        """Build the images and start everything; returns when the balancer has every edge."""
        docker("build", "--quiet", "--tag", "imc", str(ROOT), seconds=900)
        docker("build", "--quiet", "--tag", "imc-lb", str(ROOT / "deploy" / "lb"), seconds=900)
        docker("network", "create", "--subnet", f"{self._subnet}.0/24", self._network)
        redis = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["redis"]
        self._run("redis", ["redis"], [], redis["image"], *redis["command"])
        for name, deployment in documents("Deployment").items():
            for _ in range(deployment["spec"]["replicas"]):
                self._start(name, deployment)
        edges = len(self.names["imc-edge"])
        wait_until(lambda: self.edges_in_service() == edges, f"{edges} edges in service", PATIENCE)

    def _start(self, name: str, deployment: Document) -> None:
        address = f"{self._subnet}.{next(self._hosts)}"
        fields = {"status.podIP": address, "metadata.namespace": NAMESPACE}
        spec, only = pod(deployment), container(deployment)
        options = ["--ip", address, "--user", str(spec["securityContext"]["runAsUser"])]
        options += privileges(only["securityContext"])
        for key, value in environment(deployment, fields, SECRETS).items():
            options += ["--env", f"{key}={value}"]
        for mount in only.get("volumeMounts", []):
            options += ["--tmpfs", f"{mount['mountPath']}:mode=0777"]
        if name == "imc-lb":
            options += [
                word for kind in ("udp", "tcp") for word in ("-p", f"127.0.0.1:{self.port}:5060/{kind}")
            ]
        self._run(name, names_of(name), options, only["image"], *only.get("args", []))

    def _run(self, name: str, aliases: list[str], options: list[str], image: str, *args: str) -> None:
        options += [
            "--network",
            self._network,
            *(word for each in aliases for word in ("--network-alias", each)),
        ]
        self.names.setdefault(name, []).append(docker("run", "--detach", *options, image, *args).strip())

    def run_in(self, deployment: str, *words: str) -> str:
        """``kubectl exec deployment/NAME -- …``; gives the output."""
        return docker("exec", self.names[deployment][0], *words)

    def edges_in_service(self) -> int:
        """How many edges the balancer sends to now; 0 if it does not run yet."""
        command = "kamcmd -s unix:/run/kamailio/kamailio_ctl dispatcher.list || true"
        return self.run_in("imc-lb", "sh", "-c", command).count("FLAGS: AP")

    def stop(self) -> None:
        """Remove everything."""
        for name in [name for names in self.names.values() for name in names]:
            docker("rm", "--force", "--volumes", name)
        docker("network", "rm", self._network)


def names_of(deployment: str) -> list[str]:
    """The names of the services that lead to a deployment, short and whole."""
    short = [
        name
        for name, service in documents("Service").items()
        if deployment in selected(service["spec"]["selector"])
    ]
    return short + [f"{name}.{NAMESPACE}.svc.cluster.local" for name in short]


def privileges(context: dict[str, Any]) -> list[str]:
    """A container's security context as options of ``docker run``."""
    dropped = [word for each in context["capabilities"]["drop"] for word in ("--cap-drop", each)]
    read_only = ["--read-only"] if context["readOnlyRootFilesystem"] else []
    gained = [] if context["allowPrivilegeEscalation"] else ["--security-opt", "no-new-privileges:true"]
    return dropped + read_only + gained
