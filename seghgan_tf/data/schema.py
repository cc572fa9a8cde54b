"""The record format: one face as a tf.train.Example."""

import dataclasses
import io
from collections.abc import Sequence
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


def _bytes(*values: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def _floats(*values: float) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _ints(*values: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def encode_face(face: Face) -> bytes:
    """Serialise a face as a tf.train.Example, keys sorted, so that equal faces give equal bytes."""
    feature = {
        "image/encoded": _bytes(face.image),
        "image/format": _bytes(face.image_format.encode()),
        "image/height": _ints(face.height),
        "image/width": _ints(face.width),
        "image/id": _bytes(face.image_id.encode()),
        "source/dataset": _bytes(face.source.encode()),
    }
    if face.subject_id is not None:
        feature["subject/id"] = _bytes(face.subject_id.encode())
    if face.mask is not None:
        feature["mask/encoded"] = _bytes(face.mask)
    if face.aus is not None:
        feature["expression/names"] = _bytes(*(name.encode() for name in face.aus))
        feature["expression/aus"] = _floats(*face.aus.values())
    if face.label is not None:
        feature["expression/label"] = _ints(face.label)
    if face.valence is not None:
        feature["expression/valence"] = _floats(face.valence)
    if face.arousal is not None:
        feature["expression/arousal"] = _floats(face.arousal)
    if face.alignment is not None:
        feature["image/alignment"] = _floats(*face.alignment)
    if face.target_image is not None:
        feature["target/encoded"] = _bytes(face.target_image)
    if face.target_aus is not None:
        feature["target/names"] = _bytes(*(name.encode() for name in face.target_aus))
        feature["target/aus"] = _floats(*face.target_aus.values())
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString(deterministic=True)


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

    def one(key: str, kind: str) -> Any:
        values: Sequence[Any] = getattr(feature[key], kind).value if key in feature else ()
        return values[0] if len(values) else None

    def text(key: str) -> str | None:
        value = one(key, "bytes_list")
        return None if value is None else value.decode()

    def intensities(names: str, values: str) -> dict[str, float] | None:
        if values not in feature:
            return None
        keys = [name.decode() for name in feature[names].bytes_list.value]
        return dict(zip(keys, feature[values].float_list.value, strict=True))

    return Face(
        image_id=text("image/id") or "",
        image=one("image/encoded", "bytes_list"),
        image_format=text("image/format") or "",
        height=one("image/height", "int64_list"),
        width=one("image/width", "int64_list"),
        source=text("source/dataset") or "",
        subject_id=text("subject/id"),
        mask=one("mask/encoded", "bytes_list"),
        aus=intensities("expression/names", "expression/aus"),
        label=one("expression/label", "int64_list"),
        valence=one("expression/valence", "float_list"),
        arousal=one("expression/arousal", "float_list"),
        alignment=tuple(feature["image/alignment"].float_list.value) if "image/alignment" in feature else None,
        target_image=one("target/encoded", "bytes_list"),
        target_aus=intensities("target/names", "target/aus"),
    )


def decode_mask(data: bytes) -> NDArray[np.uint8]:
    """Return the class ids (H, W) of a stored mask. Raises what Pillow raises for bytes that are no picture."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image, np.uint8)
