"""Every finding of checkov has a waiver with a reason in POLICY.md, and every waiver is still needed."""

import pytest

from k8s.scan import POLICY, Finding, scan, scan_problems, waivers
from k8s.validate import DOCKERFILES, TARGETS

CPU = Finding("CKV_K8S_11", "Deployment.seghgan.seghgan-server", "CPU limits should be set")
ROW = "| `CKV_K8S_11` | `Deployment.*` | Throttling. |\n"


def test_the_policy_has_waivers_each_of_which_has_a_reason():
    rows = waivers(POLICY.read_text())
    assert {"CKV_K8S_11", "CKV_DOCKER_2"} <= {row.check for row in rows}
    assert all(len(row.why) > 20 for row in rows)
    assert POLICY.read_text().count("| `CKV") == len(rows), "a row that is not read waives nothing"


def test_a_waived_finding_is_no_problem():
    assert scan_problems([CPU], ROW) == []


@pytest.mark.parametrize(
    ("findings", "policy", "said"),
    [
        ([CPU], "", "Deployment.seghgan.seghgan-server fails CKV_K8S_11"),
        ([CPU], ROW.replace("Deployment", "Job"), "Deployment.seghgan.seghgan-server fails CKV_K8S_11"),
        ([CPU._replace(check="CKV_K8S_20")], ROW, "fails CKV_K8S_20"),
        ([CPU], ROW.replace("Throttling.", ""), "the waiver of CKV_K8S_11 has no reason"),
        ([], ROW, "nothing needs the waiver of CKV_K8S_11 for Deployment.*"),
    ],
)
def test_a_finding_without_a_waiver_and_a_waiver_without_a_finding_are_problems(findings, policy, said):
    assert any(said in problem for problem in scan_problems(findings, policy))


@pytest.mark.slow
def test_the_shipped_manifests_and_dockerfiles_fail_nothing_else_and_a_privileged_pod_of_a_custom_kind_is_found(built):
    targets = {target: built(target) for target in TARGETS}
    (job,) = (one for one in built("training/tfjob") if one["kind"] == "TFJob")
    job["metadata"]["namespace"] = "planted"
    container = job["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"]["containers"][0]
    container["securityContext"]["privileged"] = True
    found = scan(targets | {"planted": [job]}, DOCKERFILES)
    planted = [one for one in found if ".planted." in one.resource]
    assert Finding("CKV_K8S_16", "Pod.planted.seghgan-train", "Container should not be privileged") in planted
    assert scan_problems([one for one in found if one not in planted], POLICY.read_text()) == []
