"""A Pod's life on a node: volumes, start, probes, restarts with backoff, and the end with preStop, SIGTERM and grace."""

import contextlib
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from k8s.local_cluster.container import Container, new_address
from k8s.local_cluster.probes import Probe

BACKOFF, LONGEST_BACKOFF = 10.0, 300.0
"""Seconds before the kubelet's first restart of a container that ended, and the most it ever waits."""


class Template(NamedTuple):
    """A Deployment's Pod template, and the folder of exports that stands in for the model volume it names."""

    spec: dict[str, Any]
    model: Path
    base_path: str
    """Where models.config looks for the model."""


def scaled(arguments: list[str], scale: float) -> list[str]:
    """Return a command line with every `--...-seconds=N` multiplied.

    >>> scaled(["--drain-seconds=30", "--port=1"], 0.1)
    ['--drain-seconds=3', '--port=1']
    """
    if scale == 1.0:
        return arguments
    return [
        re.sub(r"(-seconds=)([\d.]+)$", lambda found: f"{found[1]}{float(found[2]) * scale:g}", one)
        for one in arguments
    ]


class Pod:
    """One Pod; it starts at once and lives until `delete`. `volume(name)` is the folder of a ConfigMap's files."""

    def __init__(self, name: str, template: Template, volumes: dict[str, Path], folder: Path, scale: float) -> None:
        self.name, self.template, self.address = name, template, new_address()
        self.ready_since: float | None = None
        self.restarts, self.exit_code, self.peak_memory = 0, None, 0
        self.why = "starting"
        self.stopping, self.gone = threading.Event(), threading.Event()
        self.container: Container | None = None
        self.created, self.seconds_to_ready = time.monotonic(), 0.0
        self._folder, self._volumes, self._scale = folder, volumes, scale
        server = template.spec["containers"][0]
        self._server = server | {"args": scaled(server.get("args", []), scale)}
        self._ports = {one["name"]: one["containerPort"] for one in server["ports"]}
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._thread.start()

    def ready(self) -> bool:
        """Return whether it takes part in Services."""
        return self.ready_since is not None and not self.stopping.is_set()

    def available(self, seconds: float) -> bool:
        """Return whether it has been ready for `minReadySeconds`."""
        return self.ready() and time.monotonic() - (self.ready_since or 0.0) >= seconds

    def port(self, name: str) -> int:
        """Return a port by name."""
        return self._ports[name]

    def _mounts(self) -> dict[str, Path | str]:
        volumes = {one["name"]: one for one in self.template.spec.get("volumes", [])}
        mounts: dict[str, Path | str] = {}
        for mount in self._server.get("volumeMounts", []):
            volume, at = volumes[mount["name"]], mount["mountPath"]
            if "configMap" in volume:
                mounts[at] = self._volumes[volume["configMap"]["name"]]
            elif at == self.template.base_path:
                mounts[at] = self.template.model
            elif "emptyDir" in volume:
                mounts[at] = (volume["emptyDir"] or {}).get("sizeLimit", "64Mi")
            else:
                raise ValueError(f"A volume must be a ConfigMap, an emptyDir or the model. Received: {volume}")
        return mounts

    def _live(self) -> None:
        try:
            while not self.stopping.is_set():
                folder = self._folder / str(self.restarts)
                security = self.template.spec.get("securityContext", {})
                self.container = Container(self._server, security, self.address, self._mounts(), folder)
                ended = threading.Event()
                probes = threading.Thread(target=self._probe, args=(self.container, ended), daemon=True)
                probes.start()
                while self.container.exited(0.1) is None and not self.stopping.is_set():
                    self.peak_memory = max(self.peak_memory, self.container.peak_memory())
                ended.set()
                if not self.stopping.is_set():
                    self._restart(self.container.exited())
            self._end()
        finally:
            self.gone.set()

    def _restart(self, code: int | None) -> None:
        self.ready_since, self.exit_code = None, code
        self.why = f"ended with exit code {code}"
        self.restarts += 1
        self.stopping.wait(min(BACKOFF * 2 ** (self.restarts - 1), LONGEST_BACKOFF) * self._scale)

    def _probe(self, container: Container, ended: threading.Event) -> None:
        started = threading.Event()

        def kill_or_go_on(good: bool, why: str) -> bool:
            if good:
                started.set()
                return False
            self.why = f"killed: {why}"
            container.kill()
            return False

        def readiness(good: bool, why: str) -> bool:
            if not good:
                self.ready_since, self.why = None, f"not ready: {why}"
            elif self.ready_since is None and not self.stopping.is_set():
                self.ready_since, self.why = time.monotonic(), ""
                self.seconds_to_ready = self.seconds_to_ready or self.ready_since - self.created
            return True

        def liveness(good: bool, why: str) -> bool:
            return good or kill_or_go_on(good, why)

        self._watch("startupProbe", container, ended, kill_or_go_on)
        if started.is_set() and not ended.is_set():
            live = threading.Thread(target=self._watch, args=("livenessProbe", container, ended, liveness), daemon=True)
            live.start()
            self._watch("readinessProbe", container, ended, readiness)

    def _watch(self, kind: str, container: Container, ended: threading.Event, changed: Any) -> None:
        probe = Probe(self._server[kind], self._ports, self._scale)
        if kind == "startupProbe":  # TensorFlow takes its time at any scale
            probe.failures = round(probe.failures / self._scale)
        probe.watch(self.address, container, ended, changed)

    def delete(self) -> None:
        """Begin its end: it leaves the Services, and preStop and SIGTERM follow at once."""
        self.stopping.set()

    def _end(self) -> None:
        container = self.container
        if container is None or container.exited() is not None:
            return
        grace = float(self.template.spec.get("terminationGracePeriodSeconds", 30))  # a bound: not scaled
        end = time.monotonic() + grace
        hook = self._server.get("lifecycle", {}).get("preStop", {})
        if "sleep" in hook:
            time.sleep(min(grace, hook["sleep"]["seconds"] * self._scale))
        elif "exec" in hook:
            container.execute(hook["exec"]["command"], grace)
        container.signal(signal.SIGTERM)
        self.exit_code = container.exited(max(0.1, end - time.monotonic()))
        if self.exit_code is None:
            self.exit_code = container.kill()

    def crash(self) -> None:
        """End the server's process as the kernel does when memory is short."""
        if self.container is not None:
            self.container.kill()

    def last_words(self) -> str:
        """Return the end of the newest log."""
        with contextlib.suppress(OSError, AttributeError):
            return self.container.log.read_text()[-600:]  # type: ignore[union-attr]
        return ""
