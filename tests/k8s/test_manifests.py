"""Every target builds, fits two Kubernetes versions' strict schemas and agrees with itself; every planted fault is caught."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8s.checks import problems
from k8s.checks.ownership import KEY, MODELS, created_once, fields
from k8s.checks.resources import flags, of_kind, pod_specs, servers
from k8s.validate import K8S, TARGETS, VERSIONS, schema_problems
from seghgan_tf.photos import MAX_PIXELS
from serving.release.promote import PATIENCE
from serving.server.binary import IMAGE
from serving.server.memory import edit_bytes
from serving.server.settings import CONFIG

Resources = list[dict[str, Any]]


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_builds_fits_and_agrees(built, target):
    resources = built(target)
    assert resources
    assert schema_problems(resources, (VERSIONS[0], VERSIONS[-1])) == []
    assert problems(resources) == []


def test_a_promotion_waits_until_the_alert_of_a_version_that_does_not_load_has_fired():
    monitoring = K8S / "components" / "monitoring"
    (group,) = yaml.safe_load((monitoring / "prometheusrule.yaml").read_text())["spec"]["groups"]
    (alert,) = (rule for rule in group["rules"] if rule.get("alert") == "SegHGANVersionFailed")
    (scraped,) = yaml.safe_load((monitoring / "servicemonitor.yaml").read_text())["spec"]["endpoints"]
    seconds = {"s": 1, "m": 60}
    waits = [int(one[:-1]) * seconds[one[-1]] for one in (scraped["interval"], group["interval"], alert["for"])]
    assert sum(waits) <= PATIENCE


def test_validation_looks_at_every_overlay():
    found = {f"overlays/{path.name}" for path in (K8S / "overlays").iterdir()}
    found |= {
        f"training/{path.name}" for path in (K8S / "training").iterdir() if (path / "kustomization.yaml").exists()
    }
    assert found - {"training/common", "training/store"} == set(TARGETS) - {"kserve", "cluster"}


def test_namespaces_and_priorities_that_targets_use_are_the_clusters(built):
    cluster = built("cluster")
    spaces, classes = (
        {one["metadata"]["name"] for one in of_kind(cluster, kind)} for kind in ("Namespace", "PriorityClass")
    )
    used = [one for target in TARGETS for one in built(target)]
    assert {one["metadata"]["namespace"] for one in used if "namespace" in one["metadata"]} == spaces
    assert {spec["priorityClassName"] for _, spec in pod_specs(used) if "priorityClassName" in spec} == classes
    for kind in ("ResourceQuota", "LimitRange"):
        assert {one["metadata"]["namespace"] for one in of_kind(cluster, kind)} == spaces - {"seghgan-dev"}


def test_staging_and_production_share_no_namespace_and_no_name(built):
    names = [
        {(one["kind"], one["metadata"]["name"]) for one in built(f"overlays/{overlay}")}
        for overlay in ("staging", "prod-cpu")
    ]
    assert names[0] & names[1] == set()
    spaces = [
        {one["metadata"]["namespace"] for one in built(f"overlays/{overlay}")} for overlay in ("staging", "prod-cpu")
    ]
    assert spaces == [{"seghgan-staging"}, {"seghgan"}]


def test_what_the_pipeline_names_is_stagings(built):
    staging, pipeline = built("overlays/staging"), built("training/pipeline")
    there = {one["metadata"]["name"] for one in [*staging, *created_once(staging), *pipeline]}
    _, spec = next(pod_specs(of_kind(pipeline, "CronJob")))
    claims = {one["persistentVolumeClaim"]["claimName"] for one in spec["volumes"] if "persistentVolumeClaim" in one}
    args = " ".join(spec["containers"][0]["args"])
    named = {*re.findall(r"--server (\S+):8500", args), *re.findall(r"--config-map seghgan-staging/(\S+)", args)}
    assert len(claims | named) == 4
    assert claims | named <= there


@pytest.mark.parametrize("target", ["overlays/dev-tls", "overlays/prod-cpu-tls", "overlays/canary-tls"])
def test_with_tls_nothing_asks_the_rest_port_in_plain_text(built, target):
    resources = built(target)
    server = container(resources)
    assert server["command"][-1] == "serving.server"
    probes = [server[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness")]
    assert {one["httpGet"]["scheme"] for one in probes if "httpGet" in one} == {"HTTPS"}
    assert all(one["spec"]["endpoints"][0]["scheme"] == "https" for one in of_kind(resources, "ServiceMonitor"))
    readiness = server["readinessProbe"]["httpGet"]
    readiness.pop("scheme")
    assert any("must both speak TLS" in one for one in problems(resources))


@pytest.mark.parametrize("suffix", ["", "-tls"])
def test_a_canary_changes_nothing_of_its_fleet_but_the_models_image(built, suffix):
    before, after = ({key(one): one for one in built(f"overlays/{name}{suffix}")} for name in ("prod-cpu", "canary"))
    added = {name for kind, name in set(after) - set(before)}
    assert added == {"seghgan-server-canary"}
    images = []
    for resources in (before, after):
        (model,) = (one for one in spec_of(list(resources.values()))["volumes"] if one["name"] == "model")
        images.append(model.pop("image")["reference"].split("@")[0])
    assert images == ["registry.example/seghgan/model:1", "registry.example/seghgan/model:2"]
    assert {name: after[name] for name in before} == before


def test_a_canary_without_tls_beside_a_fleet_with_it_is_seen(built):
    resources = built("overlays/canary-tls")
    canary = next(one for one in servers(resources) if one["metadata"]["name"].endswith("-canary"))
    first = canary["spec"]["template"]["spec"]["containers"][0]
    first["args"] = [one for one in first["args"] if not one.startswith("--tls")]
    assert "seghgan-server-canary: speaks plain text beside servers with TLS" in problems(resources)


SERVING = [target for target in TARGETS if target.startswith("overlays/") and "dev" not in target]


@pytest.mark.parametrize("target", SERVING)
def test_applying_again_owns_no_field_that_a_promotion_writes(built, target):
    """Server-side apply, on paper: the fields of whoever applies and those of `seghgan promote` have nothing in common."""
    resources = built(target)
    (promoted,) = created_once(resources)
    write = {
        "kind": "ConfigMap",
        "metadata": {"namespace": promoted["metadata"]["namespace"], "name": MODELS},
        "data": {KEY: ""},
    }
    (field,) = [one for one in fields(write) if one[3] == "data"]
    assert field[:3] == ("ConfigMap", promoted["metadata"]["namespace"], "seghgan-models")
    assert field not in set().union(*map(fields, resources))
    assert field in fields(promoted), "the check itself would see it"


@pytest.mark.parametrize("name", ["batching_parameters.pbtxt", "monitoring.config", "models.config"])
def test_the_configuration_is_the_embedded_servers(name):
    (kept,) = (K8S / "base").rglob(name)
    assert kept.read_text() == (CONFIG / name).read_text()


def test_the_binarys_image_is_the_one_the_command_line_names(built):
    image = servers(built("overlays/prod-cpu"))[0]["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image.split("@")[0] == IMAGE


def test_the_embedded_servers_flags_are_flags_it_has(built):
    from serving.server.process import parser

    container = servers(built("overlays/dev"))[0]["spec"]["template"]["spec"]["containers"][0]
    given = vars(parser().parse_args(container["args"]))
    assert given["grpc_port"] == 8500
    assert given["model_config_file"] == Path("/config/models/models.config")


@pytest.mark.parametrize("target", ["overlays/dev", "overlays/dev-tls", "overlays/prod-cpu-tls"])
def test_the_embedded_server_holds_the_largest_photo_and_no_more_than_its_memory_counts(built, target):
    resources = built(target)
    (deployment,) = servers(resources)
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert int(flags(container)["max_bytes_in_flight"]) >= edit_bytes(MAX_PIXELS)
    deployment["metadata"]["annotations"]["seghgan.io/memory-in-flight"] = "600Mi"
    assert any("--max-bytes-in-flight must be" in one for one in problems(resources))
    container["args"] = [one for one in container["args"] if "max-bytes" not in one]
    assert any("--max-bytes-in-flight must be" in one for one in problems(resources))


@pytest.mark.parametrize(
    ("target", "pattern"),
    [
        ("training/job", "seghgan-train-{index}.seghgan-train"),
        ("training/jobset", "seghgan-train-workers-0-{index}.seghgan-train"),
        ("training/trainjob", "seghgan-train-node-0-{index}.seghgan-train"),
    ],
)
def test_workers_find_each_other_with_the_variables_of_the_manifests(built, target, pattern):
    import json

    from seghgan_tf.training.cluster import announce

    spec = next(spec for _, spec in pod_specs(built(target)))
    given = {one["name"]: one["value"] for one in spec["containers"][0]["env"]} | {"JOB_COMPLETION_INDEX": "1"}
    assert announce(given)
    config = json.loads(given["TF_CONFIG"])
    assert config["cluster"]["worker"] == [f"{pattern.replace('{index}', str(i))}:2222" for i in range(2)]
    assert spec["containers"][0]["ports"][0]["containerPort"] == 2222


def test_a_tfjobs_container_and_port_have_the_names_its_operator_demands(built):
    _, spec = next(pod_specs(built("training/tfjob")))
    assert spec["containers"][0]["name"] == "tensorflow"
    assert spec["containers"][0]["ports"][0]["name"] == "tfjob-port"


def key(resource: dict[str, Any]) -> tuple[str, str]:
    return resource["kind"], resource["metadata"]["name"]


def server(resources: Resources) -> dict[str, Any]:
    return servers(resources)[0]


def spec_of(resources: Resources) -> dict[str, Any]:
    return server(resources)["spec"]["template"]["spec"]


def container(resources: Resources) -> dict[str, Any]:
    return spec_of(resources)["containers"][0]


def named(resources: Resources, kind: str, name: str) -> dict[str, Any]:
    return next(one for one in of_kind(resources, kind) if one["metadata"]["name"] == name)


def flag(old: str, new: str | None) -> Callable[[Resources], None]:
    def change(resources: Resources) -> None:
        args = [one for one in container(resources)["args"] if not one.startswith(old)]
        assert len(args) < len(container(resources)["args"])
        container(resources)["args"] = args + ([new] if new else [])

    return change


def models(old: str, new: str) -> Callable[[Resources], None]:
    def change(resources: Resources) -> None:
        resources += created_once(resources)
        data = named(resources, "ConfigMap", "seghgan-models")["data"]
        assert old in data["models.config"]
        data["models.config"] = data["models.config"].replace(old, new)

    return change


def put(find: Callable[[Resources], Any], key: str, value: Any) -> Callable[[Resources], None]:
    return lambda resources: find(resources).__setitem__(key, value)


def drop(find: Callable[[Resources], Any], key: str) -> Callable[[Resources], None]:
    return lambda resources: find(resources).__delitem__(key)


def promotion(resources: Resources) -> dict[str, Any]:
    (job,) = of_kind(resources, "CronJob")
    return job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]


def security(resources: Resources) -> dict[str, Any]:
    return container(resources)["securityContext"]


def policy(name: str) -> Callable[[Resources], dict[str, Any]]:
    return lambda resources: named(resources, "NetworkPolicy", name)["spec"]


def service(name: str) -> Callable[[Resources], dict[str, Any]]:
    return lambda resources: named(resources, "Service", name)["spec"]


def way_out(peers: Resources, port: int) -> dict[str, Any]:
    rule = {"to": peers, "ports": [{"port": port}]}
    meta = {"name": "planted", "namespace": "seghgan-staging"}
    spec = {"podSelector": {"matchLabels": {"a": "b"}}, "policyTypes": ["Egress"], "egress": [rule]}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": spec}


def plain(kind: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "planted"}}


MUTATIONS: dict[str, Callable[[Resources], None]] = {
    "gRPC port differs from the flag": flag("--port=", "--port=9000"),
    "REST port differs from the flag": flag("--rest_api_port=", "--rest_api_port=8502"),
    "profiler on": flag("--enable_profiler", "--enable_profiler=true"),
    "profiler left to its default": flag("--enable_profiler", None),
    "health service off": flag("--enable_grpc_healthcheck_service", None),
    "labels stop a first start": flag("--allow_version_labels", None),
    "batching file without batching": flag("--enable_batching", None),
    "config file elsewhere": flag("--model_config_file=", "--model_config_file=/etc/models.config"),
    "batching file of another name": flag(
        "--batching_parameters", "--batching_parameters_file=/config/server/batch.pbtxt"
    ),
    "no startup probe": drop(container, "startupProbe"),
    "no liveness probe": drop(container, "livenessProbe"),
    "probe on a port that is not there": lambda r: container(r)["startupProbe"]["grpc"].update(port=8600),
    "dotted service name in a probe": lambda r: container(r)["startupProbe"]["grpc"].update(
        service="tensorflow.serving.PredictionService"
    ),
    "readiness on the status page": lambda r: container(r)["readinessProbe"]["httpGet"].update(
        path="/v1/models/seghgan"
    ),
    "readiness on an unknown label": lambda r: container(r)["readinessProbe"]["httpGet"].update(
        path="/v1/models/seghgan/labels/stabel/metadata"
    ),
    "liveness on metadata": put(
        container, "livenessProbe", {"httpGet": {"path": "/v1/models/seghgan/metadata", "port": "http-rest"}}
    ),
    "plain gRPC probe with TLS": lambda r: container(r)["args"].append(
        "--ssl_config_file=/config/server/monitoring.config"
    ),
    "TLS with a plain REST port": lambda r: container(r)["args"].append("--ssl_config_file=/config/server/x"),
    "no drain": drop(container, "lifecycle"),
    "drain shorter than a deadline": lambda r: container(r)["lifecycle"]["preStop"]["sleep"].update(seconds=10),
    "grace shorter than the drain": put(spec_of, "terminationGracePeriodSeconds", 35),
    "label names a version that is not loaded": models('"canary" value: 1', '"canary" value: 2'),
    "three versions": models("versions: 1", "versions: 1 versions: 2 versions: 3"),
    "model path not mounted": models("/models/seghgan", "/models/other"),
    "model volume missing": lambda r: spec_of(r)["volumes"].pop(),
    "memory for one version": lambda r: container(r)["resources"].update(
        limits={"memory": "2Gi"}, requests={"cpu": "2", "memory": "2Gi"}
    ),
    "memory limit above request": lambda r: container(r)["resources"]["limits"].update(memory="8Gi"),
    "memory in no unit": lambda r: container(r)["resources"]["limits"].update(memory="5 GB"),
    "no memory limit": lambda r: container(r)["resources"]["limits"].update(memory=""),
    "root": lambda r: spec_of(r)["securityContext"].update(runAsUser=0),
    "may be root": lambda r: spec_of(r)["securityContext"].update(runAsNonRoot=False),
    "no seccomp": lambda r: spec_of(r)["securityContext"].pop("seccompProfile"),
    "capability added": lambda r: security(r)["capabilities"].update(add=["NET_ADMIN"]),
    "writable root": put(security, "readOnlyRootFilesystem", False),
    "privileged": put(security, "privileged", True),
    "token mounted": put(spec_of, "automountServiceAccountToken", True),
    "shared process namespace": put(spec_of, "shareProcessNamespace", True),
    "host path": lambda r: spec_of(r)["volumes"].append({"name": "host", "hostPath": {"path": "/"}}),
    "image unpinned": put(container, "image", "tensorflow/serving"),
    "image latest": put(container, "image", "tensorflow/serving:latest"),
    "image without digest": put(container, "image", "tensorflow/serving:2.20.0"),
    "placeholder": lambda r: of_kind(r, "ConfigMap")[0]["data"].update(store="REPLACE_ME"),
    "secret in a ConfigMap": lambda r: of_kind(r, "ConfigMap")[0]["data"].update(key="-----BEGIN KEY-----"),
    "labels applied again and again": lambda r: r.extend(created_once(r)),
    "promotion of servers that are not there": lambda r: promotion(r)["env"][1].update(value="seghgan-headless:8500"),
    "promotion without TLS": lambda r: container(r)["args"].append("--tls-cert=/tmp/x"),
    "promotion that may only read": lambda r: named(r, "Role", "seghgan-promote-staging")["rules"][0].update(
        verbs=["get"]
    ),
    "promotion by somebody else": lambda r: named(r, "RoleBinding", "seghgan-promote-staging")["subjects"][0].update(
        name="seghgan-server-staging"
    ),
    "namespace of the application": lambda r: r.append(plain("Namespace")),
    "quota of the application": lambda r: r.append(plain("ResourceQuota")),
    "Pods on one node": lambda r: spec_of(r)["topologySpreadConstraints"][1].update(whenUnsatisfiable="ScheduleAnyway"),
    "Pods in one zone": lambda r: of_kind(r, "HorizontalPodAutoscaler")[0]["spec"].update(minReplicas=3),
    "no names under NodeLocal DNSCache": lambda r: r.append(
        way_out([{"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}], 53)
    ),
    "out to everybody": lambda r: r.append(way_out([{"ipBlock": {"cidr": "0.0.0.0/0"}}], 443)),
    "selector misses the pods": lambda r: server(r)["spec"]["selector"]["matchLabels"].update(a="b"),
    "service selects nothing": lambda r: service("seghgan-staging")(r)["selector"].update(a="b"),
    "service on another port": lambda r: service("seghgan-staging")(r)["ports"][0].update(port=9000),
    "REST in the clients' service": lambda r: service("seghgan-headless-staging")(r)["ports"].append(
        {"name": "http-rest", "port": 8501, "targetPort": "http-rest"}
    ),
    "public load balancer": lambda r: service("seghgan-staging")(r).update(type="LoadBalancer"),
    "no default deny": lambda r: r.remove(named(r, "NetworkPolicy", "default-deny-staging")),
    "REST open to clients": lambda r: policy("server-from-clients-staging")(r)["ingress"][0]["ports"].append(
        {"port": 8501}
    ),
    "REST open to everybody": lambda r: policy("server-from-monitoring-staging")(r)["ingress"][0].pop("from"),
    "gRPC open to any pod": lambda r: policy("server-from-clients-staging")(r)["ingress"][0]["from"].append(
        {"podSelector": {}}
    ),
    "replicas beside the autoscaler": lambda r: server(r)["spec"].update(replicas=3),
    "autoscaler of nothing": lambda r: of_kind(r, "HorizontalPodAutoscaler")[0]["spec"]["scaleTargetRef"].update(
        name="x"
    ),
    "budget that allows nothing": lambda r: of_kind(r, "PodDisruptionBudget")[0]["spec"].update(maxUnavailable=0),
    "misspelt field": lambda r: container(r).update(imagePullPolcy="Always"),
    "wrong type": lambda r: server(r)["spec"].update(minReadySeconds="ten"),
    "field of no version": lambda r: of_kind(r, "HorizontalPodAutoscaler")[0]["spec"].update(targetCPU=65),
}


SAID = {
    "gRPC port differs from the flag": "is not the port grpc",
    "REST port differs from the flag": "is not the port http-rest",
    "profiler on": "profiler must be off",
    "profiler left to its default": "--enable_profiler is missing",
    "health service off": "--enable_grpc_healthcheck_service is missing",
    "labels stop a first start": "--allow_version_labels_for_unavailable_models is missing",
    "batching file without batching": "without --enable_batching=true",
    "config file elsewhere": "where nothing is mounted",
    "batching file of another name": "points to batch.pbtxt",
    "no startup probe": "startupProbe is missing",
    "no liveness probe": "livenessProbe is missing",
    "probe on a port that is not there": "asks a port that is not there: 8600",
    "dotted service name in a probe": "does not register",
    "readiness on the status page": "readiness must need a live version",
    "readiness on an unknown label": "label stabel",
    "liveness on metadata": "restarts the pod for a bad model",
    "plain gRPC probe with TLS": "in plain text to a port with TLS",
    "TLS with a plain REST port": "REST port stays plain",
    "no drain": "preStop must sleep",
    "drain shorter than a deadline": "preStop must sleep",
    "grace shorter than the drain": "counts the drain",
    "label names a version that is not loaded": "label canary names version 2",
    "three versions": "memory for two versions",
    "model path not mounted": "base_path /models/other is not mounted",
    "model volume missing": "volume model is mounted and not there",
    "memory for one version": "does not hold two versions",
    "memory limit above request": "limit and request must be equal",
    "memory in no unit": "Received: '5 GB'",
    "no memory limit": "a memory limit is missing",
    "root": "runAsUser must be 10001",
    "may be root": "runAsNonRoot must be true",
    "no seccomp": "seccompProfile must be RuntimeDefault",
    "capability added": "capabilities must be dropped",
    "writable root": "readOnlyRootFilesystem must be true",
    "privileged": "privileges must not grow",
    "token mounted": "automountServiceAccountToken must be false",
    "shared process namespace": "no namespace of the node",
    "host path": "hostPath is not allowed",
    "image unpinned": "must be pinned by tag and digest",
    "image latest": "must be pinned by tag and digest",
    "image without digest": "must be pinned by tag and digest",
    "placeholder": "a placeholder is left",
    "secret in a ConfigMap": "looks like a secret",
    "labels applied again and again": "applying it again takes every promotion back",
    "promotion of servers that are not there": "asks seghgan-headless:8500, which no headless Service is called",
    "promotion without TLS": "CronJob/seghgan-promote-staging: it and the servers must both speak TLS",
    "promotion that may only read": "seghgan-promote-staging may not get and patch seghgan-models",
    "promotion by somebody else": "seghgan-promote-staging may not get and patch seghgan-models",
    "namespace of the application": "belongs to k8s/cluster",
    "quota of the application": "belongs to k8s/cluster",
    "Pods on one node": "may all land in one kubernetes.io/hostname",
    "Pods in one zone": "may all land in one topology.kubernetes.io/zone",
    "no names under NodeLocal DNSCache": "names are not found where NodeLocal DNSCache runs",
    "out to everybody": "4294967296 addresses",
    "selector misses the pods": "selector does not match",
    "service selects nothing": "Service/seghgan-staging: selects no pod",
    "service on another port": "port 9000 is not the pods' grpc",
    "REST in the clients' service": "clients must not see the REST port",
    "public load balancer": "must not leave the cluster",
    "no default deny": "nothing denies by default",
    "REST open to clients": "opens REST to others than monitoring",
    "REST open to everybody": "opens every port, or to everybody",
    "gRPC open to any pod": "without the client label",
    "replicas beside the autoscaler": "replicas belong to the autoscaler",
    "autoscaler of nothing": "scales x, which is not there",
    "budget that allows nothing": "no node could ever be drained",
    "misspelt field": "'imagePullPolcy' was unexpected",
    "wrong type": "'ten' is not of type",
    "field of no version": "'targetCPU' was unexpected",
}
"""What must be said of each fault."""


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_planted_fault_is_caught_and_named(built, name):
    resources = built("overlays/staging")
    MUTATIONS[name](resources)
    found = problems(resources) + schema_problems(resources, VERSIONS[-1:])
    assert any(SAID[name] in one for one in found), found
