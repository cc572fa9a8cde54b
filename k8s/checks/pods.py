"""Every pod: the restricted standard, images by digest, no placeholder, no secret in a ConfigMap."""

import re
from collections.abc import Iterator

from k8s.checks.resources import Resource, of_kind, pod_specs, strings

IMAGE = re.compile(r"[\w./-]+:(?!latest@)[\w.-]+@sha256:[0-9a-f]{64}")


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


def _placeholders(resources: list[Resource]) -> Iterator[str]:
    for resource in resources:
        for text in strings(resource):
            if re.search(r"REPLACE_?ME|CHANGE_?ME|<[A-Z_]{3,}>|TODO", text):
                yield f"{resource['kind']}/{resource['metadata']['name']}: a placeholder is left: {text[:80]!r}"


def unset(resources: list[Resource]) -> list[str]:
    """Return the parameters of a target that still have the values they were shipped with, which cannot work."""
    found = {
        f"{resource['kind']}/{resource['metadata']['name']}: still to be filled in: {text[:160]}"
        for resource in resources
        for text in strings(resource)
        if re.search(r"(registry|models)\.example/|\b0{64}\b|\b203\.0\.113\.", text)
    }
    return sorted(found)


def _secrets(resources: list[Resource]) -> Iterator[str]:
    for one in of_kind(resources, "ConfigMap"):
        if any(
            re.search(r"-----BEGIN|(?i:password|secret_key|access_key|token)\s*[:=]", text) for text in strings(one)
        ):
            yield f"ConfigMap/{one['metadata']['name']}: holds what looks like a secret"


CHECKS = (_security, _images, _placeholders, _secrets)
