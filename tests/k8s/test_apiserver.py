"""What an API server refuses though every strict schema takes it: each planted fault is caught and named here."""

from collections.abc import Callable
from typing import Any

import pytest

from k8s.checks import apiserver
from k8s.checks.resources import of_kind, pod_specs
from k8s.validate import VERSIONS, schema_problems

Resources = list[dict[str, Any]]


def pod(resources: Resources) -> dict[str, Any]:
    return next(spec for _, spec in pod_specs(resources))


def container(resources: Resources) -> dict[str, Any]:
    return pod(resources)["containers"][0]


def one(kind: str) -> Callable[[Resources], dict[str, Any]]:
    return lambda resources: of_kind(resources, kind)[0]


def set_in(find: Callable[[Resources], dict[str, Any]], *path: Any) -> Callable[[Resources], None]:
    """Return what sets the value that ends `path` at the keys before it."""
    *way, key, value = path

    def change(resources: Resources) -> None:
        node = find(resources)
        for step in way:
            node = node[step]
        node[key] = value

    return change


STAGING, JOB, PIPELINE = "overlays/staging", "training/job", "training/pipeline"
FAULTS: dict[str, tuple[str, Callable[[Resources], None], str]] = {
    "name in capitals": (STAGING, set_in(one("Deployment"), "metadata", "name", "Server"), "is no name"),
    "service named by a number": (STAGING, set_in(one("Service"), "metadata", "name", "1st"), "is no name"),
    "label too long": (STAGING, set_in(one("Service"), "metadata", "labels", {"a": "b" * 64}), "must not have"),
    "the same object twice": (STAGING, lambda r: r.append(one("Service")(r)), "is there twice"),
    "container twice": (STAGING, lambda r: pod(r)["containers"].append(container(r)), "is there twice"),
    "volume twice": (STAGING, lambda r: pod(r)["volumes"].append(pod(r)["volumes"][0]), "is there twice"),
    "volume of two sources": (STAGING, lambda r: pod(r)["volumes"][0].update(emptyDir={}), "one source"),
    "volume not there": (JOB, lambda r: pod(r)["volumes"].pop(), "is not there"),
    "mounted twice": (
        JOB,
        lambda r: container(r)["volumeMounts"].append(container(r)["volumeMounts"][0]),
        "mounted twice",
    ),
    "port above 65535": (STAGING, set_in(container, "ports", 0, "containerPort", 70000), "is none"),
    "port name too long": (STAGING, set_in(container, "ports", 0, "name", "a-very-long-port-name"), "is none"),
    "two values": (
        STAGING,
        set_in(container, "env", 0, "valueFrom", {"fieldRef": {"fieldPath": "metadata.name"}}),
        "value twice",
    ),
    "request above limit": (STAGING, set_in(container, "resources", "requests", "memory", "5Gi"), "more memory"),
    "amount that is none": (STAGING, set_in(container, "resources", "limits", "memory", "5 GB"), "memory is no amount"),
    "GPU asked for and not limited": (
        "training/job-gpu",
        set_in(container, "resources", "requests", "nvidia.com/gpu", "2"),
        "nvidia.com/gpu",
    ),
    "probe of two handlers": (STAGING, set_in(container, "readinessProbe", "grpc", {"port": 8500}), "one handler"),
    "liveness that needs two successes": (STAGING, set_in(container, "livenessProbe", "successThreshold", 2), "of 1"),
    "selector misses the pods": (
        STAGING,
        set_in(one("Deployment"), "spec", "selector", "matchLabels", "a", "b"),
        "does not match its pods",
    ),
    "a rollout that may do nothing": (
        STAGING,
        set_in(one("Deployment"), "spec", "strategy", "rollingUpdate", {"maxSurge": 0, "maxUnavailable": 0}),
        "must not both be 0",
    ),
    "servers that are not restarted": (STAGING, set_in(pod, "restartPolicy", "Never"), "always be restarted"),
    "autoscaler upside down": (STAGING, set_in(one("HorizontalPodAutoscaler"), "spec", "minReplicas", 99), "above"),
    "budget of two kinds": (STAGING, set_in(one("PodDisruptionBudget"), "spec", "minAvailable", 1), "must have"),
    "key with a slash": (STAGING, set_in(one("ConfigMap"), "data", "a/b", "c"), "key 'a/b'"),
    "no network": (
        PIPELINE,
        set_in(one("NetworkPolicy"), "spec", "egress", 2, "to", 0, "ipBlock", "cidr", "10.0.0.0/99"),
        "10.0.0.0/99",
    ),
    "peer of two kinds": (
        PIPELINE,
        set_in(one("NetworkPolicy"), "spec", "egress", 2, "to", 0, "podSelector", {}),
        "ipBlock or selectors",
    ),
    "ports backwards": (
        "training/convert-beam",
        lambda r: next(p for p in of_kind(r, "NetworkPolicy") if p["metadata"]["name"] == "flink")["spec"]["ingress"][
            0
        ]["ports"][0].update(endPort=1),
        "endPort 1 is below",
    ),
    "a Job that restarts for ever": (JOB, set_in(pod, "restartPolicy", "Always"), "Never or OnFailure"),
    "an indexed Job without a number": (
        JOB,
        lambda r: one("Job")(r)["spec"].pop("completions"),
        "how many completions",
    ),
    "limit for an index without indices": (
        JOB,
        lambda r: one("Job")(r)["spec"].update(completionMode="NonIndexed", backoffLimitPerIndex=1),
        "for indexed Jobs",
    ),
    "failed indices without a limit": (
        JOB,
        set_in(one("Job"), "spec", "maxFailedIndexes", 1),
        "needs backoffLimitPerIndex",
    ),
    "policy for a pod that restarts": (JOB, set_in(pod, "restartPolicy", "OnFailure"), "needs restartPolicy Never"),
    "policy for no container": (JOB, set_in(container, "name", "other"), "names container train"),
    "schedule of four fields": (PIPELINE, set_in(one("CronJob"), "spec", "schedule", "0 2 * *"), "schedule"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_no_schema_shows_is_caught_and_named(built, name):
    target, change, said = FAULTS[name]
    resources = built(target)
    change(resources)
    assert schema_problems(resources, VERSIONS[-1:]) == [], "a schema shows it: it belongs to test_manifests.py"
    found = [problem for check in apiserver.CHECKS for problem in check(resources)]
    assert any(said in one for one in found), found
