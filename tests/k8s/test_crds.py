"""Custom kinds are held to their projects' schemas to the last field: an unknown one, or a value of a wrong type, is refused anywhere."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from k8s.crds import custom_problems, knows

Path = tuple[str | int, ...]
TARGETS = (
    "overlays/prod-cpu",
    "kserve",
    "training/jobset",
    "training/tfjob",
    "training/trainjob",
    "training/convert-beam",
)


def nodes(node: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield every object and value, with the way to it."""
    yield path, node
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from nodes(value, (*path, key))


def at(node: Any, path: Path) -> Any:
    for key in path:
        node = node[key]
    return node


@pytest.fixture(scope="module")
def resources(built) -> dict[str, dict[str, Any]]:
    """Every resource of a custom kind, by its kind."""
    return {one["kind"]: one for target in TARGETS for one in built(target) if knows(one)}


def test_every_custom_kind_has_a_schema_and_fits_it(resources):
    expected = {
        "FlinkDeployment",
        "TFJob",
        "JobSet",
        "TrainJob",
        "TrainingRuntime",
        "InferenceService",
        "ServingRuntime",
    }
    assert set(resources) == expected | {"ServiceMonitor", "PrometheusRule"}
    assert [problem for one in resources.values() for problem in custom_problems(one)] == []


def test_an_unknown_field_is_refused_wherever_it_stands(resources):
    for kind, resource in resources.items():
        for path, node in nodes(resource):
            # Resources of a container may have any name.
            if isinstance(node, dict) and path[-2:-1] != ("resources",):
                changed = copy.deepcopy(resource)
                at(changed, path)["unknown"] = 1
                assert custom_problems(changed), (kind, path)


def test_a_value_of_another_type_is_refused_wherever_it_stands(resources):
    for kind, resource in resources.items():
        for path, node in nodes(resource):
            if not isinstance(node, dict | list) and path[0] not in ("apiVersion", "kind"):
                changed = copy.deepcopy(resource)
                at(changed, path[:-1])[path[-1]] = [1]
                assert custom_problems(changed), (kind, path)


@pytest.mark.parametrize(
    ("kind", "path", "value", "said"),
    [
        ("TFJob", ("spec", "runPolicy", "backoffLimit"), "20", "'20' is not of type 'integer'"),
        (
            "JobSet",
            ("spec", "replicatedJobs", 0, "template", "spec", "template", "spec", "containers", 0, "imagePullPolicy"),
            "Sometimes",
            "enum",
        ),
        ("ServiceMonitor", ("spec", "endpoints", 0, "interval"), "15 seconds", "does not match"),
        ("PrometheusRule", ("spec", "groups", 0, "rules", 7, "for"), "soon", "does not match"),
        ("ServingRuntime", ("spec", "containers"), None, "'containers' is a required property"),
    ],
)
def test_the_problem_names_the_place(resources, kind, path, value, said):
    changed = copy.deepcopy(resources[kind])
    if value is None:
        del at(changed, path[:-1])[path[-1]]
    else:
        at(changed, path[:-1])[path[-1]] = value
    (problem,) = custom_problems(changed)
    assert said in problem
    assert str(path[-1]) in problem
