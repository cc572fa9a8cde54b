"""What describes an export and vouches for it: `manifest.json`, with the SHA-256 of every file beside it."""

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, Field, FiniteFloat, ValidationError, model_validator

from seghgan_tf import __version__
from seghgan_tf.files import sha256
from serving.bundle.graph import graph_ops, read_graph
from serving.signature import Spec, from_definitions

MANIFEST = "manifest.json"
MANIFEST_VERSION = 1


class _Expression(BaseModel):
    labels: list[str] = Field(min_length=1)
    low: FiniteFloat
    high: FiniteFloat
    scale: FiniteFloat
    one_hot: bool
    unproven: list[str] = []

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"`low` must be below `high`. Received: {self.low} and {self.high}")
        return self


class _Model(BaseModel):
    image_size: int = Field(ge=1)
    regions: list[str] = Field(min_length=1)
    classes: list[str]
    label_order: str
    expression: _Expression
    max_pixels: int = Field(ge=1)


class _Manifest(BaseModel):
    manifest_version: int = Field(ge=MANIFEST_VERSION, le=MANIFEST_VERSION)
    model: _Model
    signatures: dict[str, dict[str, Any]]
    ops: list[str]
    files: dict[str, str] = Field(min_length=1)


def versions(folder: Path | str) -> dict[int, Path]:
    """Return the version folders in a folder, oldest first: those named by a number of 63 bits, with or without zeros before it."""
    named = sorted((path for path in Path(folder).iterdir() if path.is_dir()), key=lambda path: -len(path.name))
    numbers = {int(path.name): path for path in named if path.name.isascii() and path.name.isdigit()}
    return {number: numbers[number] for number in sorted(numbers) if number < 1 << 63}


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise ValueError(
                f"An export must not hold symbolic links. Received: {path.relative_to(folder)} in {folder}"
            )
        if path.is_file() and path.relative_to(folder).as_posix() != MANIFEST:
            yield path


def write_manifest(
    folder: Path | str,
    model: dict[str, Any],
    training: dict[str, Any] | None = None,
    optimized: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write `manifest.json` for the SavedModel in `folder`, last of all its files, and return it.

    `model` describes sizes, regions, classes and the expression space; `training` is free, and `optimized` says of an
    optimized export how near it is to the plain one. ValueError where something is missing.
    """
    folder = Path(folder)
    graph = read_graph(folder)

    def sides(specs: dict[str, Spec]) -> dict[str, Any]:
        return {name: {"dtype": spec.dtype, "shape": list(spec.shape)} for name, spec in specs.items()}

    manifest = {
        "manifest_version": MANIFEST_VERSION,
        "package": "seghgan-tf",
        "package_version": __version__,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "model": model,
        "signatures": {
            name: {"inputs": sides(one.inputs), "outputs": sides(one.outputs)}
            for name, one in from_definitions(graph.signature_def).items()
        },
        "ops": graph_ops(graph),
        "training": training or {},
        **({"optimized": optimized} if optimized else {}),
        "files": {path.relative_to(folder).as_posix(): sha256(path) for path in _files(folder)},
    }
    _Manifest.model_validate(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    return manifest


def read_manifest(folder: Path | str) -> dict[str, Any]:
    """Read and check the form of `manifest.json`; ValueError where it is missing, unreadable or of another version."""
    path = Path(folder) / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_bytes())
        _Manifest.model_validate(manifest, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{MANIFEST} must have a sound `{where}` ({first['msg']}). Received: {path.parent}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(
            f"An export must hold a readable {MANIFEST} ({error}); make the export again with `seghgan export`. Received: {path.parent}"
        ) from error
    return manifest


def verify(folder: Path | str) -> dict[str, Any]:
    """Return the manifest of the export in `folder` once every file agrees with it.

    ValueError where a file is missing, changed or not listed, a listed name leaves the folder, or a link is found.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    listed: dict[str, str] = manifest["files"]
    for name in listed:
        parts = Path(name).parts
        if Path(name).is_absolute() or ".." in parts or "\\" in name or not parts:
            raise ValueError(f"{MANIFEST} must name files inside the export. Received: {name!r}")
    found = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
    if missing := sorted(set(listed) - set(found)):
        raise ValueError(f"The export lacks {missing}; copy it again. Received: {folder}")
    if extra := sorted(set(found) - set(listed)):
        raise ValueError(f"The export holds files that {MANIFEST} does not list: {extra}. Received: {folder}")
    for name, path in found.items():
        if sha256(path) != listed[name]:
            raise ValueError(
                f"{name} does not have the SHA-256 that {MANIFEST} lists; copy the export again. Received: {folder}"
            )
    return manifest
