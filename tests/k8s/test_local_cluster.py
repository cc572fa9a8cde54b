"""The cluster on one machine: its controllers' rules by themselves, and a short run with real Pods."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time

import pytest

from k8s.local_cluster import cluster, pod, probes, scenarios
from k8s.local_cluster.__main__ import EMBEDDED, embedded, numbers, parser
from k8s.validate import K8S


class FakePod:
    """A Pod that is ready when the test says so."""

    def __init__(self, name, *_):
        self.name, self.is_ready, self.address = name, False, name
        self.stopping, self.gone, self.why = threading.Event(), threading.Event(), ""

    def ready(self):
        return self.is_ready and not self.stopping.is_set()

    def available(self, _seconds):
        return self.ready()

    def delete(self):
        self.stopping.set()
        self.gone.set()


@pytest.fixture
def deployment(monkeypatch, tmp_path):
    """A Deployment of three that may have one more and none fewer, of Pods without processes."""

    class Node:
        scale, folder = 1.0, tmp_path
        maps = cluster.ConfigMaps(tmp_path / "maps", 1.0)

        def base_path(self):
            return "/models/seghgan"

    monkeypatch.setattr(cluster, "Pod", FakePod)
    strategy = {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    resource = {"metadata": {"name": "server"}, "spec": {"strategy": strategy, "template": {"spec": {}}}}
    made = cluster.Deployment(Node(), resource, 3, tmp_path)
    made.step()
    for one in made.pods:
        one.is_ready = True
    return made, resource


def test_a_rollout_adds_one_pod_at_a_time_and_never_has_fewer_ready(deployment):
    rolling, _ = deployment
    rolling.restart()
    for _ in range(3):
        rolling.step()
        rolling.step()
        assert (len(rolling.live()), sum(one.ready() for one in rolling.live())) == (4, 3)
        rolling.live()[-1].is_ready = True
    rolling.step()
    assert rolling.rolled_out()
    assert {one.name.split(".")[1] for one in rolling.live()} == {"2"}


def test_a_rollout_whose_pods_never_become_ready_stops_and_can_be_undone(deployment, tmp_path):
    rolling, resource = deployment
    old = rolling.live()
    rolling.apply(resource, tmp_path / "bad")
    for _ in range(10):
        rolling.step()
    assert [one.ready() for one in rolling.live()] == [True, True, True, False]
    rolling.undo(resource, tmp_path)
    rolling.step()
    assert rolling.live() == old


def test_a_config_map_reaches_a_pod_at_the_kubelets_next_sync_whole(tmp_path):
    maps = cluster.ConfigMaps(tmp_path, 1.0)
    maps.apply([{"kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"models.config": "old", "b": "1"}}])
    folder = maps.mount("pod")["m"]
    maps.write("new")
    assert (folder / "models.config").read_text() == "old"
    maps.sync(0.0, cluster.KUBELET_SYNC_SECONDS)
    assert (folder / "models.config").read_text() == "new"
    assert (folder / "models.config").readlink().parent.name == "..data"


def test_a_probe_tells_only_what_reaches_its_threshold(monkeypatch):
    probe = probes.Probe({"tcpSocket": {"port": 1}, "periodSeconds": 0, "failureThreshold": 3}, {})
    answers, told = iter(["x", "x", "", "x", "x", "x"]), []
    monkeypatch.setattr(probe, "check", lambda *_: next(answers))

    def changed(good, why):
        told.append((good, why))
        return good

    probe.watch("", None, threading.Event(), changed)
    assert told == [(True, ""), (False, "x")]


def test_the_command_lines_are_those_of_the_manifests(tmp_path):
    resources = embedded("overlays/prod-cpu", tmp_path / "overlay")
    server = cluster.servers(resources)[0]["spec"]["template"]["spec"]["containers"][0]
    assert server["command"] == EMBEDDED
    assert pod.scaled(server["args"], 1.0) == server["args"]
    assert numbers(resources)["readinessProbe"] == server["readinessProbe"]


def test_a_failed_call_or_a_ready_bad_pod_is_a_problem():
    calls = {"calls": 9, "failed": 0, "errors": {}, "wrong_answers": 0}
    seen = {"new_pods_ready": 0, "old_pods_ready": 3, "old_pods": 3}
    kinds = ("nothing_loads", "stable_is_broken", "stable_answers_nan")
    assert scenarios.problems("bad_image", calls | dict.fromkeys(kinds, seen)) == []
    assert scenarios.problems("steady", calls | {"failed": 1})
    assert scenarios.problems("bad_image", calls | dict.fromkeys(kinds, seen | {"new_pods_ready": 1}))


def test_every_scenario_is_offered():
    assert parser().parse_args([]).only == list(scenarios.SCENARIOS)


@pytest.mark.slow
@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0 or not all(map(shutil.which, ("ip", "unshare", "nsenter", "setpriv"))),
    reason="needs root and iproute2 (apt-get install iproute2) to make network namespaces",
)
def test_a_rolling_restart_and_a_broken_image_lose_no_call(tmp_path):
    output = tmp_path / "results.json"
    scale = ["--scale", "0.05", "--seconds", "1", "--replicas", "1"]
    start = time.monotonic()
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "k8s.local_cluster",
            *scale,
            "--only",
            "rolling_restart",
            "bad_image",
            "--output",
            output,
        ],
        cwd=K8S.parent,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert output.exists(), ran.stderr
    results = json.loads(output.read_text())["scenarios"]
    assert ran.returncode == 0, f"{results} after {time.monotonic() - start:.0f} s"
    assert all(found["failed"] == 0 and found["calls"] > 20 for found in results.values())
    assert "HTTP 404" in " ".join(results["bad_image"]["stable_is_broken"]["readiness_said"])
