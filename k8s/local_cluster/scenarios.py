"""What is done to the cluster while clients call: restart, crash, cut cable, canary, promotion, rollback, bad versions."""

import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

from k8s.checks.resources import Resource, servers
from k8s.local_cluster.cluster import KUBELET_SYNC_SECONDS, Cluster, Deployment
from k8s.local_cluster.load import Load
from k8s.local_cluster.pod import Pod
from serving.release import promote

LIMIT = 600.0
"""Seconds after which a step counts as failed."""


class Stage(NamedTuple):
    """What a scenario plays on: the cluster under load, the built manifests, and folders of exports by name."""

    cluster: Cluster
    load: Load
    resources: list[Resource]
    canary: list[Resource]
    models: dict[str, Path]
    seconds: float
    """How long to watch what should stay as it is."""

    def fleet(self) -> Deployment:
        """Return the Deployment of the stable track."""
        return next(iter(self.cluster.deployments.values()))

    def rest(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds * self.cluster.scale)


Result = dict[str, Any]


def steady(stage: Stage) -> Result:
    """Nothing happens."""
    time.sleep(stage.seconds)
    return {"replicas": stage.fleet().replicas, "seconds": stage.seconds}


def rolling_restart(stage: Stage) -> Result:
    """`kubectl rollout restart`, by the manifest's own probes, surge and drain."""
    fleet = stage.fleet()
    old = fleet.live()
    fleet.restart()
    seconds = stage.cluster.wait("The rolling restart", fleet.rolled_out, LIMIT)
    return {
        "seconds": round(seconds, 1),
        "exit_codes_of_old_pods": [pod.exit_code for pod in old],
        "seconds_to_ready": [round(pod.seconds_to_ready, 1) for pod in fleet.live()],
    }


def crash(stage: Stage) -> Result:
    """SIGKILL to a server's process 1, as when memory is short."""
    pod = stage.fleet().live()[0]
    restarts = pod.restarts
    pod.crash()
    stage.cluster.wait("Noticing the crash", lambda: pod.restarts > restarts, LIMIT)
    seconds = stage.cluster.wait("The container's restart", pod.ready, LIMIT)
    return {"exit_code": pod.exit_code, "seconds_until_ready_again": round(seconds, 1)}


def cut_cable(stage: Stage) -> Result:
    """A Pod's packets are lost without an answer, as when its node loses power."""
    pod = stage.fleet().live()[-1]
    if pod.container is None:
        raise ValueError(f"{pod.name} has no container")
    pod.container.unplug()
    noticed = stage.cluster.wait("Unreadiness", lambda: not pod.ready(), LIMIT)
    seconds = stage.cluster.wait("The container's restart", pod.ready, LIMIT)
    return {"seconds_until_unready": round(noticed, 1), "seconds_until_ready_again": round(seconds, 1)}


def _share(stage: Stage) -> dict[str, Any]:
    start = time.monotonic()
    stage.rest(20.0)
    found = stage.load.since(start)
    return {name: found[name] for name in ("by_version", "keys_with_two_versions")}


def canary(stage: Stage) -> Result:
    """The canary overlay is applied over the running fleet, then labels are promoted, survive a second apply, and go back."""
    cluster, fleet = stage.cluster, stage.fleet()
    begin = time.monotonic()
    cluster.maps.apply(stage.canary)
    for resource in servers(stage.canary):
        name = resource["metadata"]["name"]
        if name in cluster.deployments:
            cluster.deployments[name].apply(resource, stage.models["both"])
        else:
            cluster.deployments[name] = Deployment(cluster, resource, 1, stage.models["both"])
    cluster.wait("The canary's roll-out", lambda: all(one.rolled_out() for one in cluster.deployments.values()), LIMIT)
    result: Result = {"rollout_seconds": round(time.monotonic() - begin, 1)}
    promote.promote(cluster.maps, 2, "canary", cluster.target, LIMIT)
    result["split"] = _share(stage)
    for name, version, label in (("promoted", 2, "stable"), ("rolled_back", 1, "stable"), ("ended", 1, "canary")):
        begin = time.monotonic()
        promote.promote(cluster.maps, version, label, cluster.target, LIMIT)
        result[f"{name}_seconds"] = round(time.monotonic() - begin, 1)
        cluster.maps.apply(stage.canary)  # as GitOps does every few minutes, which must move no label
        stage.rest(KUBELET_SYNC_SECONDS)
        result[name] = _share(stage)
    extra = [one for one in cluster.deployments.values() if one is not fleet]
    for deployment in extra:
        deployment.replicas = 0
        for pod in deployment.live():
            pod.delete()
    return result


