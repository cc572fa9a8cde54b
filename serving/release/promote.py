"""Release a version: load it beside the old one everywhere, wait until every server has it, then move a label to it.

A label may only move to a version that is loaded, so this is two edits of `models.config` with a wait between them.
What fails half-way takes its own edit back. Moving the label to the version before is the rollback.
"""

import json
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from seghgan_tf.files import write_atomically
from serving.server.models_config import LABEL, ServedModel, parse_models
from serving.server.settings import address

if TYPE_CHECKING:
    from serving.client.channel import TLS

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
KEY = "models.config"
MANAGER = "seghgan-promote"
"""Who owns the key in the API server's books; whoever applies manifests has another name and owns other fields."""
LOADED = 2
"""Versions that a server has memory for at once."""
PATIENCE = 180.0
"""Seconds that a server may go on telling of a failed load: an earlier change has reached it and the alert SegHGANVersionFailed fires."""


class Store(Protocol):
    """Where `models.config` is kept."""

    def read(self) -> str:
        """Return the text."""

    def write(self, text: str) -> None:
        """Put another text in its place; OSError where somebody else changed it since `read`."""


class ConfigFile:
    """A `models.config` on disk, replaced whole."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> str:
        """Return the text."""
        return self.path.read_text()

    def write(self, text: str) -> None:
        """Replace the file."""
        write_atomically(self.path, text)


class ConfigMap:
    """The key `models.config` of a ConfigMap, through the API of the cluster this pod runs in.

    Its service account needs `get` and `patch` on that one ConfigMap. A change by somebody else since `read` is refused
    by the API server.
    """

    def __init__(
        self, namespace: str, name: str, api: str = "https://kubernetes.default.svc", account: Path = SERVICE_ACCOUNT
    ):
        self._url = f"{api}/api/v1/namespaces/{namespace}/configmaps/{name}?fieldManager={MANAGER}"
        self._account = account
        self._version = ""

    def _call(self, body: dict[str, object] | None = None) -> dict[str, dict[str, str]]:
        try:
            token = (self._account / "token").read_text().strip()
        except OSError as error:
            raise ValueError(
                f"`--config-map` works inside a cluster; elsewhere use `--config-file` and kubectl. Received: {error}"
            ) from error
        request = urllib.request.Request(  # noqa: S310  # the API server's own https
            self._url,
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {token}", "Content-Type": "application/merge-patch+json"},
            method="GET" if body is None else "PATCH",
        )
        context = ssl.create_default_context(cafile=str(self._account / "ca.crt"))
        try:
            with urllib.request.urlopen(request, timeout=30, context=context) as answer:  # noqa: S310
                found: dict[str, dict[str, str]] = json.load(answer)
        except urllib.error.HTTPError as error:
            raise OSError(f"The API server answers {error.code} {error.reason} for {self._url}") from error
        self._version = found["metadata"]["resourceVersion"]
        return found

    def read(self) -> str:
        """Return the text."""
        return self._call()["data"][KEY]

    def write(self, text: str) -> None:
        """Patch the key."""
        self._call({"metadata": {"resourceVersion": self._version}, "data": {KEY: text}})


def listed(text: str, model: str) -> ServedModel:
    """Return the one model of a `models.config`; ValueError where there are others or its versions are not listed."""
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    try:
        found = parse_models(text_format.Parse(text, model_server_config_pb2.ModelServerConfig()))
    except text_format.ParseError as error:
        raise ValueError(f"`models.config` must hold a ModelServerConfig ({error}). Received: {text!r}") from error
    config = found.get(model)
    if config is None or not config.versions or len(found) > 1:
        raise ValueError(
            f"`models.config` must hold {model} alone, its versions listed one by one (specific). Received: {text!r}"
        )
    return config


def written(config: ServedModel) -> str:
    """Return `models.config` for one model with the versions and labels of `config`."""
    versions = " ".join(f"versions: {version}" for version in config.versions)
    labels = "".join(
        f'    version_labels {{ key: "{label}" value: {version} }}\n'
        for label, version in sorted(config.labels.items())
    )
    return (
        "# Written by `seghgan promote`: every version listed is loaded; labels say which one clients get.\n"
        f'model_config_list {{\n  config {{\n    name: "{config.name}"\n    base_path: "{config.base_path}"\n'
        f'    model_platform: "tensorflow"\n    model_version_policy {{\n      specific {{ {versions} }}\n    }}\n'
        f"{labels}  }}\n}}\n"
    )


def with_version(config: ServedModel, version: int) -> ServedModel:
    """Return the configuration with `version` loaded beside those that a label names; others are unloaded.

    ValueError where that would be more than a server has memory for.
    """
    versions = tuple(sorted({*config.labels.values(), version}))
    if len(versions) > LOADED:
        raise ValueError(
            f"A server has room for {LOADED} versions, and labels name {dict(config.labels)}; move them to one version "
            f"first, as in `seghgan promote {config.labels.get('stable', versions[0])} --label canary ...`. Received: {version}"
        )
    return config._replace(versions=versions)


def servers(target: str) -> list[str]:
    """Return `host:port` of every address that the name of `host:port` has now; OSError where it has none."""
    host, port = re.sub("^dns:///", "", target).rsplit(":", 1)
    found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)}
    return [address(one, int(port)) for one in sorted(found)]


def _await(what: str, target: str, timeout: float, done: Callable[[str], bool]) -> None:
    """Wait until `done` holds on every server; TimeoutError names those where it does not."""
    end = time.monotonic() + timeout
    while True:
        waiting = [server for server in servers(target) if not done(server)]
        if not waiting:
            return
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not happen within {timeout:.0f} s on {waiting}")
        time.sleep(min(1.0, timeout / 10))


def _loaded(model: str, version: int, tls: "TLS | None", patience: float) -> Callable[[str], bool]:
    """Return what tells whether a server has the version; ValueError where it has said for `patience` seconds that it failed.

    Until then the error may be of a time before, or pass: servers load again by themselves.
    """
    from serving.client import ClientError, SegHGANClient

    failing: dict[str, float] = {}

    def done(server: str) -> bool:
        try:
            with SegHGANClient(server, tls, model, timeout=10) as client:
                state, error = client.status().get(version, ("", ""))
        except ClientError:
            return False
        if not error:
            failing.pop(server, None)
        elif time.monotonic() - failing.setdefault(server, time.monotonic()) >= patience:
            raise ValueError(f"{server} cannot load version {version}: {error}")
        return state == "AVAILABLE"

    return done


def _answers(model: str, version: int, label: str, tls: "TLS | None") -> Callable[[str], bool]:
    from serving.client import ClientError, SegHGANClient

    def done(server: str) -> bool:
        try:
            with SegHGANClient(server, tls, model, label=label, timeout=10) as client:
                return client.served().version == version
        except ClientError:
            return False

    return done


def promote(
    store: Store,
    version: int,
    label: str,
    target: str,
    timeout: float = 900.0,
    model: str = "seghgan",
    tls: "TLS | None" = None,
    tell: Callable[[str], None] = lambda _: None,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Make `label` name `version` on every server behind `target`.

    `check` raises ValueError where the version must not be released; it is asked before the version is loaded and again
    before the label moves. ValueError too where a server cannot load the version or the configuration is not one of listed
    versions; TimeoutError where it takes longer than `timeout` seconds. All leave labels and versions as they were.
    """
    check()
    if not LABEL.fullmatch(label):
        raise ValueError(f"`label` must match {LABEL.pattern}. Received: {label!r}")
    before = store.read()
    config = listed(before, model)
    if config.labels.get(label) == version:
        tell(f"{label} names version {version} already")
        return
    try:
        if version not in config.versions:
            config = with_version(config, version)
            store.write(written(config))
            tell(f"version {version} is to be loaded beside {[v for v in config.versions if v != version]}")
        _await(f"Loading version {version}", target, timeout, _loaded(model, version, tls, min(PATIENCE, timeout / 5)))
        tell(f"version {version} is loaded on {servers(target)}")
        check()
        # Every version stays loaded, so that the label can move back at once.
        store.write(written(config._replace(labels={**config.labels, label: version})))
        _await(f"Moving {label!r}", target, timeout, _answers(model, version, label, tls))
        tell(f"{label} names version {version}")
    except (ValueError, TimeoutError):
        store.write(before)
        tell("taken back")
        raise
