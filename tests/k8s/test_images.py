"""The Dockerfiles, without a builder: their tree is laid out in a temporary root, and what the manifests run is run there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from k8s.checks.resources import pod_specs
from k8s.validate import K8S, TARGETS

ROOT = K8S.parent
COMMAND = K8S / "images" / "seghgan.Dockerfile"
FILES = {"seghgan/serving": ROOT / "serving" / "Dockerfile", "seghgan/train": COMMAND, "seghgan/data": COMMAND}
WORKER_POOL = ["/opt/venv/bin/python", "-m", "apache_beam.runners.worker.worker_pool_main"]


def lay_out(dockerfile: Path, root: Path) -> Path:
    """Copy what the build stage copies, to where it copies it."""
    work = root / "src"
    work.mkdir()
    for sources, target in re.findall(r"^COPY (?!--)(.+) (\S+)$", dockerfile.read_text(), re.MULTILINE):
        for source in sources.split():
            at = ROOT / source
            to = work / target
            shutil.copytree(at, to) if at.is_dir() else shutil.copy(at, to / at.name)
    return work


@pytest.mark.parametrize("image", FILES)
def test_an_image_holds_what_its_commands_import(image, tmp_path):
    tree = lay_out(FILES[image], tmp_path)
    modules = ["serving.server.process", "serving.release.fetch"] if image == "seghgan/serving" else ["seghgan_tf.cli"]
    for module in modules:
        code = f"import {module} as one; assert one.__file__.startswith({str(tree)!r}), one.__file__"
        ran = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tree,
            env=os.environ | {"PYTHONPATH": str(tree)},
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, ran.stderr
    assert (tree / "requirements.lock").exists()


@pytest.mark.parametrize("image", FILES)
def test_an_image_runs_as_the_user_of_the_pods_and_needs_a_digest(image):
    text = FILES[image].read_text()
    assert "\nUSER 10001:10001\n" in text
    assert "\nARG PYTHON_DIGEST\n" in text
    assert all("@${PYTHON_DIGEST}" in line for line in text.splitlines() if line.startswith("FROM"))


def test_the_manifests_run_what_the_images_have(built):
    seen = set()
    for target in TARGETS:
        for _, spec in pod_specs(built(target)):
            for container in [*spec["containers"], *spec.get("initContainers", [])]:
                name = re.sub(r"^registry\.example/|:[^/@]+@.+$", "", container["image"])
                if name in FILES:
                    seen.add(name)
                    entry = re.search(r"ENTRYPOINT \[(.+)\]", FILES[name].read_text()).group(1)
                    words = [word.strip().strip('"') for word in entry.split(",")]
                    if container["command"][0] == "/bin/sh":
                        assert "/opt/venv/bin/seghgan" in container["args"][0]
                    else:
                        assert container["command"] in (
                            words,
                            ["/opt/venv/bin/python", "-m", "serving.release.fetch"],
                            WORKER_POOL,
                        )
    assert seen == set(FILES)
