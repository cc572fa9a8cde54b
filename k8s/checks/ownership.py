"""Who owns what: the cluster's administrator, whoever applies a target again and again, and whoever promotes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from k8s.checks.resources import Resource, of_kind, servers

CLUSTER = {"Namespace", "PriorityClass", "ResourceQuota", "LimitRange"}
"""Kinds that belong to the cluster (`k8s/cluster`), not to an application."""
MODELS, KEY = "seghgan-models", "models.config"
FIRST = Path(__file__).parents[1] / "base" / "server" / KEY
"""What the ConfigMap of versions and labels is created from."""

Field = tuple[str, ...]


def created_once(resources: list[Resource]) -> list[Resource]:
    """Return what `kubectl create configmap seghgan-models --from-file=...` makes beside a target whose servers need it."""
    found = servers(resources)
    if not found or any(one["metadata"]["name"] == MODELS for one in of_kind(resources, "ConfigMap")):
        return []
    meta = {"name": MODELS, "namespace": found[0]["metadata"]["namespace"]}
    return [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {KEY: FIRST.read_text()}}]


def fields(resource: Resource) -> set[Field]:
    """Return the fields that whoever applies a resource becomes the owner of: server-side apply, on paper.

    Lists count as one field here, which is never too few.
    """
    name = (resource["kind"], resource["metadata"].get("namespace", ""), resource["metadata"]["name"])

    def walk(node: Any, path: Field) -> Iterator[Field]:
        if isinstance(node, dict) and node:
            for key, value in node.items():
                yield from walk(value, (*path, str(key)))
        else:
            yield path

    return {(*name, *path) for path in walk({key: value for key, value in resource.items() if key != "kind"}, ())}


def ownership(resources: list[Resource]) -> Iterator[str]:
    """Yield what a target owns and must leave to others."""
    for one in resources:
        if one["kind"] in CLUSTER and any(other["kind"] not in CLUSTER for other in resources):
            yield f"{one['kind']}/{one['metadata']['name']}: belongs to k8s/cluster, not to an application"
    promoted = {("ConfigMap", server["metadata"]["namespace"], MODELS, "data", KEY) for server in servers(resources)}
    labelled = [one for one in of_kind(resources, "ConfigMap") if "version_labels" in one.get("data", {}).get(KEY, "")]
    for field in {field for one in labelled for field in fields(one)} & promoted:
        yield f"ConfigMap/{field[2]}: applying it again takes every promotion back; leave {field[-1]} to `seghgan promote`"
