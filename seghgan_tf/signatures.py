"""What the served signatures compute, and how a model is described beside them; an export holds both."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from seghgan_tf.detector import MAX_FACES, Detector
from seghgan_tf.model import SegHGAN
from seghgan_tf.photo_graph import decode, edited, encode, found_faces, is_given, largest_face, place, square
from seghgan_tf.photos import MAX_PIXELS
from seghgan_tf.regions import CLASSES, COLUMNS, LABEL_ORDER


def functions(model: SegHGAN, detector: Detector) -> dict[str, Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]]:
    """Return the function of each signature, by name."""
    size = model.config.image_size

    def edit_pixels(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        pixels = tf.cast(inputs["image"], tf.float32) / 127.5 - 1.0
        values = tf.round((model(inputs | {"image": pixels})["edited"] + 1.0) * 127.5)
        return {"edited": tf.cast(tf.clip_by_value(values, 0.0, 255.0), tf.uint8)}

    def locate(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        shapes = {"frames": (MAX_FACES, 2, 3), "scores": (MAX_FACES,), "boxes": (MAX_FACES, 4)}
        shapes["expressions"] = (MAX_FACES, model.config.space.size)
        specs = {name: tf.TensorSpec(shape) for name, shape in shapes.items()}

        def one(encoded: tf.Tensor) -> dict[str, tf.Tensor]:
            photo = decode(encoded)
            found, frames = found_faces(detector, photo, size)
            count = tf.math.count_nonzero(found.scores, dtype=tf.int32)
            face = tf.TensorSpec((size, size, 3))
            squares = tf.map_fn(lambda frame: square(photo, place(frame, photo, size)), frames[:count], face)
            one_more = tf.concat([squares, tf.zeros((1, size, size, 3))], 0)  # a network takes no empty batch
            seen = tf.pad(model.analyze(one_more)[:count], [[0, MAX_FACES - count], [0, 0]])
            return {"frames": frames, "scores": found.scores, "boxes": found.boxes, "expressions": seen}

        return tf.map_fn(one, inputs["image_bytes"], fn_output_signature=specs, parallel_iterations=1)

    def edit_bytes(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        def one(parts: dict[str, tf.Tensor]) -> tf.Tensor:
            photo = decode(parts["image_bytes"])
            given = parts["frames"]
            frame = tf.cond(is_given(given), lambda: given, lambda: largest_face(detector, photo, size))
            where = place(frame, photo, size)
            asked = {"expression": parts["expression"][None], "regions": parts["regions"][None]}
            field = model.field({"image": square(photo, where)[None], **asked})[0]
            return encode(edited(photo, where, field), parts["jpeg_quality"])

        spec = tf.TensorSpec((), tf.string)
        return {"edited_bytes": tf.map_fn(one, inputs, fn_output_signature=spec, parallel_iterations=1)}

    def labels_of(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        rows = tf.shape(inputs["expression"])[:1]
        return {"labels": tf.tile(tf.constant([model.config.space.labels]), tf.concat([rows, [1]], 0))}

    made: dict[str, Any] = {
        "serving_default": lambda inputs: model(inputs),
        "serving_uint8": edit_pixels,
        "locate": locate,
        "edit_bytes": edit_bytes,
        "segment": lambda inputs: model.segment(inputs["image"]),
        "analyze": lambda inputs: {"expression": model.analyze(inputs["image"])},
        "labels": labels_of,
    }
    # None of this has Python's own control flow over tensors; rewriting it for that would take seconds.
    return {name: tf.autograph.experimental.do_not_convert(function) for name, function in made.items()}


def describe(model: SegHGAN) -> dict[str, Any]:
    """Return the manifest's description of the model: sizes, regions, classes and expression space."""
    space = model.config.space
    return {
        "image_size": model.config.image_size,
        "regions": list(COLUMNS),
        "classes": list(CLASSES),
        "label_order": LABEL_ORDER,
        "expression": space.to_json(),
        "units": space.units(),
        "emotions": space.emotions(),
        "max_pixels": MAX_PIXELS,
    }
