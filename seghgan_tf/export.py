"""Export a trained model as a SavedModel with the served signatures, warmup requests and a manifest."""

import shutil
from pathlib import Path
from typing import Any

import keras

from seghgan_tf import __version__
from seghgan_tf.detector import Detector
from seghgan_tf.model import SegHGAN
from seghgan_tf.signatures import describe, functions


def float32_copy(model: SegHGAN) -> SegHGAN:
    """Rebuild the model in float32 with the running average in its generators, which is what is served."""
    copy = SegHGAN(model.config.model_copy(update={"precision": "float32"}))
    copy.set_weights(model.get_weights())
    for weight, average in zip(copy.role_variables("generator"), model.averages, strict=True):
        weight.assign(average)
    return copy


def export(model: SegHGAN, folder: Path, version: int | None = None, training: dict[str, Any] | None = None) -> Path:
    """Write the model as `folder`/`version`, the next one if not given, and check it against the serving contract.

    The version appears whole or not at all. `training` holds facts to keep in the manifest (figures, dataset, steps).
    Raises ValueError where the version exists already.
    """
    from serving.bundle.check import check_export
    from serving.bundle.manifest import versions, write_manifest
    from serving.bundle.warmup import write_warmup
    from serving.signature import model_signatures, tensor_specs

    folder.mkdir(parents=True, exist_ok=True)
    version = version or max(versions(folder), default=0) + 1
    target = folder / str(version)
    if target.exists():
        raise ValueError(
            f"`version` must be new, because a served version never changes; pass --version. Received: {version}, which is in {folder}"
        )
    aside = target.with_name(f".{version}.part")
    shutil.rmtree(aside, ignore_errors=True)
    archive = keras.export.ExportArchive()
    copy = float32_copy(model)
    archive.track(copy)
    detector = Detector()
    archive.track(detector)
    description = describe(model)
    made = functions(copy, detector)
    for name, signature in model_signatures(description).items():
        archive.add_endpoint(name, made[name], input_signature=[tensor_specs(signature)])
    archive.write_out(str(aside), verbose=False)
    write_warmup(aside, description["image_size"])
    write_manifest(aside, description, {"package_version": __version__, **(training or {})})
    check_export(aside)
    return aside.rename(target)
