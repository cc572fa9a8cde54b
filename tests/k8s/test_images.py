"""The Dockerfiles, without a builder: their tree and their lock's packages are laid out, and what the manifests run is run there."""

import hashlib
import importlib.metadata
import re
import tarfile
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from k8s.checks.resources import pod_specs
from k8s.validate import K8S, TARGETS
from tests.k8s import image_root
from tests.k8s.image_root import ROOT

LOCKED = (ROOT / "requirements.lock").read_text()
COMMAND = K8S / "images" / "seghgan.Dockerfile"
FILES = {
    "seghgan/serving": (ROOT / "serving" / "Dockerfile", K8S / "images" / "serving.lock"),
    "seghgan/train": (COMMAND, K8S / "images" / "train.lock"),
    "seghgan/train-gpu": (COMMAND, ROOT / "requirements-gpu.lock"),
    "seghgan/data": (COMMAND, K8S / "images" / "data.lock"),
}
EXTRAS = {
    "seghgan/serving": {"serve"},
    "seghgan/train": {"serve", "eval"},
    "seghgan/train-gpu": {"serve", "eval", "gpu"},
    "seghgan/data": {"data", "beam"},
}
WORKER_POOL = ["/opt/venv/bin/python", "-m", "apache_beam.runners.worker.worker_pool_main"]
CONFINED = """
test "$(id -u):$(id -g)" = 10001:10001
! touch /opt/venv/x /x 2> /tmp/refused
grep -c "Read-only" /tmp/refused
python - << 'END'
import importlib.util, socket
for name in ABSENT:
    if importlib.util.find_spec(name): raise SystemExit(f"{name} is in the image")
try: socket.create_connection(("192.0.2.1", 443), 2)
except OSError: pass
else: raise SystemExit("there is a network")
END
"""
"""What holds in every Pod; ABSENT are packages that only other images have."""
SERVE = """
python -m serving.release.fetch --url file:///volume/models.tar --sha256 DIGEST --output /models/seghgan
seghgan promote --help | grep -e --config-map
python -m serving.server --model-dir /models/seghgan --port-file /tmp/ports.json 2> /tmp/log &
until test -e /tmp/ports.json; do kill -0 $! || { cat /tmp/log; exit 1; }; sleep 0.2; done
python - << 'END'
import urllib.request, numpy as np
from serving.client import SegHGANClient
inputs = {"image": np.zeros((1, 32, 32, 3), np.float32), "expression": np.ones((1, 3), np.float32), "regions": np.array([[1, 0, 0, 0]], np.float32)}
with SegHGANClient("localhost:8500") as client:
    print("edited", client.predict("serving_default", inputs).outputs["edited"].mean())
print("metadata", urllib.request.urlopen("http://localhost:8501/v1/models/seghgan/metadata").status)
END
kill -TERM $!; wait $!; echo "ended with $?"
"""
LIGHT = {
    "seghgan/train": "seghgan --version; seghgan train --config drawn-64 --workdir /tmp/run --dry-run; seghgan gate --help"
}
LIGHT["seghgan/data"] = (
    "seghgan data draw /tmp/drawn --train 2 --validation 1 --test 1; seghgan data inspect /tmp/drawn; python -c 'import apache_beam.runners.worker.worker_pool_main'"
)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """Return an image's laid-out /opt/venv, made once."""
    made, wheels = {}, tmp_path_factory.mktemp("wheels")

    def get(name):
        if name not in made:
            made[name] = image_root.lay_out(*FILES[name], tmp_path_factory.mktemp("image"), wheels)
        return made[name]

    return get


needs_root = pytest.mark.skipif(
    not image_root.USABLE, reason="needs root and iproute2 (apt-get install iproute2) to make network namespaces"
)


def confined(*absent):
    return CONFINED.replace("ABSENT", repr(list(absent)))


