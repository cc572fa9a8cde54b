"""Scan the built manifests and the Dockerfiles with checkov; what it questions must be waived, with a reason, in POLICY.md."""

import fnmatch
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import yaml

from k8s.checks.resources import Resource, pod_specs
from k8s.crds import knows

CHECKOV = Path(sys.prefix) / "checkov" / "bin" / "checkov"
"""A virtual environment of its own, inside .venv: it wants older packages than the rest."""
POLICY = Path(__file__).parent / "POLICY.md"


class Finding(NamedTuple):
    """A check that a resource (`Kind.namespace.name`, or a Dockerfile) does not pass."""

    check: str
    resource: str
    text: str


class Waiver(NamedTuple):
    """A row of POLICY.md: a check, the resources (a glob) that need not pass it, and why."""

    check: str
    where: str
    why: str


def waivers(policy: str) -> list[Waiver]:
    """Return the rows of POLICY.md whose first cell names a check."""
    rows = re.findall(r"^\| `(CKV\w+)` \| `([^`]*)` \|([^|]*)\|$", policy, re.MULTILINE)
    return [Waiver(check, where, why.strip()) for check, where, why in rows]


def scan_problems(findings: list[Finding], policy: str) -> list[str]:
    """Return each finding that no row waives, each row without a reason, and each row that waives nothing any more."""
    rows = waivers(policy)
    found = [f"POLICY.md: the waiver of {row.check} has no reason" for row in rows if not row.why]
    needed = set()
    for one in findings:
        fitting = {row for row in rows if row.check == one.check and fnmatch.fnmatch(one.resource, row.where)}
        if not fitting:
            found.append(f"checkov: {one.resource} fails {one.check}: {one.text}")
        needed |= fitting
    found += [
        f"POLICY.md: nothing needs the waiver of {row.check} for {row.where}" for row in rows if row not in needed
    ]
    return found


def scan(targets: dict[str, list[Resource]], dockerfiles: Iterable[Path]) -> list[Finding]:
    """Return what checkov finds in these built targets and Dockerfiles; RuntimeError where it does not run."""
    if not CHECKOV.exists():
        raise RuntimeError(f"checkov is missing from {CHECKOV}: run `make k8s-validate`")
    with tempfile.TemporaryDirectory() as folder:
        for number, resource in enumerate(_distinct(targets)):
            pods = _pods(resource) if knows(resource) else []
            (Path(folder) / f"{number}.yaml").write_text(yaml.dump_all([resource, *pods], Dumper=yaml.CSafeDumper))
        for file in dockerfiles:
            shutil.copy(file, Path(folder) / (file.name if "." in file.name else f"{file.parent.name}.Dockerfile"))
        command = [CHECKOV, "--framework", "kubernetes", "dockerfile", "-d", folder, "--skip-download"]
        command += ["--quiet", "--compact", "-o", "json"]  # what passes is not asked for: it is most of the output
        ran = subprocess.run(command, capture_output=True, text=True)
    try:
        reports = json.loads(ran.stdout)
    except json.JSONDecodeError as error:
        raise RuntimeError(f"checkov does not run: {(ran.stderr or ran.stdout)[-500:]}") from error
    if not isinstance(reports, list) or any(report["summary"]["parsing_errors"] for report in reports):
        raise RuntimeError("checkov could not read everything")
    checks = [one for report in reports for one in report["results"]["failed_checks"]]
    return sorted({Finding(one["check_id"], one["resource"].strip("/."), one["check_name"]) for one in checks})


def _distinct(targets: dict[str, list[Resource]]) -> list[Resource]:
    """Return each resource once, since overlays share most of theirs."""
    return list({json.dumps(one, sort_keys=True): one for resources in targets.values() for one in resources}.values())


def _pods(resource: Resource) -> list[Resource]:
    """Return the pods of a custom kind as Pods, since checkov does not look into kinds it does not know."""
    meta = {"name": resource["metadata"]["name"], "namespace": resource["metadata"]["namespace"]}
    return [{"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec} for _, spec in pod_specs([resource])]
