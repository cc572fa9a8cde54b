"""Who owns what: the cluster's administrator, whoever applies a target again and again, and whoever promotes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from k8s.checks.resources import Resource, flags, of_kind, servers

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


def promotions(resources: list[Resource]) -> Iterator[str]:
    """Yield what keeps the Jobs that run `seghgan promote` from the servers of a target and from their ConfigMap."""
    services = {
        one["metadata"]["name"] for one in of_kind(resources, "Service") if one["spec"].get("clusterIP") == "None"
    }
    secure = any("tls_cert" in flags(one["spec"]["template"]["spec"]["containers"][0]) for one in servers(resources))
    for job in of_kind(resources, "CronJob"):
        where, spec = f"CronJob/{job['metadata']['name']}", job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        container = spec["containers"][0]
        given = {one["name"]: one.get("value", "") for one in container.get("env", [])}
        if container.get("args", [""])[0] != "promote":
            continue
        if given["SERVER"].split(":")[0] not in services:
            yield f"{where}: asks {given['SERVER']}, which no headless Service is called"
        if secure != ("tls_ca" in flags(container)):
            yield f"{where}: it and the servers must both speak TLS, or neither"
        if not {"get", "patch"} <= _rights(resources, spec["serviceAccountName"]):
            yield f"{where}: {spec['serviceAccountName']} may not get and patch {MODELS}"


def _rights(resources: list[Resource], account: str) -> set[str]:
    """Return what a service account may do with the ConfigMap of versions and labels."""
    bound = [one for one in of_kind(resources, "RoleBinding") if account in {who["name"] for who in one["subjects"]}]
    names = {one["roleRef"]["name"] for one in bound}
    rules = [rule for one in of_kind(resources, "Role") if one["metadata"]["name"] in names for rule in one["rules"]]
    return {verb for rule in rules if MODELS in rule.get("resourceNames", []) for verb in rule["verbs"]}