@pytest.mark.slow
@needs_root
def test_the_serving_image_fetches_serves_and_drains_as_a_pod_does(image, exports, tmp_path):
    volume = tmp_path / "volume"
    volume.mkdir(mode=0o755)
    with tarfile.open(volume / "models.tar", "w") as tar:
        tar.add(exports / "1", "1")
    digest = hashlib.sha256((volume / "models.tar").read_bytes()).hexdigest()
    script = confined("skimage", "apache_beam", "pytest") + SERVE.replace("DIGEST", digest)
    (tmp_path / "pod").mkdir()
    ran = image_root.run(image("seghgan/serving"), tmp_path / "pod", {"/volume": volume}, script)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "edited 0.5" in ran.stdout
    assert "metadata 200" in ran.stdout
    assert "ended with 0" in ran.stdout


@pytest.mark.slow
@needs_root
@pytest.mark.parametrize(("name", "absent"), [("seghgan/train", "apache_beam"), ("seghgan/data", "grpc_health")])
def test_the_commands_image_runs_its_entry_point_as_a_pod_does(image, tmp_path, name, absent):
    ran = image_root.run(image(name), tmp_path, {}, confined(absent, "pytest") + LIGHT[name])
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("name", FILES)
def test_a_lock_holds_the_extras_of_its_image_and_nothing_else_each_with_a_hash(name):
    lock = FILES[name][1]
    lines = [line for line in lock.read_text().splitlines() if not line.startswith("#")]
    pinned = image_root.locked(lock)
    assert len(lines) == len(pinned), "every line has a version and a hash"
    shared = {
        canonicalize_name(one): version for one, version in re.findall(r"^([\w.-]+)==(\S+)$", LOCKED, re.MULTILINE)
    }
    if name != "seghgan/data":  # Beam wants older ones
        assert {one: version for one, version in pinned.items() if shared.get(one, version) != version} == {}
        expected = closure(EXTRAS[name] - {"gpu"}) | {"setuptools"}
        extra = {one for one in set(pinned) - expected if not one.startswith("nvidia-")}
        assert expected <= set(pinned)
        assert extra == set()
    assert any(one.startswith("nvidia-cudnn") for one in pinned) == (name == "seghgan/train-gpu")


def closure(extras):
    """Return the normal names of what the package with these extras needs, by the metadata of what is installed here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting = [*project["dependencies"], *(one for extra in extras for one in project["optional-dependencies"][extra])]
    found: dict[str, set[str]] = {}
    while waiting:
        needed = Requirement(waiting.pop())
        name = canonicalize_name(needed.name)
        if name in found and needed.extras <= found[name]:
            continue
        found[name] = found.get(name, set()) | needed.extras
        environments = [{"extra": extra} for extra in ("", *found[name])]
        for text in importlib.metadata.distribution(name).requires or ():
            marker = Requirement(text).marker
            if marker is None or any(marker.evaluate(environment) for environment in environments):
                waiting.append(text)
    return set(found)


@pytest.mark.parametrize("image_name", FILES)
def test_every_install_is_held_to_hashes_or_has_no_index(image_name):
    installs = re.findall(r"pip (install.+?)(?: \\)?$", FILES[image_name][0].read_text(), re.MULTILINE)
    assert len(installs) == 2
    assert all("--require-hashes" in one or "--no-index" in one for one in installs)


@pytest.mark.parametrize("name", FILES)
def test_an_image_runs_as_the_user_of_the_pods_and_needs_a_digest(name):
    text = FILES[name][0].read_text()
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
                    entry = re.search(r"ENTRYPOINT \[(.+)\]", FILES[name][0].read_text()).group(1)
                    words = [word.strip().strip('"') for word in entry.split(",")]
                    if container["command"][0] == "/bin/sh":
                        assert "/opt/venv/bin/seghgan" in container["args"][0]
                    else:
                        assert container["command"] in (
                            words,
                            ["/opt/venv/bin/seghgan"],
                            ["/opt/venv/bin/python", "-m", "serving.release.fetch"],
                            WORKER_POOL,
                        )
    assert seen == set(FILES)
