"""Export a trained model as a SavedModel with the served signatures, warmup requests and a manifest."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from seghgan_tf import __version__
from seghgan_tf.model import SegHGAN
from seghgan_tf.model.inference import REGION_NAMES
from seghgan_tf.photos import MAX_PIXELS, MIN_SIDE
from seghgan_tf.regions import CLASSES, LABEL_ORDER

KEEPS = 0.6
"""Slope up to which a change leaves the photo's own detail alone; at 1 it takes it away."""

NOISE = 10.0
"""Variance of a window, in squared pixel values, below which nothing is there to be wiped out."""

PNG_MAGIC, JPEG_MAGIC = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"


def _photo_shape(encoded: tf.Tensor) -> tf.Tensor:
    """Read (height, width) from a PNG's or JPEG's header; what takes it runs only where the checks hold."""
    is_png = tf.equal(tf.strings.substr(encoded, 0, 8), PNG_MAGIC)
    is_jpeg = tf.equal(tf.strings.substr(encoded, 0, 3), JPEG_MAGIC)
    long_enough = tf.strings.length(encoded) > 32
    whole = tf.debugging.Assert((is_png | is_jpeg) & long_enough, ["`image_bytes` must be a PNG or JPEG file."])

    def png_shape() -> tf.Tensor:
        header = tf.cast(tf.io.decode_raw(tf.strings.substr(encoded, 16, 8), tf.uint8), tf.int32)
        width, height = tf.unstack(tf.reduce_sum(tf.reshape(header, (2, 4)) * [1 << 24, 1 << 16, 1 << 8, 1], 1))
        return tf.stack([height, width])

    with tf.control_dependencies([whole]):
        shape = tf.cond(is_png, png_shape, lambda: tf.io.extract_jpeg_shape(encoded)[:2])
    height, width = tf.cast(shape[0], tf.int64), tf.cast(shape[1], tf.int64)
    small = tf.minimum(height, width) < MIN_SIDE
    fits = ~small & (height < 1 << 24) & (width < 1 << 24) & (height * width <= MAX_PIXELS)
    limits = f"at least {MIN_SIDE} px a side and at most {MAX_PIXELS} pixels"
    checked = tf.debugging.Assert(fits, [f"`image_bytes` must be a photo of {limits}. Received:", shape])
    with tf.control_dependencies([checked]):
        return tf.identity(shape)


