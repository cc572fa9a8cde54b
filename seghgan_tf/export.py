"""Export a trained model as a SavedModel with the served signatures, warmup requests and a manifest."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tensorflow as tf

from seghgan_tf import __version__, doctor
from seghgan_tf.detector import Detector
from seghgan_tf.frozen import fold_norms, write_frozen
from seghgan_tf.likeness import PEOPLE, SEED, likeness
from seghgan_tf.model import SegHGAN
from seghgan_tf.signatures import describe, functions


def float32_copy(model: SegHGAN) -> SegHGAN:
    """Rebuild the model in float32 with the running average in its generators, which is what is served."""
    copy = SegHGAN(model.config.model_copy(update={"precision": "float32"}))
    copy.set_weights(model.get_weights())
    for weight, average in zip(copy.role_variables("generator"), model.averages, strict=True):
        weight.assign(average)
    return copy


def holding(functions: Iterable[Any]) -> tf.Module:
    """Return a module of the variables that concrete functions reach, and of nothing else of the model."""
    module = tf.Module()
    module.held = list({id(variable): variable for one in functions for variable in one.variables}.values())
    return module


def traced_signatures(model: SegHGAN, detector: Detector) -> dict[str, Any]:
    """Return the concrete function of each signature, by name."""
    from serving.signature import model_signatures, tensor_specs

    made = functions(model, detector)
    return {
        name: tf.function(made[name], autograph=False).get_concrete_function(tensor_specs(signature))
        for name, signature in model_signatures(describe(model)).items()
    }


def export(
    model: SegHGAN,
    folder: Path,
    version: int | None = None,
    training: dict[str, Any] | None = None,
    *,
    optimize: bool = False,
) -> Path:
    """Write the model as `folder`/`version`, the next one if not given, and check it against the serving contract.

    The version appears whole or not at all. `training` holds facts to keep in the manifest (figures, dataset, steps).
    With `optimize` the graph is frozen, its batch normalisations folded: it is loaded sooner and takes less memory. Raises
    ValueError where the version exists already, or where freezing changes edits of drawn people by 1/255 or more, ImportError without
    the extra `serve`.
    """
    doctor.require("tensorflow_serving", "serve", "an export")
    from serving.bundle.check import check_export
    from serving.bundle.manifest import versions, write_manifest
    from serving.bundle.warmup import write_warmup

    folder.mkdir(parents=True, exist_ok=True)
    version = version or max(versions(folder), default=0) + 1
    target = folder / str(version)
    if target.exists():
        raise ValueError(
            f"`version` must be new, because a served version never changes; pass --version. Received: {version}, which is in {folder}"
        )
    aside = target.with_name(f".{version}.part")
    shutil.rmtree(aside, ignore_errors=True)
    copy, detector = float32_copy(model), Detector()
    if optimize:
        fold_norms(copy.segmenter)
    description, traced = describe(model), traced_signatures(copy, detector)
    optimized = None
    if optimize:
        write_frozen(aside, traced)
        frozen = tf.saved_model.load(str(aside)).signatures["serving_default"]
        found = likeness("--optimize", float32_copy(model), lambda asked: frozen(**asked), model.config)
        optimized = {"largest_difference": found, "people": PEOPLE, "seed": SEED}
    else:
        tf.saved_model.save(holding(traced.values()), str(aside), traced)
    write_warmup(aside, description["image_size"])
    write_manifest(aside, description, {"package_version": __version__, **(training or {})}, optimized)
    check_export(aside)
    return aside.rename(target)
