"""Write the lock files of the images: every package with the SHA-256 of its wheels for Linux and the images' Python.

python k8s/images/lock.py      # needs uv and packaging; `make lock` runs it
"""

import subprocess
import tempfile
import tomllib
from pathlib import Path

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

ROOT = Path(__file__).parents[2]
PYTHON = (3, 11)
GLIBC = 36
"""Of Debian bookworm, on which the images are built."""
LOCKS = {
    "k8s/images/serving.lock": ("serve",),
    "k8s/images/train.lock": ("serve", "eval"),
    "k8s/images/data.lock": ("data", "beam"),
    "requirements-gpu.lock": ("serve", "eval", "gpu"),
}
"""Extras of each lock."""
BUILD = "setuptools>=77"
"""What builds the package itself, without a network."""


def tags() -> set[Tag]:
    """Return the tags of the wheels that the images can install, on x86-64 and ARM."""
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(GLIBC + 1) for machine in ("x86_64", "aarch64")]
    platforms += [f"manylinux{old}_{machine}" for old in ("1", "2010", "2014") for machine in ("x86_64", "aarch64")]
    return {*cpython_tags(PYTHON, platforms=platforms), *compatible_tags(PYTHON, "cp311", platforms)}


def pins(*locks: str) -> str:
    """Return the pins of lock files as constraints; the later file wins."""
    lines = [line for name in locks for line in (ROOT / name).read_text().splitlines() if "==" in line]
    return "\n".join({line.split("==")[0]: line for line in lines if not line.startswith("#")}.values())


def locked(extras: tuple[str, ...]) -> str:
    """Resolve the package with its extras and return the lines of its lock; ValueError for a package without a wheel."""
    fitting, lines = tags(), []
    with tempfile.TemporaryDirectory() as name:
        constraints, output = Path(name) / "constraints.txt", Path(name) / "pylock.toml"
        # Beam wants older packages than the rest.
        constraints.write_text(pins("requirements.lock", *(["requirements-beam.lock"] if "beam" in extras else [])))
        (Path(name) / "build.in").write_text(BUILD)
        command = ["uv", "pip", "compile", "--quiet", "pyproject.toml", f"{name}/build.in", "--constraint", constraints]
        command += [word for extra in extras for word in ("--extra", extra)]
        command += ["--python-version", ".".join(map(str, PYTHON)), "--python-platform", f"x86_64-manylinux_2_{GLIBC}"]
        subprocess.run([*command, "--format", "pylock.toml", "--output-file", output], check=True, cwd=ROOT)
        packages = tomllib.loads(output.read_text())["packages"]
    for package in packages:
        wheels = [(one["url"].rsplit("/", 1)[1], one["hashes"]["sha256"]) for one in package.get("wheels", [])]
        hashes = sorted(digest for file, digest in wheels if parse_wheel_filename(file)[3] & fitting)
        if not hashes and "sdist" not in package:
            raise ValueError(f"{package['name']} {package['version']} must have a wheel for the images. Received: none")
        hashes = hashes or [package["sdist"]["hashes"]["sha256"]]
        lines.append(
            " ".join([f"{package['name']}=={package['version']}", *(f"--hash=sha256:{one}" for one in hashes)])
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for path, wanted in LOCKS.items():
        head = f"# Extras {', '.join(wanted)}, with the hashes of wheels for Linux and Python 3.11. Written by `make lock`.\n"
        (ROOT / path).write_text(head + locked(wanted))
