"""What controllers do, on one machine: ConfigMaps reach Pods, ready Pods enter DNS, a Deployment rolls."""

import math
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

from k8s.checks.ownership import created_once
from k8s.checks.resources import Resource, of_kind, servers
from k8s.checks.server import ENDPOINT_SECONDS
from k8s.local_cluster.pod import Pod, Template
from serving.server.models_config import read_models

KUBELET_SYNC_SECONDS = 60.0
"""A kubelet brings a changed ConfigMap into its Pods at its next sync, each Pod at its own time."""
KEY = "models.config"
HOSTS_BYTES = 4096
"""The file of names is written whole in one call and never shortened, so that no reader finds half of it."""


class ConfigMaps:
    """ConfigMaps and their copies in Pods, which follow at the kubelet's next sync; a `serving.release.promote.Store` too."""

    def __init__(self, folder: Path, scale: float) -> None:
        self.maps: dict[str, dict[str, str]] = {}
        self._folder, self._scale = folder, scale
        self._copies: list[tuple[str, Path, float]] = []
        self._random = random.Random(0)
        self.models = ""

    def apply(self, resources: list[Resource]) -> None:
        """Take ConfigMaps as they were built, as `kubectl apply` does; what is not among them stays."""
        for one in of_kind(resources, "ConfigMap"):
            self.maps[one["metadata"]["name"]] = dict(one["data"])
            if KEY in one["data"]:
                self.models = one["metadata"]["name"]

    def read(self) -> str:
        """Return models.config."""
        return self.maps[self.models][KEY]

    def write(self, text: str) -> None:
        """Change models.config."""
        self.maps[self.models][KEY] = text

    def mount(self, pod: str) -> dict[str, Path]:
        """Return a new Pod's folders by ConfigMap, with what the maps hold now."""
        folders = {}
        for name in self.maps:
            folders[name] = self._folder / pod / name
            folders[name].mkdir(parents=True)
            self._write(name, folders[name])
            self._copies.append((name, folders[name], self._random.random()))
        return folders

    def _write(self, name: str, folder: Path) -> None:
        """Swap the link `..data` as the kubelet does, so that all files change at once."""
        fresh = folder / f"..{time.monotonic_ns()}"
        fresh.mkdir()
        for key, text in self.maps[name].items():
            (fresh / key).write_text(text)
            if not (folder / key).is_symlink():
                (folder / key).symlink_to(f"..data/{key}")
        aside = folder / "..data_tmp"
        aside.symlink_to(fresh.name)
        aside.rename(folder / "..data")

    def sync(self, since: float, now: float) -> None:
        """Bring every copy up to date whose kubelet syncs between two times."""
        period = KUBELET_SYNC_SECONDS * self._scale
        for name, folder, phase in self._copies:
            due = math.floor(now / period - phase) > math.floor(since / period - phase)
            if due and any((folder / key).read_text() != text for key, text in self.maps[name].items()):
                self._write(name, folder)


class Deployment:
    """A Deployment whose Pods serve; `apply` changes its template and rolls them by its own strategy."""

    def __init__(self, cluster: "Cluster", resource: Resource, replicas: int, model: Path) -> None:
        self.name, self.replicas = resource["metadata"]["name"], replicas
        self.pods: list[Pod] = []
        self.revision = 0
        self._cluster = cluster
        self.apply(resource, model)

    def apply(self, resource: Resource, model: Path) -> None:
        """Take a template, with the folder that stands in for its model volume; every Pod of another one is replaced."""
        spec = resource["spec"]
        rolling = spec.get("strategy", {}).get("rollingUpdate", {})
        self.surge = self._share(rolling.get("maxSurge", "25%"), math.ceil)
        self.unavailable = self._share(rolling.get("maxUnavailable", "25%"), math.floor)
        self.settle = float(spec.get("minReadySeconds", 0)) * self._cluster.scale
        self.revision += 1
        self.template = Template(spec["template"]["spec"], model, self._cluster.base_path())

    def _share(self, value: int | str, rounded: Callable[[float], int]) -> int:
        return value if isinstance(value, int) else rounded(self.replicas * int(value.rstrip("%")) / 100)

    def restart(self) -> None:
        """`kubectl rollout restart`."""
        self.revision += 1

    def live(self) -> list[Pod]:
        """Return the Pods that are not being deleted."""
        return [pod for pod in self.pods if not pod.stopping.is_set()]

    def _new(self, pod: Pod) -> bool:
        return pod.name.split(".")[1] == str(self.revision)

    def rolled_out(self) -> bool:
        """Return whether every Pod is of the newest revision, available, and the old ones are gone."""
        live = self.live()
        new = [pod for pod in live if self._new(pod) and pod.available(self.settle)]
        return len(new) == self.replicas == len(live) and all(pod in live or pod.gone.is_set() for pod in self.pods)

    def undo(self, resource: Resource, model: Path) -> None:
        """`kubectl rollout undo`: take the template before; its Pods that still live stay as they are."""
        revision = min(int(pod.name.split(".")[1]) for pod in self.live())
        self.apply(resource, model)
        self.revision = revision

    def step(self) -> None:
        """Create and delete what the strategy allows now, as the Deployment controller does."""
        live = self.live()
        new = [pod for pod in live if self._new(pod)]
        old = [pod for pod in live if not self._new(pod)]
        first = not self.pods
        room = self.replicas if first else min(self.replicas - len(new), self.replicas + self.surge - len(live))
        for _ in range(room):
            self._create()
        least = self.replicas - self.unavailable
        unready = sum(not pod.available(self.settle) for pod in new) + max(0, room)
        spare = len(live) + max(0, room) - least - unready
        for pod in [one for one in old if not one.available(self.settle)][: max(0, spare)]:
            pod.delete()
        available = [pod for pod in self.live() if pod.available(self.settle)]
        for pod in [one for one in available if not self._new(one)][: max(0, len(available) - least)]:
            pod.delete()

    def _create(self) -> None:
        cluster = self._cluster
        name = f"{self.name}.{self.revision}.{len(self.pods)}"
        volumes = cluster.maps.mount(name)
        self.pods.append(Pod(name, self.template, volumes, cluster.folder / "pods" / name, cluster.scale))