def _decode(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Decode a photo to uint8 (H, W, 3); return it with the corner and the side of its centre square."""
    shape = _photo_shape(encoded)
    with tf.control_dependencies([shape]):
        photo = tf.cond(
            tf.equal(tf.strings.substr(encoded, 0, 8), PNG_MAGIC),
            lambda: tf.io.decode_png(encoded, 3),
            lambda: tf.io.decode_jpeg(encoded, 3, dct_method="INTEGER_ACCURATE"),
        )
    side = tf.minimum(shape[0], shape[1])
    return photo, (shape - side) // 2, side


def _prepare(encoded: tf.Tensor, size: int) -> tf.Tensor:
    photo, corner, side = _decode(encoded)
    square = photo[corner[0] : corner[0] + side, corner[1] : corner[1] + side]
    small = tf.image.resize(tf.cast(square, tf.float32), (size, size), antialias=True)
    return tf.ensure_shape(small / 127.5 - 1.0, (size, size, 3))


def wiped(pixels: tf.Tensor, change: tf.Tensor) -> tf.Tensor:
    """Tell how far a change wipes out what was there: (B, H, W, 1) from 0, the detail stays, to 1, it goes.

    `pixels` and `change` are (B, H, W, 3) in 0..255. In each window of 3 x 3 pixels the change is fitted as a slope of
    the pixels, as in the guided filter (He et al. 2013): a slope of -1 flattens what is there, such as a brow that
    moves away. Its fine detail, which the model's size cannot hold, would stay behind as a ghost. 0 where nothing changed.
    """

    def window(values: tf.Tensor) -> tf.Tensor:
        return tf.nn.avg_pool2d(values, 3, 1, "SAME")

    mean, mean_change = window(pixels), window(change)
    covariance = tf.reduce_sum(window(pixels * change) - mean * mean_change, -1, keepdims=True)
    variance = tf.reduce_sum(window(pixels * pixels) - mean * mean, -1, keepdims=True)
    flattened = tf.clip_by_value((-covariance / (variance + NOISE) - KEEPS) / (1.0 - KEEPS), 0.0, 1.0)
    gone = window(flattened * flattened * (3.0 - 2.0 * flattened))
    return gone * tf.cast(tf.reduce_any(change != 0.0, -1, keepdims=True), tf.float32)


def _restore(encoded: tf.Tensor, gone: tf.Tensor, added: tf.Tensor, quality: tf.Tensor) -> tf.Tensor:
    """Fade the photo out by `gone` (S, S, 1), add `added` (S, S, 3), both scaled up to its own size, and encode it."""
    photo, corner, side = _decode(encoded)
    rest = tf.shape(photo)[:2] - corner - side

    def grown(values: tf.Tensor) -> tf.Tensor:
        return tf.pad(tf.image.resize(values, (side, side)), [[corner[0], rest[0]], [corner[1], rest[1]], [0, 0]])

    edited = tf.cast(photo, tf.float32) * (1.0 - grown(gone)) + grown(added)
    edited = tf.cast(tf.clip_by_value(tf.round(edited), 0.0, 255.0), tf.uint8)
    return tf.cond(
        quality > 0,
        lambda: tf.raw_ops.EncodeJpegVariableQuality(images=edited, quality=tf.clip_by_value(quality, 1, 100)),
        lambda: tf.io.encode_png(edited),
    )


def endpoints(model: SegHGAN) -> dict[str, Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]]:
    """Return the function of each signature, by name."""
    size = model.config.image_size

    def edit_pixels(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        pixels = tf.cast(inputs["image"], tf.float32) / 127.5 - 1.0
        edited = model(inputs | {"image": pixels})["edited"]
        return {"edited": tf.cast(tf.clip_by_value(tf.round((edited + 1.0) * 127.5), 0.0, 255.0), tf.uint8)}

    def edit_bytes(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        encoded = inputs["image_bytes"]
        spec = tf.TensorSpec((size, size, 3), tf.float32)
        image = tf.map_fn(lambda one: _prepare(one, size), encoded, fn_output_signature=spec)
        change = (
            model({"image": image, "expression": inputs["expression"], "regions": inputs["regions"]})["edited"] - image
        ) * 127.5
        pixels = (image + 1.0) * 127.5
        gone = wiped(pixels, change)
        parts = (encoded, gone, change + gone * pixels, inputs["jpeg_quality"])
        edited = tf.map_fn(lambda one: _restore(*one), parts, fn_output_signature=tf.TensorSpec((), tf.string))
        return {"edited_bytes": edited}

    def labels_of(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        rows = tf.shape(inputs["expression"])[:1]
        return {"labels": tf.tile(tf.constant([model.config.space.labels]), tf.concat([rows, [1]], 0))}

    return {
        "serving_default": lambda inputs: model(inputs),
        "serving_uint8": edit_pixels,
        "edit_bytes": edit_bytes,
        "segment": lambda inputs: model.segment(inputs["image"]),
        "analyze": lambda inputs: {"expression": model.analyze(inputs["image"])},
        "labels": labels_of,
    }


def manifest_model(model: SegHGAN) -> dict[str, Any]:
    """Return the manifest's description of the model: sizes, regions, classes and expression space."""
    return {
        "image_size": model.config.image_size,
        "regions": list(REGION_NAMES),
        "classes": list(CLASSES),
        "label_order": LABEL_ORDER,
        "expression": model.config.space.to_json(),
        "max_pixels": MAX_PIXELS,
    }


def float32_copy(model: SegHGAN) -> SegHGAN:
    """Rebuild the model in float32 with the running average in its generators, which is what is served."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        copy = SegHGAN(model.config)
    finally:
        keras.config.set_dtype_policy(policy)
    copy.set_weights(model.get_weights())
    for weight, average in zip(copy.role_variables("generator"), model.averages, strict=True):
        weight.assign(average)
    return copy


def export(model: SegHGAN, folder: Path, version: int = 1, training: dict[str, Any] | None = None) -> Path:
    """Write the model as `folder`/`version` and check it against the serving contract.

    The version appears whole or not at all. `training` holds facts to keep in the manifest (figures, dataset, steps).
    Raises ValueError where the version exists already.
    """
    from serving.bundle.check import check_export
    from serving.bundle.manifest import write_manifest
    from serving.bundle.warmup import write_warmup
    from serving.signature import model_signatures, tensor_specs

    target = Path(folder) / str(version)
    if target.exists():
        raise ValueError(
            f"`version` must be new, because a served version never changes; pass --version. Received: {version}, which is in {folder}"
        )
    aside = target.with_name(f".{version}.part")
    shutil.rmtree(aside, ignore_errors=True)
    archive = keras.export.ExportArchive()
    copy = float32_copy(model)
    archive.track(copy)
    description = manifest_model(model)
    functions = endpoints(copy)
    for name, signature in model_signatures(description).items():
        archive.add_endpoint(name, functions[name], input_signature=[tensor_specs(signature)])
    archive.write_out(str(aside), verbose=False)
    write_warmup(aside, description["image_size"])
    write_manifest(aside, description, {"package_version": __version__, **(training or {})})
    check_export(aside)
    return aside.rename(target)
