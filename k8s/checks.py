"""Do the built manifests agree with themselves? Ports, probes, labels, mounts, selectors, fences, memory, images."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

ROOM = 1.3
"""The memory limit holds the process and two versions, plus 30 %."""
ENDPOINT_SECONDS = 5
CLIENT_DEADLINE = 30
"""Default `timeout` of SegHGANClient."""
IMAGE = re.compile(r"[\w./-]+:(?!latest@)[\w.-]+@sha256:[0-9a-f]{64}")

Resource = dict[str, Any]


def pod_specs(resources: list[Resource]) -> Iterator[tuple[str, Resource]]:
    """Yield every pod template, at whatever depth a resource holds it, with the resource's kind and name."""
    for resource in resources:
        name = f"{resource['kind']}/{resource['metadata']['name']}"
        waiting: list[Any] = [resource.get("spec")]
        while waiting:
            node = waiting.pop()
            if isinstance(node, dict):
                if "containers" in node:
                    yield name, node
                waiting.extend(node.values())
            elif isinstance(node, list):
                waiting.extend(node)


def of_kind(resources: list[Resource], kind: str) -> list[Resource]:
    """Return the resources of a kind."""
    return [one for one in resources if one["kind"] == kind]


def servers(resources: list[Resource]) -> list[Resource]:
    """Return the Deployments that serve the model."""
    return [
        one
        for one in of_kind(resources, "Deployment")
        if one["spec"]["template"]["metadata"]["labels"].get("app.kubernetes.io/name") == "seghgan-server"
    ]


def flags(container: Resource) -> dict[str, str]:
    """Return a container's flags, dashes as underscores."""
    pairs = (one.lstrip("-").split("=", 1) for one in container.get("args", []) if one.startswith("--"))
    return {pair[0].replace("-", "_"): pair[1] if len(pair) > 1 else "" for pair in pairs}


def problems(resources: list[Resource]) -> list[str]:
    """Return what is wrong with the resources of one target, nothing where they agree."""
    checks = (_security, _images, _placeholders, _secrets, _server, _memory, _labels, _services, _fence, _budget)
    return [problem for check in checks for problem in check(resources)]


def _security(resources: list[Resource]) -> Iterator[str]:
    for name, spec in pod_specs(resources):
        if spec.get("automountServiceAccountToken") is not False and not name.startswith("ServingRuntime"):
            yield f"{name}: automountServiceAccountToken must be false"
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            yield from _container(f"{name}/{container['name']}", container, spec.get("securityContext", {}))
        if spec.get("shareProcessNamespace") or spec.get("hostNetwork") or spec.get("hostPID"):
            yield f"{name}: no namespace of the node or of other containers may be shared"
        if any("hostPath" in volume for volume in spec.get("volumes", [])):
            yield f"{name}: hostPath is not allowed"


def _container(where: str, container: Resource, pod: Resource) -> Iterator[str]:
    own = container.get("securityContext", {})
    if not (pod.get("runAsNonRoot") or own.get("runAsNonRoot")):
        yield f"{where}: runAsNonRoot must be true"
    if (pod | own).get("runAsUser") != 10001:
        yield f"{where}: runAsUser must be 10001"
    if (pod | own).get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield f"{where}: seccompProfile must be RuntimeDefault"
    if own.get("capabilities", {}).get("drop") != ["ALL"] or own["capabilities"].get("add"):
        yield f"{where}: all capabilities must be dropped"
    if own.get("readOnlyRootFilesystem") is not True:
        yield f"{where}: readOnlyRootFilesystem must be true"
    if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
        yield f"{where}: privileges must not grow"
    if not container.get("resources", {}).get("limits", {}).get("memory"):
        yield f"{where}: a memory limit is missing"


def _images(resources: list[Resource]) -> Iterator[str]:
    for name, spec in pod_specs(resources):
        images = [one.get("image", "") for one in [*spec["containers"], *spec.get("initContainers", [])]]
        images += [one["image"]["reference"] for one in spec.get("volumes", []) if "image" in one]
        for image in images:
            if not IMAGE.fullmatch(image):
                yield f"{name}: image {image!r} must be pinned by tag and digest"


