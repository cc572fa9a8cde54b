"""Validate the manifests offline: yamllint, hadolint, kustomize, strict schemas, agreement, checkov, alerts.

python -m k8s.validate
"""

import functools
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import kubernetes_validate
import yaml

from k8s.checks import problems
from k8s.checks.pods import unset
from k8s.checks.resources import Resource
from k8s.checks.training import training_problems
from k8s.crds import custom_problems, knows
from k8s.scan import POLICY, scan, scan_problems

# It would parse a megabyte of definitions anew for every resource.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)

K8S = Path(__file__).parent
DOCKERFILES = (K8S.parent / "serving" / "Dockerfile", *sorted((K8S / "images").glob("*.Dockerfile")))
BIN = Path(sysconfig.get_path("scripts"))
VERSIONS = tuple(f"1.{minor}" for minor in range(31, 38))
TARGETS = (
    "cluster",
    *(f"overlays/{name}" for name in ("dev", "dev-tls", "staging", "prod-cpu", "prod-cpu-tls", "prod-gpu")),
    *(f"overlays/{name}" for name in ("canary", "canary-tls")),
    "kserve",
    *(
        f"training/{name}"
        for name in ("job", "job-gpu", "jobset", "tfjob", "trainjob", "convert", "convert-beam", "pipeline")
    ),
)


def build(target: str) -> list[Resource]:
    """Return the resources of a folder of `k8s/`; RuntimeError with kustomize's words where it does not build."""
    ran = subprocess.run([BIN / "kubectl", "kustomize", K8S / target], capture_output=True, text=True)
    if ran.returncode:
        raise RuntimeError(f"{target}: {ran.stderr.strip()[:500]}")
    return [one for one in yaml.load_all(ran.stdout, yaml.CSafeLoader) if one]


def schema_problems(resources: list[Resource], versions: tuple[str, ...] = VERSIONS) -> list[str]:
    """Return what the strict schemas refuse: of these Kubernetes versions, or of the project that a custom kind comes from."""
    found = []
    for resource in resources:
        if knows(resource):
            found += custom_problems(resource)
            continue
        for version in versions:
            try:
                kubernetes_validate.validate(resource, version, strict=True)
            except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
                found.append(f"{resource['kind']}/{resource['metadata']['name']} for {version}: {str(error)[:200]}")
    return found


def promtool() -> str:
    """Return promtool's path, fetched from Debian's `prometheus` package where it is not on PATH; RuntimeError if it cannot be."""
    kept = BIN / "promtool"
    if found := shutil.which("promtool") or shutil.which(kept):
        return found
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True)
        options = ["-qq", "-o", f"Dir::State::Lists={folder / 'lists'}", "-o", f"Dir::Cache={folder / 'cache'}"]
        try:
            subprocess.run(["apt-get", *options, "update"], check=True, capture_output=True)
            subprocess.run(["apt-get", *options, "download", "prometheus"], check=True, capture_output=True, cwd=folder)
            package = next(folder.glob("prometheus_*.deb"))
            subprocess.run(["dpkg-deb", "-x", package, folder / "tree"], check=True)
        except (OSError, subprocess.CalledProcessError, StopIteration) as error:
            raise RuntimeError(f"promtool is missing; install Prometheus so that it is on PATH ({error})") from error
        shutil.copy2(folder / "tree" / "usr" / "bin" / "promtool", kept)
    return str(kept)


def alert_problems() -> list[str]:
    """Return what promtool says of the alerts and of their tests."""
    monitoring = K8S / "components" / "monitoring"
    with tempfile.TemporaryDirectory() as name:
        rule = yaml.safe_load((monitoring / "prometheusrule.yaml").read_text())
        (Path(name) / "rules.yaml").write_text(yaml.safe_dump(rule["spec"]))
        shutil.copy(monitoring / "rules_test.yaml", name)
        commands = (["check", "rules", "rules.yaml"], ["test", "rules", "rules_test.yaml"])
        runs = [subprocess.run([promtool(), *one], cwd=name, capture_output=True, text=True) for one in commands]
    return [ran.stdout + ran.stderr for ran in runs if ran.returncode]


def lint_problems() -> list[str]:
    """Return what yamllint refuses."""
    command = [BIN / "yamllint", "--strict", "-c", K8S / ".yamllint", K8S]
    ran = subprocess.run(command, capture_output=True, text=True)
    return [ran.stdout + ran.stderr] if ran.returncode else []


def dockerfile_problems() -> list[str]:
    """Return what hadolint refuses."""
    ran = subprocess.run([BIN / "hadolint", *DOCKERFILES], capture_output=True, text=True)
    return [ran.stdout + ran.stderr] if ran.returncode else []


def stage(name: str, run: Callable[[], list[str]]) -> list[str]:
    """Run one stage, print how it went and return its problems; a tool that is missing is one."""
    start = time.monotonic()
    try:
        found = run()
    except (RuntimeError, OSError) as error:
        found = [str(error)]
    print(f"{'FAILED' if found else 'ok':7}{name} ({time.monotonic() - start:.1f} s)", flush=True)
    return [f"{name}: {one}" for one in found]


def main(targets: Sequence[str]) -> int:
    """Run every stage; 0 where nothing is wrong, 1 with each problem on a line.

    Targets that are named must also be filled in: no registry, address or digest may be the one that was shipped.
    """
    if wrong := set(targets) - set(TARGETS):
        print(f"TARGET must be one of {', '.join(TARGETS)}. Received: {', '.join(wrong)}")
        return 1
    built: dict[str, list[Resource]] = {}

    def target_problems(target: str) -> list[str]:
        built[target] = build(target)
        shipped = unset(built[target]) if targets else []
        agreement = problems(built[target]) + training_problems(built[target])
        return schema_problems(built[target]) + agreement + shipped

    found = stage("yamllint", lint_problems) + stage("hadolint", dockerfile_problems)
    for target in targets or TARGETS:
        text = f"{target}: Kubernetes {VERSIONS[0]} to {VERSIONS[-1]} and custom kinds, strict; agreement"
        found += stage(text, functools.partial(target_problems, target))
    if not targets:  # a waiver may be needed by one target only
        found += stage("checkov and POLICY.md", lambda: scan_problems(scan(built, DOCKERFILES), POLICY.read_text()))
        found += stage("promtool: alerts and their tests", alert_problems)
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