class Cluster:
    """Deployments of one namespace; `folder/hosts` holds the addresses behind its headless Service's name, as DNS would."""

    def __init__(self, resources: list[Resource], model: Path, folder: Path, scale: float, replicas: int) -> None:
        self.folder, self.scale = folder, scale
        self.maps = ConfigMaps(folder / "configmaps", scale)
        self.maps.apply([*created_once(resources), *resources])
        service = next(one for one in of_kind(resources, "Service") if one["spec"].get("clusterIP") == "None")
        self._selector = service["spec"]["selector"]
        name, space = service["metadata"]["name"], service["metadata"]["namespace"]
        self.host, self.port = f"{name}.{space}", int(service["spec"]["ports"][0]["port"])
        self.target = f"dns:///{self.host}:{self.port}"
        wanted = [one["spec"]["minReplicas"] for one in of_kind(resources, "HorizontalPodAutoscaler")]
        self.deployments = {}
        for one in servers(resources):
            canary = one["metadata"]["labels"].get("seghgan.io/track") == "canary"
            count = one["spec"].get("replicas", 1 if canary else max([*wanted, 1]))
            made = Deployment(self, one, replicas or count, model)
            self.deployments[made.name] = made
        self._hosts = folder / "hosts"
        self._stop = threading.Event()
        self._changes: list[tuple[float, set[str]]] = []
        self._thread = threading.Thread(target=self._control, daemon=True)
        self._thread.start()

    def base_path(self) -> str:
        """Return where models.config looks for the model."""
        file = self.folder / KEY
        file.write_text(self.maps.read())
        return str(next(iter(read_models(file).values())).base_path)

    def pods(self) -> list[Pod]:
        """Return every Pod there ever was."""
        return [pod for deployment in self.deployments.values() for pod in deployment.pods]

    def addresses(self) -> list[str]:
        """Return what DNS says now."""
        return [line.split()[0] for line in self._hosts.read_text().splitlines() if line.split()[1:] == [self.host]]

    def _control(self) -> None:
        before = time.monotonic()
        while not self._stop.wait(0.1):
            now = time.monotonic()
            for deployment in self.deployments.values():
                deployment.step()
            self.maps.sync(before, now)
            self._name(now)
            before = now

    def _name(self, now: float) -> None:
        """Let DNS follow the ready Pods, as late as endpoints and their caches are."""
        ready = {pod.address for pod in self.pods() if pod.ready()}
        if not self._changes or self._changes[-1][1] != ready:
            self._changes.append((now, ready))
        due = [found for when, found in self._changes if now - when >= ENDPOINT_SECONDS * self.scale]
        if due and due[-1] != set(self.addresses()):
            lines = ["127.0.0.1 localhost", *(f"{address} {self.host}" for address in sorted(due[-1]))]
            text = "\n".join(lines).ljust(HOSTS_BYTES - 1) + "\n"
            with self._hosts.open("r+b", buffering=0) as file:
                file.write(text.encode())

    def wait(self, what: str, done: Callable[[], bool], seconds: float) -> float:
        """Wait until `done` and return the seconds it took; TimeoutError with every Pod's state past `seconds`."""
        start = time.monotonic()
        while not done():
            if time.monotonic() - start > seconds:
                states = "; ".join(f"{pod.name}: {pod.why or 'ready'}" for pod in self.pods() if not pod.gone.is_set())
                words = "\n".join(pod.last_words() for pod in self.pods() if pod.why and not pod.gone.is_set())
                raise TimeoutError(f"{what} did not happen within {seconds:.0f} s ({states})\n{words}")
            time.sleep(0.05)
        return time.monotonic() - start

    def close(self) -> None:
        """End every Pod at once."""
        self._stop.set()
        self._thread.join()
        for pod in self.pods():
            pod.delete()
            pod.crash()
