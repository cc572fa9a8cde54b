"""The edit as a LiteRT (TensorFlow Lite) file for phones and small machines: the networks alone, without face finder and files."""

import json
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import tensorflow as tf

from seghgan_tf import __version__, quiet
from seghgan_tf.export import float32_copy, holding
from seghgan_tf.likeness import PEOPLE, SEED, likeness
from seghgan_tf.model import SegHGAN
from seghgan_tf.model.field import apply_field
from seghgan_tf.regions import COLUMNS
from seghgan_tf.signatures import describe

SIGNATURE = "edit"
"""The file's one signature: `image`, `expression` and `regions` of `serving_default` to `edited` and `field`."""

DESCRIPTION = "model.json"
"""What the file holds beside the networks, as a zip archive at its end: the manifest's description of the model."""


def write_litert(model: SegHGAN, file: Path) -> Path:
    """Write the model's edit to `file`, one image at a time, its weights as float16.

    `edited` (1, S, S, 3) is the edit at the model's size; `field` (1, S, S, 6) edits a photo of any size
    (`seghgan_tf.model.field`). Raises ValueError where an edit of drawn people differs by 1/255 or more from the model's.
    """
    plain = float32_copy(model)
    content = _converted(plain)
    with quiet.held():  # LiteRT tells of its delegate at the first edit
        found = likeness("--litert", plain, _edit_of(content), model.config)
    facts = {"package_version": __version__, "largest_difference": found, "people": PEOPLE, "seed": SEED}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(DESCRIPTION, json.dumps({"model": describe(model)} | facts, indent=1))
    return file


def _converted(model: SegHGAN) -> bytes:
    size, labels = model.config.image_size, model.config.space.size

    def edit(image: tf.Tensor, expression: tf.Tensor, regions: tf.Tensor) -> dict[str, tf.Tensor]:
        field = model.field({"image": image, "expression": expression, "regions": regions})
        return {"edited": apply_field(image, field), "field": field}

    shapes = {"image": (1, size, size, 3), "expression": (1, labels), "regions": (1, len(COLUMNS))}
    specs = [tf.TensorSpec(shape, name=name) for name, shape in shapes.items()]
    traced = tf.function(edit, autograph=False).get_concrete_function(*specs)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(holding([traced]), folder, {SIGNATURE: traced})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, [SIGNATURE])
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
        made: bytes = converter.convert()
    return made


def _edit_of(content: bytes) -> Callable[[dict[str, tf.Tensor]], Mapping[str, tf.Tensor]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # TensorFlow names LiteRT's own package, which users have
        run = tf.lite.Interpreter(model_content=content).get_signature_runner(SIGNATURE)
    return lambda asked: run(**{name: value.numpy() for name, value in asked.items()})
