"""An image without a builder: its Dockerfile's tree and its lock's packages alone, run as the Pods do, without a network."""

import functools
import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from k8s.validate import K8S

ROOT = K8S.parent
SITES = [Path(sys.prefix) / "beam", Path(sys.prefix) / "lib" / f"python3.{sys.version_info[1]}" / "site-packages"]
"""Where packages are installed here; the first that has the locked version is taken."""
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/dev", sys.base_prefix)
"""Folders of this machine that stand in for the base image."""
USABLE = os.name == "posix" and os.geteuid() == 0 and all(map(shutil.which, ("ip", "unshare", "setpriv")))


def locked(lock: Path) -> dict[str, str]:
    """Return the versions of a lock file by normal name."""
    return dict(re.findall(r"^([\w.-]+)==(\S+) --hash=sha256:", lock.read_text(), re.MULTILINE))


def lay_out(dockerfile: Path, lock: Path, root: Path, wheels: Path) -> Path:
    """Make the image's /opt/venv under `root`: the lock's packages and, by the Dockerfile's own command, ours, built in `wheels`."""
    venv = root / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    site = next((venv / "lib").glob("python3.*")) / "site-packages"
    for name, version in locked(lock).items():
        link(name, version, site)
    text = dockerfile.read_text()
    copied = re.findall(r"^COPY (?!--|\$)(.+) (\S+)$", text, re.MULTILINE)
    (command,) = re.findall(r"pip (install .*--no-index .+) \.$", text, re.MULTILINE)
    tree = frozenset((word, target) for words, target in copied for word in words.split() if not word.endswith(".lock"))
    pip("--python", venv / "bin" / "python", *command.split(), wheel(tree, wheels))
    script = venv / "bin" / "seghgan"
    script.write_text(script.read_text().replace(str(venv), "/opt/venv"))  # where it is mounted
    return venv


def pip(*words: str | Path) -> None:
    """Run pip without this repository in its path."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *words]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": ""})


@functools.cache
def wheel(tree: frozenset[tuple[str, str]], folder: Path) -> Path:
    """Build our package as pip does before it installs a folder, from (what, to where) a Dockerfile copies; once for images alike."""
    source = Path(tempfile.mkdtemp(dir=folder))
    for word, target in tree:
        to = source / target
        if (ROOT / word).is_dir():
            shutil.copytree(ROOT / word, to)
        else:
            shutil.copy(ROOT / word, to / Path(word).name)
    pip("wheel", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", source / "made", source)
    return next((source / "made").glob("*.whl"))


def link(name: str, version: str, site: Path) -> None:
    """Link what an installed distribution consists of into another site-packages; LookupError where it is not installed."""
    for folder in filter(Path.is_dir, SITES):
        for one in importlib.metadata.distributions(name=name, path=[str(folder)]):
            if one.version == version:
                for top in {file.parts[0] for file in one.files or () if file.parts[0] not in ("..", "__pycache__")}:
                    if not (site / top).exists() and (folder / top).exists():
                        (site / top).symlink_to(folder / top)
                return
    raise LookupError(f"{name} {version} is locked for an image and not installed here: run `make test`")


def run(venv: Path, folder: Path, volumes: dict[str, Path], script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script as UID 10001 on a read-only root with /tmp and an empty /models, in a network of loopback alone.

    `volumes` are folders by the path where they are mounted, read-only. /opt/venv is the image's; the commands' words are its.
    """
    root = shlex.quote(str(folder / "root"))
    (folder / "root").mkdir()
    lines = ["ip link set lo up", f"mount -t tmpfs -o mode=755,size=4m root {root}"]

    def mount(source: str, at: str, options: str) -> None:
        lines.append(f"mkdir -p {root}{shlex.quote(at)}; mount {options} {shlex.quote(source)} {root}{shlex.quote(at)}")

    for path in dict.fromkeys((*SYSTEM, *map(str, SITES))):
        if Path(path).exists():
            mount(path, path, "-o ro --rbind")
    for at, source in {"/opt/venv": venv, **volumes}.items():
        mount(str(source), at, "-o ro --bind")
    mount("proc", "/proc", "-t proc")
    for at in ("/tmp", "/models"):
        mount("tmpfs", at, "-t tmpfs -o mode=1777,size=256m")
    lines.append(f"mount -o remount,ro,bind {root}")
    words = ["chroot", str(folder / "root"), "setpriv", "--reuid=10001", "--regid=10001", "--clear-groups"]
    words += ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "env", "-i", "-C", "/tmp", "HOME=/tmp"]
    words += [
        "PATH=/opt/venv/bin:/usr/bin:/bin",
        "PYTHONUNBUFFERED=1",
        "PYTHONDONTWRITEBYTECODE=1",
        "sh",
        "-ec",
        script,
    ]
    lines.append(f"exec {shlex.join(words)}")
    command = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-ec", "\n".join(lines)]
    return subprocess.run(command, capture_output=True, text=True, check=False)
