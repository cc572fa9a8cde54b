"""The servers: ports, flags, probes, mounts, drain, memory for two versions, labels."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from k8s.checks.resources import Resource, amount, flags, models_config, of_kind, servers

ROOM = 1.3
"""What an estimate may be wrong by, and what a heap leaves in holes."""
MEMORY = ("process", "version", "in-flight")
"""The annotations `seghgan.io/memory-*` that the memory limit follows from."""
ENDPOINT_SECONDS = 5
CLIENT_DEADLINE = 30
"""Default `timeout` of SegHGANClient."""


def _server(resources: list[Resource]) -> Iterator[str]:
    maps = {one["metadata"]["name"]: one["data"] for one in of_kind(resources, "ConfigMap")}
    for deployment in servers(resources):
        name, spec = deployment["metadata"]["name"], deployment["spec"]["template"]["spec"]
        container = spec["containers"][0]
        given, ports = flags(container), {one["name"]: one["containerPort"] for one in container["ports"]}
        for flag, port in (
            ("port", "grpc"),
            ("grpc_port", "grpc"),
            ("rest_api_port", "http-rest"),
            ("rest_port", "http-rest"),
        ):
            if flag in given and given[flag] != str(ports.get(port)):
                yield f"{name}: --{flag}={given[flag]} is not the port {port}"
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            yield from _probe(name, probe, container.get(probe, {}), ports, given)
        if "metadata" not in container.get("readinessProbe", {}).get("httpGet", {}).get("path", ""):
            yield f"{name}: readiness must need a live version (…/metadata)"
        if "metadata" in container.get("livenessProbe", {}).get("httpGet", {}).get("path", ""):
            yield f"{name}: liveness on metadata restarts the pod for a bad model"
        yield from _mounts(name, spec, container, given, maps)
        yield from _drain(name, spec, container, given)
        yield from _binary(name, given)


def _binary(name: str, given: dict[str, str]) -> Iterator[str]:
    if "ssl_config_file" in given:
        yield f"{name}: TensorFlow Serving's REST port stays plain beside TLS, on every address; take components/tls"
    if given.get("enable_profiler", "false") != "false":
        yield f"{name}: the profiler must be off"
    if "port" in given:
        for flag in (
            "enable_profiler",
            "enable_grpc_healthcheck_service",
            "allow_version_labels_for_unavailable_models",
        ):
            if flag not in given:
                yield f"{name}: --{flag} is missing"
        if "batching_parameters_file" in given and given.get("enable_batching") != "true":
            yield f"{name}: a batching file without --enable_batching=true stops the start"


def _probe(name: str, kind: str, probe: Resource, ports: dict[str, int], given: dict[str, str]) -> Iterator[str]:
    target = probe.get("grpc") or probe.get("httpGet") or probe.get("tcpSocket")
    if not target:
        yield f"{name}: {kind} is missing"
    elif target["port"] not in (*ports, *ports.values()):
        yield f"{name}: {kind} asks a port that is not there: {target['port']}"
    elif "grpc" in probe and probe["grpc"].get("service", "") not in ("", "PredictionService", "ModelService"):
        yield f"{name}: {kind} names a service that TensorFlow Serving does not register"
    elif "httpGet" in probe and ("tls_cert" in given) != (target.get("scheme") == "HTTPS"):
        yield f"{name}: {kind} and the REST port must both speak TLS, or neither"
    elif "grpc" in probe and {"ssl_config_file", "tls_cert"} & set(given):
        yield f"{name}: {kind} speaks gRPC in plain text to a port with TLS"


def _mounts(name: str, spec: Resource, container: Resource, given: dict[str, str], maps: Resource) -> Iterator[str]:
    volumes = {one["name"]: one for one in spec.get("volumes", [])}
    mounts = {one["mountPath"]: one for one in container.get("volumeMounts", [])}
    for mount in mounts.values():
        if mount["name"] not in volumes:
            yield f"{name}: volume {mount['name']} is mounted and not there"
    for flag, path in given.items():
        if not path.startswith("/") or flag in ("url",):
            continue
        folder, file = str(PurePosixPath(path).parent), PurePosixPath(path).name
        volume = volumes.get(mounts.get(folder, {}).get("name", ""), {})
        if not volume:
            yield f"{name}: --{flag} points to {path}, where nothing is mounted"
        elif "configMap" in volume and file not in maps.get(volume["configMap"]["name"], {}):
            yield f"{name}: --{flag} points to {file}, which ConfigMap {volume['configMap']['name']} does not hold"
        elif "subPath" in mounts[folder] and flag == "model_config_file":
            yield f"{name}: models.config must not be a subPath, which is never refreshed"
    models = models_config(resources=None, maps=maps)
    if models and models[0] not in mounts:
        yield f"{name}: base_path {models[0]} is not mounted"


def _drain(name: str, spec: Resource, container: Resource, given: dict[str, str]) -> Iterator[str]:
    grace = spec.get("terminationGracePeriodSeconds", 30)
    sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    if "drain_seconds" in given:
        needs = sleep + float(given["lame_duck_seconds"]) + float(given["drain_seconds"])
        if (
            float(given["lame_duck_seconds"]) + sleep < ENDPOINT_SECONDS
            or float(given["drain_seconds"]) < CLIENT_DEADLINE
        ):
            yield f"{name}: the drain ends before the longest client deadline"
    else:
        needs = sleep
        if sleep < ENDPOINT_SECONDS + CLIENT_DEADLINE:
            yield f"{name}: preStop must sleep {ENDPOINT_SECONDS + CLIENT_DEADLINE} s: the binary does not drain"
    if grace <= needs:
        yield f"{name}: terminationGracePeriodSeconds {grace} counts the drain of {needs} s"


def needed_memory(facts: dict[str, str]) -> float:
    """Return the bytes a server needs by its annotations: process, two versions, what is in flight, and 30 % more.

    >>> facts = {"process": "700Mi", "version": "900Mi", "in-flight": "650Mi"}
    >>> round(needed_memory({f"seghgan.io/memory-{name}": value for name, value in facts.items()}) / 2**20)
    4095
    """
    process, version, flight = (amount(facts[f"seghgan.io/memory-{name}"]) for name in MEMORY)
    return ROOM * (process + 2 * version + flight)


def _memory(resources: list[Resource]) -> Iterator[str]:
    for deployment in servers(resources):
        name, facts = deployment["metadata"]["name"], deployment["metadata"].get("annotations", {})
        resource = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]
        if any(f"seghgan.io/memory-{one}" not in facts for one in MEMORY):
            yield f"{name}: memory annotations are missing"
            continue
        try:
            limit, needed = amount(resource["limits"].get("memory") or "0"), needed_memory(facts)
            flight = amount(facts["seghgan.io/memory-in-flight"])
        except ValueError as error:
            yield f"{name}: {error}"
            continue
        if limit < needed:
            yield f"{name}: the memory limit does not hold two versions and what is in flight ({needed / 2**20:.0f}Mi)"
        given = flags(deployment["spec"]["template"]["spec"]["containers"][0])
        if "grpc_port" in given and float(given.get("max_bytes_in_flight", 0)) != flight:
            yield f"{name}: --max-bytes-in-flight must be the annotation seghgan.io/memory-in-flight, {flight:.0f} bytes"
        if resource["limits"].get("memory") != resource["requests"].get("memory"):
            yield f"{name}: memory limit and request must be equal"


def _spread(resources: list[Resource]) -> Iterator[str]:
    least = {
        one["spec"]["scaleTargetRef"]["name"]: one["spec"]["minReplicas"]
        for one in of_kind(resources, "HorizontalPodAutoscaler")
    }
    for deployment in servers(resources):
        name, spec = deployment["metadata"]["name"], deployment["spec"]["template"]["spec"]
        strict = {
            one["topologyKey"]
            for one in spec.get("topologySpreadConstraints", [])
            if one["whenUnsatisfiable"] == "DoNotSchedule" and one.get("nodeTaintsPolicy") == "Honor"
        }
        for key, replicas in (("kubernetes.io/hostname", 2), ("topology.kubernetes.io/zone", 3)):
            if least.get(name, 1) >= replicas and key not in strict:
                yield f"{name}: {least[name]} Pods may all land in one {key}"


def _labels(resources: list[Resource]) -> Iterator[str]:
    models = models_config(resources)
    if models is None:
        return
    for label, version in models[2].items():
        if version not in models[1]:
            yield f"models.config: label {label} names version {version}, which is not listed"
    if len(models[1]) > 2:
        yield "models.config: servers have memory for two versions"
    for deployment in servers(resources):
        path = (
            deployment["spec"]["template"]["spec"]["containers"][0]["readinessProbe"].get("httpGet", {}).get("path", "")
        )
        found = re.search(r"/labels/(\w+)/", path)
        if found and found.group(1) not in models[2]:
            yield f"{deployment['metadata']['name']}: readiness asks for label {found.group(1)}, which models.config does not have"


def _alike(resources: list[Resource]) -> Iterator[str]:
    """Yield the servers without TLS beside others with it: clients reach both through the same Services."""
    plain = {
        one["metadata"]["name"]: "tls_cert" not in flags(one["spec"]["template"]["spec"]["containers"][0])
        for one in servers(resources)
    }
    if not all(plain.values()):
        yield from (f"{name}: speaks plain text beside servers with TLS" for name, bare in plain.items() if bare)


CHECKS = (_server, _memory, _labels, _spread, _alike)
