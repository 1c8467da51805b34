"""The Kubernetes manifest, read: its documents, and what a pod's container is given."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
PATH = ROOT / "deploy" / "kubernetes" / "imc.yaml"

Document = dict[str, Any]


def documents(kind: str = "") -> dict[str, Document]:
    """All documents of a kind (empty: of any) by their name; with several kinds, by ``KIND NAME``."""
    found = {}
    for document in yaml.safe_load_all(PATH.read_text()):
        name = document["metadata"]["name"]
        if kind in {"", document["kind"]}:
            found[name if kind else f"{document['kind']} {name}"] = document
    return found


def pod(deployment: Document) -> Document:
    """The specification of a deployment's pods."""
    spec: Document = deployment["spec"]["template"]["spec"]
    return spec


def container(deployment: Document) -> Document:
    """The one container of a deployment's pods."""
    (only,) = pod(deployment)["containers"]
    found: Document = only
    return found


def selected(labels: dict[str, str]) -> list[str]:
    """The names of the deployments whose pods have all these labels."""
    return [
        name
        for name, deployment in documents("Deployment").items()
        if labels.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    ]


def environment(deployment: Document, fields: dict[str, str], secrets: dict[str, str]) -> dict[str, str]:
    """What a container gets: `fields` by their path, `secrets` as SECRET/KEY, and ``$(NAME)`` expanded."""
    given: dict[str, str] = {}
    only = container(deployment)
    for source in only.get("envFrom", []):
        given |= documents("ConfigMap")[source["configMapRef"]["name"]]["data"]
    for each in only.get("env", []):
        source = each.get("valueFrom", {})
        if "fieldRef" in source:
            value = fields[source["fieldRef"]["fieldPath"]]
        elif "secretKeyRef" in source:
            value = secrets[f"{source['secretKeyRef']['name']}/{source['secretKeyRef']['key']}"]
        else:
            value = re.sub(r"\$\((\w+)\)", lambda match: given[match[1]], each["value"])
        given[each["name"]] = value
    return given
