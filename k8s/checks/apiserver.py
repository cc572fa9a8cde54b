"""What an API server refuses and no schema shows: names, references inside an object, numbers that must fit each other.

Written to pkg/apis/*/validation of Kubernetes, whose rules for these kinds are the same from 1.31 to 1.37. The kinds of other
controllers are left to their schemas: their CEL rules travel with the cluster's CRDs, which no package here brings.
"""

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from k8s.checks.resources import Resource, amount, pod_specs

LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
SUBDOMAIN = rf"(?=.{{1,253}}$){LABEL}(\.{LABEL})*"
NAMES = {"Service": r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", "Namespace": LABEL, "CronJob": rf"(?=.{{1,52}}$){SUBDOMAIN}"}
"""Kinds whose names are held to more than a DNS subdomain."""
LABEL_KEY = rf"({SUBDOMAIN}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?"
LABEL_VALUE = r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?"
PORT_NAME = r"(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*"
HANDLERS = {"exec", "httpGet", "tcpSocket", "grpc"}
CRON = r"(@(hourly|daily|weekly|monthly|yearly)|[\d*/,-]+ [\d*/,-]+ [\d*/,-]+ [\w*/,-]+ [\w*/,-]+)"


def _twice(names: Iterable[Any]) -> list[Any]:
    return [name for name, count in Counter(names).items() if count > 1]


def _objects(resources: list[Resource]) -> Iterator[str]:
    keys = [(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in resources]
    yield from (f"{kind}/{name}: is there twice" for kind, _, name in _twice(keys))
    for one in resources:
        meta, where = one["metadata"], f"{one['kind']}/{one['metadata']['name']}"
        if not re.fullmatch(NAMES.get(one["kind"], SUBDOMAIN), meta["name"]):
            yield f"{where}: is no name that the API server takes"
        for key, value in (meta.get("labels") or {}).items():
            if not re.fullmatch(LABEL_KEY, key) or not re.fullmatch(LABEL_VALUE, value):
                yield f"{where}: label {key}={value} has letters or a length that labels must not have"
        yield from (f"{where}: {said}" for said in RULES.get(one["kind"], lambda _: ())(one))


def _pods(resources: list[Resource]) -> Iterator[str]:
    for where, spec in pod_specs(resources):
        containers = [*spec.get("initContainers", []), *spec["containers"]]
        volumes = [one["name"] for one in spec.get("volumes", [])]
        yield from (f"{where}: container {name} is there twice" for name in _twice(one["name"] for one in containers))
        yield from (f"{where}: volume {name} is there twice" for name in _twice(volumes))
        for volume in spec.get("volumes", []):
            if len(volume) != 2:
                yield f"{where}: volume {volume['name']} must have one source"
        for one in containers:
            yield from (f"{where}/{one['name']}: {said}" for said in _container(one, set(volumes)))


def _container(one: Resource, volumes: set[str]) -> Iterator[str]:
    mounts, ports = one.get("volumeMounts", []), one.get("ports", [])
    yield from (f"{path} is mounted twice" for path in _twice(mount["mountPath"] for mount in mounts))
    yield from (f"volume {mount['name']} is not there" for mount in mounts if mount["name"] not in volumes)
    yield from (f"port {name} is there twice" for name in _twice(port.get("name") for port in ports))
    for port in ports:
        if not 0 < port["containerPort"] < 65536 or not re.fullmatch(PORT_NAME, port.get("name", "x")):
            yield f"port {port.get('name')} {port['containerPort']} is none"
    for variable in one.get("env", []):
        if {"value", "valueFrom"} <= set(variable):
            yield f"variable {variable['name']} has a value twice"
    yield from _amounts(one.get("resources", {}))
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        if kind in one and len(HANDLERS & set(one[kind])) != 1:
            yield f"{kind} must have one handler"
        if kind != "readinessProbe" and one.get(kind, {}).get("successThreshold", 1) != 1:
            yield f"{kind} must have a successThreshold of 1"


def _amounts(resources: Resource) -> Iterator[str]:
    wanted, limits = (resources.get(key, {}) for key in ("requests", "limits"))
    known: dict[tuple[str, str], float] = {}
    for side, given in (("requests", wanted), ("limits", limits)):
        for name, text in given.items():
            try:
                known[side, name] = amount(text)
            except ValueError as error:
                yield f"its {name} is no amount: {error}"
    for name in wanted:
        if known.get(("requests", name), 0.0) > known.get(("limits", name), math.inf):
            yield f"asks for more {name} than its limit"
    for name in {key for key in (*wanted, *limits) if "/" in key}:
        if wanted.get(name, limits.get(name)) != limits.get(name):
            yield f"{name} must be asked for as it is limited"


def _deployment(one: Resource) -> Iterator[str]:
    spec = one["spec"]
    if not spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items():
        yield "its selector does not match its pods"
    rolling = spec.get("strategy", {}).get("rollingUpdate", {"maxSurge": 1})
    if all(str(rolling.get(key, "25%")) in ("0", "0%") for key in ("maxSurge", "maxUnavailable")):
        yield "maxSurge and maxUnavailable must not both be 0"
    if spec["template"]["spec"].get("restartPolicy", "Always") != "Always":
        yield "its pods must always be restarted"


def _job(one: Resource) -> Iterator[str]:
    spec = one["spec"]
    pod = spec["template"]["spec"]
    indexed = spec.get("completionMode") == "Indexed"
    if pod.get("restartPolicy") not in ("Never", "OnFailure"):
        yield "restartPolicy must be Never or OnFailure"
    if indexed and "completions" not in spec:
        yield "an indexed Job must say how many completions"
    if "backoffLimitPerIndex" in spec and not indexed:
        yield "backoffLimitPerIndex is for indexed Jobs"
    if "maxFailedIndexes" in spec and "backoffLimitPerIndex" not in spec:
        yield "maxFailedIndexes needs backoffLimitPerIndex"
    rules = spec.get("podFailurePolicy", {}).get("rules", [])
    if rules and pod.get("restartPolicy") != "Never":
        yield "podFailurePolicy needs restartPolicy Never"
    names = {container["name"] for container in [*pod.get("initContainers", []), *pod["containers"]]}
    for rule in rules:
        if (found := rule.get("onExitCodes", {}).get("containerName")) and found not in names:
            yield f"podFailurePolicy names container {found}, which is not there"


def _cronjob(one: Resource) -> Iterator[str]:
    if not re.fullmatch(CRON, one["spec"]["schedule"]):
        yield f"schedule {one['spec']['schedule']!r} is none"
    yield from _job(one["spec"]["jobTemplate"])


def _network(one: Resource) -> Iterator[str]:
    for rule in [*(one["spec"].get("ingress") or []), *(one["spec"].get("egress") or [])]:
        for port in rule.get("ports", []):
            if port.get("endPort", port.get("port")) < port.get("port", 0):
                yield f"endPort {port['endPort']} is below {port['port']}"
        for peer in [*rule.get("from", []), *rule.get("to", [])]:
            try:
                ipaddress.ip_network(peer.get("ipBlock", {}).get("cidr", "0.0.0.0/0"))
            except ValueError as error:
                yield str(error)
            if not peer or ("ipBlock" in peer and len(peer) > 1):
                yield "a peer is an ipBlock or selectors"


def _scaler(one: Resource) -> Iterator[str]:
    if one["spec"].get("minReplicas", 1) > one["spec"]["maxReplicas"]:
        yield "minReplicas is above maxReplicas"


def _budget(one: Resource) -> Iterator[str]:
    if len({"minAvailable", "maxUnavailable"} & set(one["spec"])) != 1:
        yield "must have minAvailable or maxUnavailable"


def _config_map(one: Resource) -> Iterator[str]:
    yield from (
        f"key {key!r} is none" for key in one.get("data", {}) if not re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", key)
    )


def _service(one: Resource) -> Iterator[str]:
    ports = one["spec"]["ports"]
    yield from (f"port {name} is there twice" for name in _twice(port.get("name") for port in ports))


RULES = {
    "Deployment": _deployment,
    "Job": _job,
    "CronJob": _cronjob,
    "NetworkPolicy": _network,
    "HorizontalPodAutoscaler": _scaler,
    "PodDisruptionBudget": _budget,
    "ConfigMap": _config_map,
    "Service": _service,
}
CHECKS = (_objects, _pods)