def _strings(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield str(key)
            yield from _strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from _strings(value)
    elif isinstance(node, str):
        yield node


def _placeholders(resources: list[Resource]) -> Iterator[str]:
    for resource in resources:
        for text in _strings(resource):
            if re.search(r"REPLACE_?ME|CHANGE_?ME|<[A-Z_]{3,}>|TODO", text):
                yield f"{resource['kind']}/{resource['metadata']['name']}: a placeholder is left: {text[:80]!r}"


def unset(resources: list[Resource]) -> list[str]:
    """Return the parameters of a target that still have the values they were shipped with, which cannot work."""
    found = {
        f"{resource['kind']}/{resource['metadata']['name']}: still to be filled in: {text[:160]}"
        for resource in resources
        for text in _strings(resource)
        if re.search(r"(registry|models)\.example/|\b0{64}\b", text)
    }
    return sorted(found)


def _secrets(resources: list[Resource]) -> Iterator[str]:
    for one in of_kind(resources, "ConfigMap"):
        if any(
            re.search(r"-----BEGIN|(?i:password|secret_key|access_key|token)\s*[:=]", text) for text in _strings(one)
        ):
            yield f"ConfigMap/{one['metadata']['name']}: holds what looks like a secret"


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


def _bytes(text: str) -> float:
    number, unit = re.fullmatch(r"([0-9.]+)([KMG]i)?", text).groups()  # type: ignore[union-attr]
    return float(number) * {None: 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}[unit]


def _memory(resources: list[Resource]) -> Iterator[str]:
    for deployment in servers(resources):
        facts, resource = (
            deployment["metadata"].get("annotations", {}),
            deployment["spec"]["template"]["spec"]["containers"][0]["resources"],
        )
        process, version = facts.get("seghgan.io/process-memory"), facts.get("seghgan.io/version-memory")
        if not process or not version:
            yield f"{deployment['metadata']['name']}: memory annotations are missing"
        elif _bytes(resource["limits"].get("memory") or "0") < ROOM * (_bytes(process) + 2 * _bytes(version)):
            yield f"{deployment['metadata']['name']}: the memory limit does not hold two versions"
        if resource["limits"].get("memory") != resource["requests"].get("memory"):
            yield f"{deployment['metadata']['name']}: memory limit and request must be equal"


def models_config(
    resources: list[Resource] | None, maps: Resource | None = None
) -> tuple[str, set[str], dict[str, str]] | None:
    """Return (base path, listed versions, labels) of the ConfigMap seghgan-models, None where there is none."""
    if maps is None:
        maps = {one["metadata"]["name"]: one["data"] for one in of_kind(resources or [], "ConfigMap")}
    text = maps.get("seghgan-models", {}).get("models.config")
    if text is None:
        return None
    base = re.search(r'base_path: "([^"]+)"', text)
    return (
        base.group(1) if base else "",
        set(re.findall(r"versions: (\d+)", text)),
        dict(re.findall(r'key: "(\w+)" value: (\d+)', text)),
    )


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


def _services(resources: list[Resource]) -> Iterator[str]:
    templates = [one["spec"]["template"] for one in servers(resources)]
    for service in of_kind(resources, "Service"):
        name, spec = service["metadata"]["name"], service["spec"]
        if not name.startswith("seghgan") or name == "seghgan-train":
            continue
        chosen = [one for one in templates if spec["selector"].items() <= one["metadata"]["labels"].items()]
        if not chosen:
            yield f"Service/{name}: selects no pod"
        ports = {
            port["name"]: port["containerPort"] for one in chosen for port in one["spec"]["containers"][0]["ports"]
        }
        for port in spec["ports"]:
            if ports.get(port["targetPort"], port["targetPort"]) != port["port"]:
                yield f"Service/{name}: port {port['port']} is not the pods' {port['targetPort']}"
            if port["port"] == 8501 and name != "seghgan-metrics":
                yield f"Service/{name}: clients must not see the REST port"
        if spec.get("type") in ("LoadBalancer", "NodePort"):
            yield f"Service/{name}: must not leave the cluster"
    for deployment in servers(resources):
        if (
            not deployment["spec"]["selector"]["matchLabels"].items()
            <= deployment["spec"]["template"]["metadata"]["labels"].items()
        ):
            yield f"{deployment['metadata']['name']}: its selector does not match its pods"


def _fence(resources: list[Resource]) -> Iterator[str]:
    policies = of_kind(resources, "NetworkPolicy")
    if not servers(resources):
        return
    denied = [one for one in policies if one["spec"]["podSelector"] == {} and not one["spec"].get("ingress")]
    if not denied or sorted(denied[0]["spec"]["policyTypes"]) != ["Egress", "Ingress"]:
        yield "NetworkPolicy: nothing denies by default"
    for policy in policies:
        for rule in policy["spec"].get("ingress") or []:
            ports = [port.get("port") for port in rule.get("ports", [])]
            peers = rule.get("from", [])
            where = f"NetworkPolicy/{policy['metadata']['name']}"
            if not ports or not peers:
                yield f"{where}: opens every port, or to everybody"
            spaces = [one.get("namespaceSelector", {}).get("matchLabels", {}) for one in peers]
            if 8501 in ports and any(one.get("kubernetes.io/metadata.name") != "monitoring" for one in spaces):
                yield f"{where}: opens REST to others than monitoring"
            clients = [one.get("podSelector", {}).get("matchLabels", {}) for one in peers]
            if 8500 in ports and any(one.get("seghgan.io/client") != "true" for one in clients):
                yield f"{where}: opens gRPC to pods without the client label"


def _budget(resources: list[Resource]) -> Iterator[str]:
    deployments = {one["metadata"]["name"]: one for one in of_kind(resources, "Deployment")}
    for scaler in of_kind(resources, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]["name"]
        if target not in deployments:
            yield f"HorizontalPodAutoscaler: scales {target}, which is not there"
        elif "replicas" in deployments[target]["spec"]:
            yield f"{target}: replicas belong to the autoscaler"
        if scaler["spec"]["minReplicas"] < 2:
            yield "HorizontalPodAutoscaler: one pod is no service"
    for budget in of_kind(resources, "PodDisruptionBudget"):
        wanted = budget["spec"]["selector"]["matchLabels"].items()
        if not any(wanted <= one["spec"]["template"]["metadata"]["labels"].items() for one in deployments.values()):
            yield "PodDisruptionBudget: selects no pod"
        if str(budget["spec"].get("maxUnavailable", "")) in ("0", "0%"):
            yield "PodDisruptionBudget: no node could ever be drained"
