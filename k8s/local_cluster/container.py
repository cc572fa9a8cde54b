"""A container as Linux namespaces: the exact command of a Pod in a network, a process tree and a read-only root of its own."""

import itertools
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from k8s.validate import K8S

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/dev", sys.base_prefix)
"""Folders of this machine that stand in for the image's system."""
VENV = "/opt/venv"
CODE = "/opt/seghgan"
"""Where the repository is mounted; an image has it installed in VENV."""
IMAGE_ENV = {"PATH": f"{VENV}/bin:/usr/bin:/bin", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
"""ENV of serving/Dockerfile."""
BRIDGE, GATEWAY = "cni0", "10.244.0.1"

_addresses = itertools.count(2)


def plug_node() -> None:
    """Give the node, whose network namespace is new, its loopback and the bridge that its Pods are plugged into."""
    for words in (
        "link set lo up",
        f"link add {BRIDGE} type bridge",
        f"addr add {GATEWAY}/16 dev {BRIDGE}",
        f"link set {BRIDGE} up",
    ):
        subprocess.run(["ip", *words.split()], check=True)


def new_address() -> str:
    """Return an address that no Pod had before."""
    number = next(_addresses)
    return f"10.244.{number // 250}.{number % 250 + 2}"


class Container:
    """One start of a Pod's container; `mounts` are its volumes by mount path: a folder, or a size for an emptyDir."""

    def __init__(
        self,
        spec: dict[str, Any],
        security: dict[str, Any],
        address: str,
        mounts: dict[str, Path | str],
        folder: Path,
    ) -> None:
        self._spec, self._security, self._mounts = spec, security | spec.get("securityContext", {}), mounts
        self._folder = folder
        self._killed = False
        (folder / "root").mkdir(parents=True, exist_ok=True)
        self.log = folder / "log"
        with self.log.open("a") as log:
            command = ["unshare", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "sh", "-ec"]
            self._process = subprocess.Popen(
                [*command, self._script()], stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
            )
        self.pid = self._first_child()
        self._plug(address)
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _script(self) -> str:
        root = shlex.quote(str(self._folder / "root"))
        lines = [f"mount -t tmpfs -o mode=755,size=4m root {root}"]

        def mount(source: Path | str, at: str, options: str = "--rbind") -> None:
            target = f"{root}{shlex.quote(at)}"
            lines.append(f"mkdir -p {target}; mount {options} {shlex.quote(str(source))} {target}")

        for path in dict.fromkeys(SYSTEM):
            if Path(path).exists():
                mount(path, path)
        mount(sys.prefix, VENV)
        mount(K8S.parent, CODE)
        mount("proc", "/proc", "-t proc")
        for at, source in sorted(self._mounts.items()):
            if isinstance(source, Path):
                mount(source, at, "-o ro --bind")
            else:
                mount("tmpfs", at, f"-t tmpfs -o mode=1777,size={source.replace('i', '')}")
        if self._security.get("readOnlyRootFilesystem"):
            lines.append(f"mount -o remount,ro,bind {root}")
        words = ["chroot", str(self._folder / "root"), *self._privileges(), "env", "-i", "-C", "/tmp"]
        words += [f"{name}={value}" for name, value in self._environment().items()]
        words += [*self._spec["command"], *self._spec.get("args", [])]
        return "\n".join([*lines, "read -r plugged || true", f"exec {shlex.join(words)}"])

    def _privileges(self) -> list[str]:
        security = self._security
        user, group = (security.get(key, 0) for key in ("runAsUser", "runAsGroup"))
        words = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
        if security.get("capabilities", {}).get("drop") == ["ALL"]:
            words += ["--bounding-set=-all", "--inh-caps=-all"]
        return [*words, *([] if security.get("allowPrivilegeEscalation", True) else ["--no-new-privs"])]

    def _environment(self) -> dict[str, str]:
        own = {one["name"]: one["value"] for one in self._spec.get("env", []) if "value" in one}
        return {**IMAGE_ENV, "PYTHONPATH": CODE, **own}

    def _first_child(self) -> int:
        outer = self._process.pid
        children = Path(f"/proc/{outer}/task/{outer}/children")
        while not (found := children.read_text().split()):
            if self._process.poll() is not None:
                raise OSError(f"A container could not be made; namespaces need root. See {self.log}")
            time.sleep(0.01)
        return int(found[0])

    def _plug(self, address: str) -> None:
        name = f"v{self.pid}"
        inside = f"ip addr add {address}/16 dev eth0; ip link set eth0 up; ip link set lo up"
        for command in (
            ["ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(self.pid)],
            ["ip", "link", "set", name, "master", BRIDGE, "up"],
            ["nsenter", f"--target={self.pid}", "--net", "sh", "-ec", inside],
        ):
            subprocess.run(command, check=True)

    def unplug(self) -> None:
        """Cut the cable: packets are lost without an answer, as when a node loses power."""
        subprocess.run(["ip", "link", "set", f"v{self.pid}", "down"], check=True)

    def execute(self, command: list[str], timeout: float) -> int:
        """Run a command inside and return its exit code, 124 past `timeout` seconds."""
        inside = ["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid", "--root", "--wdns=/tmp"]
        try:
            return subprocess.run([*inside, *command], capture_output=True, timeout=timeout).returncode
        except subprocess.TimeoutExpired:
            return 124

    def signal(self, number: int) -> None:
        """Send a signal to the container's process 1."""
        if self._process.poll() is None:
            self._killed = number == signal.SIGKILL
            os.kill(self.pid, number)

    def exited(self, timeout: float = 0.0) -> int | None:
        """Return the exit code, 137 after SIGKILL, None where it still runs after `timeout` seconds."""
        try:
            code = self._process.wait(timeout) if timeout else self._process.poll()
        except subprocess.TimeoutExpired:
            return None
        return 137 if code is not None and self._killed else code

    def kill(self) -> int | None:
        """SIGKILL, and the exit code."""
        self.signal(signal.SIGKILL)
        return self.exited(10.0)

    def peak_memory(self) -> int:
        """Return the most memory that process 1 ever had resident, in bytes; 0 once it is gone."""
        try:
            lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        except OSError:
            return 0
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)
