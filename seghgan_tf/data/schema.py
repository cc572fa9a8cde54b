"""The record format: one face as a tf.train.Example."""

import dataclasses
import io
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from PIL import Image


@dataclasses.dataclass(frozen=True)
class Face:
    """One face as it is stored; whatever is None (or a NaN action unit) is unknown, never zero.

    `image` and `mask` are encoded bytes (JPEG or PNG; mask PNG of class ids 0..18), `aus` maps action-unit names to
    intensities 0..5, `label` is an index into `expressions.EMOTIONS`, `valence` and `arousal` lie in [-1, 1], `alignment` is
    the 2x3 matrix (row by row) that took the original photo's pixels to this image. `target_image` and `target_aus` are a
    true picture of the same person under the same light with another expression, where one is known (drawn faces).
    """

    image_id: str
    image: bytes
    image_format: str
    height: int
    width: int
    source: str
    subject_id: str | None = None
    mask: bytes | None = None
    aus: dict[str, float] | None = None
    label: int | None = None
    valence: float | None = None
    arousal: float | None = None
    alignment: tuple[float, ...] | None = None
    target_image: bytes | None = None
    target_aus: dict[str, float] | None = None


FEATURES: dict[str, Any] = {
    "image/encoded": tf.io.FixedLenFeature([], tf.string),
    "image/format": tf.io.FixedLenFeature([], tf.string),
    "image/height": tf.io.FixedLenFeature([], tf.int64),
    "image/width": tf.io.FixedLenFeature([], tf.int64),
    "image/id": tf.io.FixedLenFeature([], tf.string),
    "image/alignment": tf.io.VarLenFeature(tf.float32),
    "subject/id": tf.io.FixedLenFeature([], tf.string, ""),
    "mask/encoded": tf.io.FixedLenFeature([], tf.string, ""),
    "expression/aus": tf.io.VarLenFeature(tf.float32),
    "expression/names": tf.io.VarLenFeature(tf.string),
    "expression/label": tf.io.FixedLenFeature([], tf.int64, -1),
    "expression/valence": tf.io.FixedLenFeature([], tf.float32, float("nan")),
    "expression/arousal": tf.io.FixedLenFeature([], tf.float32, float("nan")),
    "source/dataset": tf.io.FixedLenFeature([], tf.string),
    "target/encoded": tf.io.FixedLenFeature([], tf.string, ""),
    "target/aus": tf.io.VarLenFeature(tf.float32),
    "target/names": tf.io.VarLenFeature(tf.string),
}
"""How `tf.io.parse_example` reads a record; defaults stand for "unknown"."""


_SINGLE = {
    "image/encoded": "image", "image/format": "image_format", "image/height": "height", "image/width": "width",
    "image/id": "image_id", "source/dataset": "source", "subject/id": "subject_id", "mask/encoded": "mask",
    "expression/label": "label", "expression/valence": "valence", "expression/arousal": "arousal",
    "target/encoded": "target_image",
}  # fmt: skip
"""The fields of a face by the keys under which a record holds them, one value each."""

_TEXTS = ("image/format", "image/id", "source/dataset", "subject/id")
_LISTS = {tf.string: "bytes_list", tf.int64: "int64_list", tf.float32: "float_list"}


def encode_face(face: Face) -> bytes:
    """Serialise a face as a tf.train.Example, keys sorted, so that equal faces give equal bytes."""
    known: dict[str, Any] = {
        key: (value,) for key, name in _SINGLE.items() if (value := getattr(face, name)) is not None
    }
    if face.alignment is not None:
        known["image/alignment"] = face.alignment
    for kind, aus in (("expression", face.aus), ("target", face.target_aus)):
        if aus is not None:
            known |= {f"{kind}/names": aus.keys(), f"{kind}/aus": aus.values()}
    example = tf.train.Example()
    for key, values in known.items():
        stored = getattr(example.features.feature[key], _LISTS[FEATURES[key].dtype])
        stored.SetInParent()  # an empty list is there too
        stored.value.extend(value.encode() if isinstance(value, str) else value for value in values)
    return example.SerializeToString(deterministic=True)


def decode_face(record: bytes) -> Face:
    """Parse what `encode_face` wrote. Raises ValueError for bytes that are no such record."""
    example = tf.train.Example()
    try:
        example.ParseFromString(record)
    except DecodeError as error:
        raise ValueError(
            f"`record` must be a serialised tf.train.Example. Received: {len(record)} bytes ({error})"
        ) from error
    feature = example.features.feature
    missing = [
        key for key, spec in FEATURES.items() if getattr(spec, "default_value", "") is None and key not in feature
    ]
    if missing:
        raise ValueError(f"`record` must hold the keys of this schema. Received: a record without {', '.join(missing)}")

    def held(key: str) -> list[Any]:
        values = getattr(feature[key], _LISTS[FEATURES[key].dtype]).value if key in feature else ()
        return [value.decode() for value in values] if key in _TEXTS or key.endswith("/names") else list(values)

    def intensities(kind: str) -> dict[str, float] | None:
        known = f"{kind}/aus" in feature
        return dict(zip(held(f"{kind}/names"), held(f"{kind}/aus"), strict=True)) if known else None

    single: dict[str, Any] = {name: next(iter(held(key)), None) for key, name in _SINGLE.items()}
    for name in ("image_id", "image_format", "source"):
        single[name] = single[name] or ""
    alignment = tuple(held("image/alignment")) if "image/alignment" in feature else None
    return Face(**single, alignment=alignment, aus=intensities("expression"), target_aus=intensities("target"))


def decode_mask(data: bytes) -> NDArray[np.uint8]:
    """Return the class ids (H, W) of a stored mask. Raises what Pillow raises for bytes that are no picture."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image, np.uint8)