def _stopped_rollout(stage: Stage, model: Path) -> Result:
    """Roll out a model folder that must not become ready, watch, and undo it."""
    cluster, fleet = stage.cluster, stage.fleet()
    resource, good, old = servers(stage.resources)[0], fleet.template.model, fleet.live()
    fleet.apply(resource, model)
    cluster.wait("A Pod of the new template", lambda: len(fleet.live()) > len(old) - fleet.unavailable, LIMIT)
    new = [pod for pod in fleet.live() if pod not in old]
    cluster.wait("A verdict", lambda: any(pod.why != "starting" for pod in new), LIMIT)
    time.sleep(stage.seconds)
    seen = {
        "new_pods_ready": sum(pod.ready_since is not None for pod in new),
        "old_pods_ready": sum(pod.ready() for pod in old),
        "old_pods": len(old),
        "readiness_said": sorted({_first_line(pod) for pod in new}),
        "restarts": max(pod.restarts for pod in new),
    }
    fleet.undo(resource, good)
    cluster.wait("The undoing", fleet.rolled_out, LIMIT)
    return seen | {"old_pods_after_undo": sum(pod in fleet.live() for pod in old)}


def _first_line(pod: Pod) -> str:
    return (pod.why or "ready").splitlines()[0]


def bad_image(stage: Stage) -> Result:
    """Three model images that must not be served are rolled out: nothing loads; stable is broken; stable answers NaN."""
    result = {"nothing_loads": _stopped_rollout(stage, stage.models["broken alone"])}
    cluster, before = stage.cluster, stage.cluster.maps.read()
    both = promote.with_version(promote.listed(before, "seghgan"), 2)
    cluster.maps.write(promote.written(both))
    stage.rest(KUBELET_SYNC_SECONDS)
    result["stable_is_broken"] = _stopped_rollout(stage, stage.models["broken"])
    result["stable_answers_nan"] = _stopped_rollout(stage, stage.models["nan"])
    cluster.maps.write(before)
    return result


def bad_promotion(stage: Stage) -> Result:
    """`seghgan promote` of a broken version and of one that answers NaN, which arrive on the Pods' volume."""
    cluster, result = stage.cluster, {}
    volume, before = stage.fleet().template.model, stage.cluster.maps.read()
    for version, name in ((3, "broken"), (4, "nan")):
        shutil.copytree(stage.models[name] / "1", volume / f".{version}")
        (volume / f".{version}").rename(volume / str(version))
        begin = time.monotonic()
        try:
            promote.promote(cluster.maps, version, "canary", cluster.target, LIMIT)
            said = ""
        except ValueError as error:
            said = str(error)
        result[name] = {
            "refused": said.partition(": ")[2][:200] or said,
            "seconds": round(time.monotonic() - begin, 1),
            "labels_as_before": cluster.maps.read() == before,
        }
    return result


SCENARIOS = {one.__name__: one for one in (steady, rolling_restart, crash, cut_cable, canary, bad_image, bad_promotion)}


def problems(name: str, found: Result) -> list[str]:
    """Return what a scenario did not keep, nothing where it went as it should."""
    wrong = [f"{found['failed']} failed calls {found['errors']}"] if found["failed"] else []
    wrong += [f"{found['wrong_answers']} wrong answers"] if found["wrong_answers"] else []
    wrong += [] if found["calls"] else ["no call was made"]
    if name == "rolling_restart" and any(found["exit_codes_of_old_pods"]):
        wrong.append(f"old Pods ended with {found['exit_codes_of_old_pods']}")
    if name == "bad_image":
        for kind in ("nothing_loads", "stable_is_broken", "stable_answers_nan"):
            seen = found[kind]
            if seen["new_pods_ready"] or seen["old_pods_ready"] < seen["old_pods"]:
                wrong.append(f"{kind}: {seen}")
    if name == "bad_promotion":
        wrong += [
            f"{kind}: {found[kind]}"
            for kind in ("broken", "nan")
            if not found[kind]["refused"] or not found[kind]["labels_as_before"]
        ]
    if name == "canary":
        split, back = found["split"]["by_version"], found["ended"]["by_version"]
        if set(split) != {"1", "2"} or set(back) != {"1"} or set(found["promoted"]["by_version"]) != {"2"}:
            wrong.append("the labels did not split, move or come back")
        wrong += [
            f"{stage}: a key had two versions" for stage in ("split", "ended") if found[stage]["keys_with_two_versions"]
        ]
    return wrong
