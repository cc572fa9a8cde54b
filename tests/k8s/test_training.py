"""The steps of training fit each other and the command line; every planted fault is caught and named."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from k8s.checks import problems
from k8s.checks.resources import of_kind, pod_specs
from k8s.checks.training import read, seghgan_commands, training_problems, written
from k8s.validate import TARGETS, VERSIONS, schema_problems

Resources = list[dict[str, Any]]


@pytest.fixture(scope="module")
def pipeline(built) -> Resources:
    return built("training/pipeline")


@pytest.mark.parametrize("target", [target for target in TARGETS if target.startswith("training/")])
def test_every_command_is_one_of_the_command_line(built, target):
    resources = built(target)
    assert list(seghgan_commands(resources))
    assert training_problems(resources) == []


@pytest.mark.parametrize(
    "target", ["training/job", "training/job-gpu", "training/jobset", "training/tfjob", "training/trainjob"]
)
def test_a_training_reads_what_the_conversion_writes(built, target):
    (commands,) = [words for _, words in seghgan_commands(built(target)) if words[0] == "train"]
    assert len(read(commands)) == 2
    assert set(read(commands)) <= written(built("training/convert"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda job: job["spec"].update(completions=3), "makes 4 shares with 3 pods"),
        (lambda job: job["metadata"].update(name="seghgan-convert-other"), "no Job waits for its 4 shares"),
    ],
)
def test_a_data_set_is_shared_out_over_as_many_pods_as_it_has_shares_and_merged(built, change, said):
    resources = built("training/convert")
    jobs = [one for one in of_kind(resources, "Job") if "convert" in one["metadata"]["name"]]
    assert [one["spec"]["completions"] for one in jobs] == [4, 4]
    change(jobs[0])
    assert any(said in one for one in training_problems(resources))


def test_the_conversion_on_beam_writes_what_the_other_does(built):
    assert written(built("training/convert-beam")) < written(built("training/convert"))


def test_training_and_serving_on_gpus_ask_for_them_on_nodes_that_have_them_within_the_quota(built):
    quotas = {
        one["metadata"]["namespace"]: int(one["spec"]["hard"]["requests.nvidia.com/gpu"])
        for one in of_kind(built("cluster"), "ResourceQuota")
    }
    for target, pods in (("training/job-gpu", 2), ("overlays/prod-gpu", 3)):
        (one,) = [one for one in built(target) if one["kind"] in ("Job", "Deployment")]
        spec = one["spec"]["template"]["spec"]
        gpus = int(spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"])
        assert spec["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
        assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in spec["tolerations"]
        assert pods * gpus <= quotas[one["metadata"]["namespace"]]
    assert "train-gpu" in next(spec for _, spec in pod_specs(built("training/job-gpu")))["containers"][0]["image"]


def step(resources: Resources, name: str) -> dict[str, Any]:
    (spec,) = [spec for _, spec in pod_specs(resources)]
    return next(one for one in [*spec["initContainers"], *spec["containers"]] if one["name"] == name)


def swap(name: str, old: str, new: str) -> Callable[[Resources], None]:
    def change(resources: Resources) -> None:
        args = step(resources, name)["args"]
        assert any(old in one for one in args)
        step(resources, name)["args"] = [one.replace(old, new) for one in args]

    return change


def without(name: str) -> Callable[[Resources], None]:
    def change(resources: Resources) -> None:
        (spec,) = [spec for _, spec in pod_specs(resources)]
        spec["initContainers"].remove(step(resources, name))

    return change


FAULTS: dict[str, tuple[Callable[[Resources], None], str]] = {
    "records written elsewhere": (
        swap("convert-expression", "records/london", "records/other"),
        "/store/records/london, which no earlier step wrote",
    ),
    "records never converted": (without("convert-segmentation"), "/store/records/celebamask, which no earlier"),
    "evaluation of another run": (swap("evaluate", "runs/$(RUN)", "runs/x"), "/store/runs/x, which no earlier step"),
    "option that is none": (swap("train", "--config", "--preset"), "No such option: --preset"),
    "data set without a reader": (swap("convert-expression", "london", "londres"), "'londres'"),
    "size that is no number": (
        swap("convert-expression", "128", "big"),
        "convert-expression: Input should be a valid integer",
    ),
    "command that is none": (swap("gate", "gate", "guard"), "no command guard"),
    "gate without a digest": (swap("gate", '--digest "$digest"', ""), "takes no --digest"),
    "promotion without a digest": (swap("promote", '--digest "$digest"', ""), "takes no --digest"),
    "promotion of the newest": (
        swap("promote", '"$version"', '"$newest"'),
        "must take the version and digest of the receipt",
    ),
    "receipt elsewhere": (
        swap("export", "--receipt exported", "--receipt made"),
        "not the name of the receipt that export writes",
    ),
    "root": (lambda r: next(pod_specs(r))[1]["securityContext"].update(runAsUser=0), "runAsUser must be 10001"),
    "image by tag": (lambda r: step(r, "train").update(image="seghgan/train:1"), "pinned by tag and digest"),
    "no memory limit": (lambda r: step(r, "train")["resources"].pop("limits"), "a memory limit is missing"),
    "misspelt field": (lambda r: step(r, "train").update(arg=[]), "'arg' was unexpected"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_of_the_pipeline_is_caught_and_named(pipeline, name):
    resources = copy.deepcopy(pipeline)
    change, said = FAULTS[name]
    change(resources)
    found = training_problems(resources) + problems(resources) + schema_problems(resources, VERSIONS[-1:])
    assert any(said in one for one in found), found
