"""Runs ``compose.yaml`` on this machine's Docker engine, with a new project name and a free port."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import subprocess
from pathlib import Path

from tests.ports import free_port
from tests.processes import wait_until
from tests.tools import absent, require

ROOT = Path(__file__).parents[3]
PATIENCE = 180  # seconds for containers to start or stop, also on a busy machine


def compose_command() -> list[str]:
    """The words of the compose command: the plugin, the program, or what the variable COMPOSE says.

    Without a Docker engine the test is skipped.
    """
    docker = require("docker")
    if "COMPOSE" in os.environ:
        words = shlex.split(os.environ["COMPOSE"])
    elif subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0:
        words = [docker, "compose"]
    elif shutil.which("docker-compose"):
        words = ["docker-compose"]
    else:
        absent("neither `docker compose` nor `docker-compose` is installed")
    if subprocess.run([docker, "info"], capture_output=True, check=False).returncode:
        absent("no Docker engine is running")
    return words


class Stack:
    """One running project; services have their names in ``compose.yaml``."""

    def __init__(self) -> None:
        self.port = free_port()
        self._command = [*compose_command(), "--project-name", f"imc-test-{secrets.token_hex(4)}"]
        self._env = os.environ | {"SIP_PORT": str(self.port)}

    def compose(self, *words: str) -> str:
        """Run a compose command; returns its output."""
        done = subprocess.run(
            [*self._command, *words],
            cwd=ROOT,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, f"{words}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    def up(self, *words: str) -> None:
        """Run ``up``; returns when all containers are healthy and the balancer has all edges in service."""
        self.compose("up", "--detach", *words)
        wait_until(self.healthy, "every container healthy", PATIENCE)
        edges = len(self.containers("edge"))
        wait_until(lambda: self.edges_in_service() == edges, f"{edges} edges in service", PATIENCE)

    def containers(self, *services: str) -> list[str]:
        """The ids of the services' running containers."""
        found = self.compose("ps", "--quiet", *services).split()
        states = json.loads(docker("inspect", *found)) if found else []
        return [state["Id"] for state in states if state["State"]["Running"]]

    def healthy(self) -> bool:
        """Whether all containers are healthy."""
        states = json.loads(docker("inspect", *self.compose("ps", "--quiet").split()))
        return all(state["State"].get("Health", {}).get("Status") == "healthy" for state in states)

    def edges_in_service(self) -> int:
        """How many edges the balancer has in service."""
        return self.run_in("lb", "kamcmd", "-s", "unix:/run/kamailio/kamailio_ctl", "dispatcher.list").count(
            "FLAGS: AP"
        )

    def redis(self, *words: str) -> str:
        """The output of ``redis-cli``."""
        return self.run_in("redis", "redis-cli", *words).strip()

    def run_in(self, service: str, *words: str) -> str:
        """Run a command in a service's first container; returns its output."""
        return self.compose("exec", "-T", service, *words)


def docker(*words: str, seconds: float = 60) -> str:
    """Run a docker command; returns its output."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, f"{words}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout
