"""`models.config`: which models, which of their versions, and which version a label names."""

import re
from pathlib import Path
from typing import Any, NamedTuple

from serving.server.settings import read_message

NAME = re.compile(r"[A-Za-z0-9_.-]{1,200}")
LABEL = re.compile(r"[A-Za-z0-9_]{1,100}")


class ServedModel(NamedTuple):
    """A model to serve: `versions` are those asked for by number; without them the `latest` ones (0 is all)."""

    name: str
    base_path: Path
    versions: tuple[int, ...] = ()
    latest: int = 1
    labels: dict[str, int] = {}  # noqa: RUF012  # never changed

    def wanted(self, present: set[int]) -> set[int]:
        """Return the versions to have in memory, of those present on disk."""
        if self.versions:
            return set(self.versions) & present
        return set(sorted(present)[-self.latest :] if self.latest else present)


def read_models(path: Path | str) -> dict[str, ServedModel]:
    """Read TensorFlow Serving's `models.config` (text form of ModelServerConfig); ValueError where it is not one."""
    from tensorflow_serving.config import model_server_config_pb2

    return parse_models(read_message(path, model_server_config_pb2.ModelServerConfig, "model_config_file"))


def parse_models(config: Any) -> dict[str, ServedModel]:
    """Return the models of a ModelServerConfig message by name; ValueError where it asks for what cannot be."""
    if config.WhichOneof("config") != "model_config_list":
        raise ValueError(f"A model config must be a model_config_list. Received: {config.WhichOneof('config')}")
    models: dict[str, ServedModel] = {}
    for one in config.model_config_list.config:
        model = _parse(one)
        if model.name in models:
            raise ValueError(f"`name` must occur once in a model config. Received: {model.name!r} twice")
        models[model.name] = model
    return models


def _parse(one: Any) -> ServedModel:
    if not NAME.fullmatch(one.name):
        raise ValueError(f"`name` must match {NAME.pattern}. Received: {one.name[:100]!r}")
    if not one.base_path:
        raise ValueError(f"`base_path` must be the folder that holds the versions of {one.name!r}. Received: nothing")
    if one.model_platform not in ("", "tensorflow"):
        raise ValueError(f"`model_platform` must be 'tensorflow'. Received: {one.model_platform!r} for {one.name!r}")
    versions, latest = _policy(one)
    labels = {label: int(version) for label, version in one.version_labels.items()}
    for label, version in labels.items():
        if not LABEL.fullmatch(label):
            raise ValueError(f"`version_labels` must match {LABEL.pattern}. Received: {label[:100]!r} for {one.name!r}")
        if versions and version not in versions:
            raise ValueError(f"Label {label!r} must name one of the versions {list(versions)}. Received: {version}")
    return ServedModel(one.name, Path(one.base_path), versions, latest, labels)


def _policy(one: Any) -> tuple[tuple[int, ...], int]:
    policy = one.model_version_policy.WhichOneof("policy_choice")
    if policy == "specific":
        versions = tuple(sorted(set(one.model_version_policy.specific.versions)))
        if not versions:
            raise ValueError(f"`specific` must list versions. Received: none for {one.name!r}")
        return versions, 1
    if policy == "all":
        return (), 0
    return (), int(one.model_version_policy.latest.num_versions) or 1
