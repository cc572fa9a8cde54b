"""The export contract: the one table of signatures, as tensor specs for the exporter and read back from what is served.

An export is a folder `EXPORT/<version>/` that TensorFlow Serving and the embedded server both load. Every input has
the batch dimension first, so that requests can be batched; every input must be fed.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from seghgan_tf.regions import COLUMNS
from serving import tensors

FACES = 16
"""Most faces of a photo that `locate` answers with, the largest first; rows of score 0 are none."""

ADDED = frozenset({"labels", "locate"})
"""Signatures that exports of earlier versions lack; they are served without them."""

ADDED_INPUTS = frozenset({"frames"})
"""Inputs that exports of earlier versions lack, and take no request with."""

LIMITS: dict[str, tuple[float, float]] = {"image": (-1, 1), "regions": (0, 1), "jpeg_quality": (0, 100)}
"""Least and largest value of an input, where it has one whatever the model; an `image` of uint8 has its dtype's."""

EXAMPLES: dict[str, Any] = {
    "image": 0.1, "expression": 0.5, "regions": 1, "jpeg_quality": 90, "frames": ((1, 0, 0), (0, 1, 0)),
}  # fmt: skip
"""A value that an input may be filled with to warm a server up and to load it."""

INIT_SIGNATURE = "__saved_model_init_op"


class Spec(NamedTuple):
    """A tensor's dtype (numpy's name; `bytes` for strings) and shape; None is any size."""

    dtype: str
    shape: tuple[int | None, ...]


class Signature(NamedTuple):
    """A signature's inputs and outputs by name."""

    inputs: dict[str, Spec]
    outputs: dict[str, Spec]


def signatures(image_size: int, expression_size: int, regions: int = len(COLUMNS)) -> dict[str, Signature]:
    """Return every signature of a model for images of `image_size` px and expressions of `expression_size` numbers.

    `regions` counts the columns of the regions input, `whole` included.

    >>> signatures(64, 17)["segment"].outputs["labels"]
    Spec(dtype='uint8', shape=(None, 64, 64))
    """
    side = image_size
    image = Spec("float32", (None, side, side, 3))
    pixels = Spec("uint8", (None, side, side, 3))
    expression = Spec("float32", (None, expression_size))
    asked = {"expression": expression, "regions": Spec("float32", (None, regions))}
    one = (None,)
    frames, scores = Spec("float32", (None, 2, 3)), Spec("float32", (None, FACES))
    return {
        "serving_default": Signature(
            {"image": image, **asked}, {"edited": image, "attention": Spec("float32", (None, side, side, 1))}
        ),
        "serving_uint8": Signature({"image": pixels, **asked}, {"edited": pixels}),
        "edit_bytes": Signature(
            {"image_bytes": Spec("bytes", one), "frames": frames, **asked, "jpeg_quality": Spec("int32", one)},
            {"edited_bytes": Spec("bytes", one)},
        ),
        "locate": Signature(
            {"image_bytes": Spec("bytes", one)},
            {
                "frames": Spec("float32", (None, FACES, 2, 3)),
                "scores": scores,
                "boxes": Spec("float32", (None, FACES, 4)),
                "expressions": Spec("float32", (None, FACES, expression_size)),
            },
        ),
        "segment": Signature(
            {"image": image},
            {"labels": Spec("uint8", (None, side, side)), "regions": Spec("float32", (None, side, side, regions - 1))},
        ),
        "analyze": Signature({"image": image}, {"expression": expression}),
        "labels": Signature({"expression": expression}, {"labels": Spec("bytes", expression.shape)}),
    }


def model_signatures(model: Mapping[str, Any]) -> dict[str, Signature]:
    """Return every signature of a model by its description in the manifest (`image_size`, `expression`, `regions`)."""
    return signatures(model["image_size"], len(model["expression"]["labels"]), len(model["regions"]))


def tensor_specs(signature: Signature) -> dict[str, Any]:
    """Return a signature's inputs as named `tf.TensorSpec`s, which an exporter traces its function with."""
    import tensorflow as tf

    return {
        name: tf.TensorSpec(spec.shape, tf.string if spec.dtype == "bytes" else spec.dtype, name)
        for name, spec in signature.inputs.items()
    }


def from_definitions(definitions: Mapping[str, Any]) -> dict[str, Signature]:
    """Return the signatures that SignatureDef messages describe, TensorFlow's own init signature left out.

    ValueError where a dtype is none of those that are served.
    """

    def specs(infos: Mapping[str, Any]) -> dict[str, Spec]:
        return {
            name: Spec(
                tensors.dtype_name(info.dtype),
                tuple(None if dim.size < 0 else int(dim.size) for dim in info.tensor_shape.dim),
            )
            for name, info in sorted(infos.items())
        }

    return {
        name: Signature(specs(one.inputs), specs(one.outputs))
        for name, one in sorted(definitions.items())
        if name != INIT_SIGNATURE
    }


def message_bytes(image_size: int) -> int:
    """Return the message limit both sides use: 8 float images or one photo of 32 MiB, and 1 MiB of room.

    >>> message_bytes(128) >> 20
    33
    """
    return max(8 * image_size * image_size * 3 * 4, 32 << 20) + (1 << 20)
