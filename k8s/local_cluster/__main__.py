"""A cluster on one machine: the built manifests' Pods in namespaces of this kernel, under load, while things happen to them.

Every Pod runs the manifest's exact command as its user in a network, process tree and read-only root of its own; ConfigMaps,
probes, surge, drain, grace and DNS follow the manifest's numbers. The model is a stand-in. Needs Linux, root and iproute2.

    python -m k8s.local_cluster                                        # everything, about a quarter of an hour
    python -m k8s.local_cluster --only rolling_restart canary
    python -m k8s.local_cluster --scale 0.1 --seconds 5                # every duration of the manifests at a tenth
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from k8s.checks.resources import Resource, flags, servers
from k8s.local_cluster.cluster import HOSTS_BYTES, KUBELET_SYNC_SECONDS, Cluster
from k8s.local_cluster.container import plug_node
from k8s.local_cluster.load import Load
from k8s.local_cluster.scenarios import LIMIT, SCENARIOS, Stage, problems
from k8s.validate import K8S, build

SIZE = 64
FAKE = K8S.parent / "tests" / "serving" / "fake_export.py"
INSIDE = "SEGHGAN_LOCAL_NODE"
EMBEDDED = ["/opt/venv/bin/python", "-m", "serving.server"]


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        "python -m k8s.local_cluster", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--overlay", default="overlays/prod-cpu", help="folder of k8s/ to run (default: %(default)s)")
    made.add_argument("--only", nargs="+", choices=SCENARIOS, default=list(SCENARIOS), help="scenarios, in order")
    made.add_argument("--replicas", type=int, default=0, help="Pods; 0 takes the autoscaler's least number")
    made.add_argument("--seconds", type=float, default=60.0, help="how long to watch what should stay as it is")
    made.add_argument("--scale", type=float, default=1.0, help="factor on every duration; 1 leaves command lines exact")
    made.add_argument("--output", type=Path, help="write the results here, as JSON")
    return made


def embedded(overlay: str, folder: Path) -> list[Resource]:
    """Build an overlay with the embedded server in place of TensorFlow Serving's binary."""
    resources = build(overlay)
    if all(one["spec"]["template"]["spec"]["containers"][0]["command"] == EMBEDDED for one in servers(resources)):
        return resources
    folder.mkdir()
    parts = {"resources": [K8S / overlay], "components": [K8S / "components" / "embedded-server"]}
    kustomization = {key: [os.path.relpath(one, folder.resolve()) for one in paths] for key, paths in parts.items()}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return build(str(folder))


def exports(folder: Path) -> dict[str, Path]:
    """Write the folders of exports that stand in for model images."""
    versions = {"1": "0.5", "2": "0.25", "3": "nan"}
    flags_ = ["--version", *versions, "--strength", *versions.values(), f"--size={SIZE}", "--layers=2"]
    if subprocess.run([sys.executable, FAKE, folder / "good", *flags_], stderr=subprocess.DEVNULL).returncode:
        raise OSError(f"{FAKE} could not write an export; run it by itself to see why")
    made = {name: folder / name for name in ("good", "nan")}
    made["nan"].mkdir()
    (made["good"] / "3").rename(made["nan"] / "1")
    shutil.copytree(made["good"] / "2", made["nan"] / "2")
    for name in ("both", "broken", "broken alone"):
        made[name] = folder / name
        subprocess.run(["cp", "-r", made["good"], made[name]], check=True)
    for name in ("broken", "broken alone"):
        data = next((made[name] / "1" / "variables").glob("*.data*"))
        data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    return made


def numbers(resources: list[Resource]) -> dict[str, Any]:
    """Return the manifest's numbers that the run follows."""
    spec = servers(resources)[0]["spec"]
    pod = spec["template"]["spec"]
    server = pod["containers"][0]
    return {
        "command": " ".join([*server["command"], *server["args"]]),
        "flags": {name: value for name, value in flags(server).items() if "seconds" in name},
        "rollingUpdate": spec["strategy"]["rollingUpdate"],
        "minReadySeconds": spec["minReadySeconds"],
        "terminationGracePeriodSeconds": pod["terminationGracePeriodSeconds"],
        "preStop": server.get("lifecycle", {}).get("preStop"),
        **{kind: server[kind] for kind in ("startupProbe", "readinessProbe", "livenessProbe")},
        "memory_limit": server["resources"]["limits"]["memory"],
    }


