"""Reading built resources: pods, kinds, servers, flags, strings, models.config."""

import re
from collections.abc import Iterator
from typing import Any

Resource = dict[str, Any]

UNITS = {"": 1.0, "m": 1e-3}
UNITS |= {unit: 1e3**power for power, unit in enumerate("kMGTPE", 1)}
UNITS |= {f"{unit}i": 2.0 ** (10 * power) for power, unit in enumerate("KMGTPE", 1)}


def amount(text: str | int) -> float:
    """Return a quantity of Kubernetes as a number: cores, bytes or a count; ValueError where it is none.

    >>> amount("500m"), amount("2"), amount("1Gi"), amount("5G")
    (0.5, 2.0, 1073741824.0, 5000000000.0)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([a-zA-Z]*)", str(text))
    if found is None or found[2] not in UNITS:
        units = ", ".join(unit for unit in UNITS if unit)
        raise ValueError(f"an amount must be a number, alone or with one of {units}, as in 4Gi. Received: {text!r}")
    return float(found[1]) * UNITS[found[2]]


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


def strings(node: Any) -> Iterator[str]:
    """Yield every key and every text inside, at whatever depth."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield str(key)
            yield from strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from strings(value)
    elif isinstance(node, str):
        yield node


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