def play(arguments: argparse.Namespace, folder: Path, console: Console) -> dict[str, Any]:
    """Run the scenarios and return their results."""
    resources = embedded(arguments.overlay, folder / "overlay")
    canary = embedded("overlays/canary", folder / "canary")
    models = exports(folder / "models")
    plug_node()
    cluster = Cluster(resources, models["good"], folder, arguments.scale, arguments.replicas)
    results: dict[str, Any] = {"manifest": numbers(resources), "scenarios": {}}
    try:
        fleet = next(iter(cluster.deployments.values()))
        seconds = cluster.wait("The first roll-out", fleet.rolled_out, LIMIT)
        cluster.wait("DNS", lambda: len(cluster.addresses()) == fleet.replicas, LIMIT)
        console.print(f"{fleet.replicas} Pods of {arguments.overlay} are ready after {seconds:.0f} s")
        load = Load(cluster.target, SIZE)
        stage = Stage(cluster, load, resources, canary, models, arguments.seconds)
        for name in arguments.only:
            with console.status(name):
                start = time.monotonic()
                found = SCENARIOS[name](stage)
                stage.rest(10.0)
            results["scenarios"][name] = (
                found | load.since(start) | {"took_seconds": round(time.monotonic() - start, 1)}
            )
            results["peak_memory_mib"] = round(max(pod.peak_memory for pod in cluster.pods()) / 2**20)
            save(arguments, results)
            console.print(f"{name}: {time.monotonic() - start:.0f} s")
        load.stop()
    finally:
        cluster.close()
    return results


def save(arguments: argparse.Namespace, results: dict[str, Any]) -> None:
    """Write what is known so far beside the command and the machine."""
    facts = {
        "command": " ".join(["python -m k8s.local_cluster", *sys.argv[1:]]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores shared with other work, Python {platform.python_version()}",
        "date": time.strftime("%Y-%m-%d"),
        "scale": arguments.scale,
        "kubelet_sync_seconds": KUBELET_SYNC_SECONDS,
    }
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(facts | results, indent=1) + "\n")


def table(scenarios: dict[str, Any]) -> Table:
    """Return the results as a table."""
    made = Table("scenario", "seconds", "calls", "failed", "wrong", "p50 ms", "p99 ms", "longest ms", "kept")
    for name, found in scenarios.items():
        keys = ("took_seconds", "calls", "failed", "wrong_answers", "p50_ms", "p99_ms", "longest_ms")
        wrong = problems(name, found)
        made.add_row(name, *(str(found[key]) for key in keys), "[red]" + "; ".join(wrong) if wrong else "yes")
    return made


def main() -> int:
    """Run as the first process of a node's namespaces; 0 where every scenario went as it should, 1 otherwise."""
    arguments = parser().parse_args()
    if os.environ.get(INSIDE) is None:
        if os.geteuid():
            sys.stderr.write(
                "error: namespaces need root. Run it with sudo, or in a container with SYS_ADMIN and NET_ADMIN.\n"
            )
            return 2
        words = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        os.environ[INSIDE] = "1"
        os.execvp(words[0], [*words, sys.executable, "-m", "k8s.local_cluster", *sys.argv[1:]])
    with tempfile.TemporaryDirectory(prefix="seghgan-cluster-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "hosts").write_text("127.0.0.1 localhost".ljust(HOSTS_BYTES - 1) + "\n")
        subprocess.run(["mount", "--bind", folder / "hosts", "/etc/hosts"], check=True)
        results = play(arguments, folder, Console())
    Console(width=160).print(table(results["scenarios"]))
    return 1 if any(problems(name, found) for name, found in results["scenarios"].items()) else 0


if __name__ == "__main__":
    sys.exit(main())
