"""Write an export that keeps the contract from a plain tf.Module, for tests and benchmarks of the server.

python tests/serving/fake_export.py EXPORT --version 2 --size 128 --strength 0.5 --layers 6
"""

import argparse
import shutil
from pathlib import Path

import tensorflow as tf

from seghgan_tf.expressions import ExpressionSpace, expression_space
from seghgan_tf.regions import COLUMNS
from serving.bundle.check import check_export
from serving.bundle.manifest import write_manifest
from serving.bundle.warmup import write_warmup
from serving.signature import ADDED, ADDED_INPUTS, FACES, model_signatures, tensor_specs

SPACE = expression_space("AU06,AU12,AU25")


def description(size: int, space: ExpressionSpace = SPACE) -> dict:
    return {
        "image_size": size,
        "regions": list(COLUMNS),
        "classes": [f"class_{i}" for i in range(19)],
        "label_order": "celebamask-hq/g_mask/1",
        "expression": space.to_json(),
        "max_pixels": 4_000_000,
    }


def decoded(encoded):
    is_png = tf.equal(tf.strings.substr(encoded, 0, 4), b"\x89PNG")
    is_jpeg = tf.equal(tf.strings.substr(encoded, 0, 3), b"\xff\xd8\xff")
    tf.debugging.Assert(is_png | is_jpeg, ["`image_bytes` must be a PNG or JPEG file."])

    def sides():
        number = tf.cast(tf.io.decode_raw(tf.strings.substr(encoded, 16, 8), tf.uint8), tf.int32)
        return tf.reduce_sum(tf.reshape(number, (2, 4)) * [1 << 24, 1 << 16, 1 << 8, 1], 1)

    shape = tf.cond(is_png, sides, lambda: tf.io.extract_jpeg_shape(encoded)[:2])
    small = (tf.reduce_min(shape) >= 16) & (tf.reduce_max(shape) <= 2000)
    tf.debugging.Assert(small, ["`image_bytes` must be a photo of 16 to 2000 px a side. Received:", shape])
    with tf.control_dependencies([shape]):
        return tf.cond(
            is_png,
            lambda: tf.io.decode_png(encoded, 3),
            lambda: tf.io.decode_jpeg(encoded, 3, dct_method="INTEGER_ACCURATE"),
        )


class FakeModel(tf.Module):
    """Brightens the chosen bands of the picture by `strength` times the expression's mean."""

    def __init__(self, size: int, strength: float, layers: int, space: ExpressionSpace) -> None:
        self.size = size
        self.labels = list(space.labels)
        self.low = space.low
        self.strength = tf.Variable(strength, dtype=tf.float32)
        generator = tf.random.Generator.from_seed(0)
        self.kernels = [tf.Variable(generator.normal((3, 3, 3 if i == 0 else 16, 16)) * 0.1) for i in range(layers)]
        rows = tf.range(size) * 3 // size
        self.bands = tf.Variable(tf.tile(tf.one_hot(rows, 3)[:, None], [1, size, 1]))

    def edit(self, image, expression, regions):
        features = image
        for kernel in self.kernels:
            features = tf.nn.relu(tf.nn.conv2d(features, kernel, 1, "SAME"))
        mask = tf.clip_by_value(
            regions[:, None, None, :1]
            + tf.reduce_sum(self.bands[None] * regions[:, None, None, 1:], -1, keepdims=True),
            0,
            1,
        )
        change = self.strength * tf.reduce_mean(expression, 1)[:, None, None, None]
        change += 1e-3 * tf.reduce_mean(features, -1, keepdims=True) if self.kernels else 0.0
        edited = tf.where(mask > 0, tf.clip_by_value(image + mask * change, -1.0, 1.0), image)
        return {"edited": edited, "attention": 1.0 - mask}

    def endpoints(self) -> dict:
        def uint8(image, expression, regions):
            edited = self.edit(tf.cast(image, tf.float32) / 127.5 - 1, expression, regions)["edited"]
            return {"edited": tf.cast(tf.round((edited + 1) * 127.5), tf.uint8)}

        def locate(image_bytes):
            def one(encoded):
                picture = decoded(encoded)
                height, width = tf.unstack(tf.cast(tf.shape(picture)[:2], tf.float32))
                frame = tf.stack([[self.size / width, 0.0, 0.0], [0.0, self.size / height, 0.0]])
                rows = {
                    "frames": frame, "scores": 1.0, "boxes": tf.stack([0.0, 0.0, width, height]),
                    "expressions": tf.gather(
                        tf.reduce_mean(tf.cast(picture, tf.float32), [0, 1]) / 255, [i % 3 for i in range(len(self.labels))]
                    ),
                }  # fmt: skip
                empty = {
                    name: [[0, FACES - 1]] + [[0, 0]] * tf.convert_to_tensor(row).shape.rank
                    for name, row in rows.items()
                }
                return {name: tf.pad(tf.convert_to_tensor(row)[None], empty[name]) for name, row in rows.items()}

            shapes = {
                "frames": (FACES, 2, 3),
                "scores": (FACES,),
                "boxes": (FACES, 4),
                "expressions": (FACES, len(self.labels)),
            }
            specs = {name: tf.TensorSpec(shape) for name, shape in shapes.items()}
            return tf.map_fn(one, image_bytes, fn_output_signature=specs)

        def edit_bytes(image_bytes, expression, regions, jpeg_quality, frames=None):
            def one(parts):
                picture = decoded(parts[0])
                whole = tf.reduce_max(parts[2]) * self.strength * tf.reduce_mean(parts[1]) * 127.5
                edited = tf.cast(tf.clip_by_value(tf.round(tf.cast(picture, tf.float32) + whole), 0, 255), tf.uint8)
                return tf.cond(
                    parts[3] > 0,
                    lambda: tf.raw_ops.EncodeJpegVariableQuality(images=edited, quality=tf.maximum(parts[3], 1)),
                    lambda: tf.io.encode_png(edited),
                )

            spec = tf.TensorSpec((), tf.string)
            return {
                "edited_bytes": tf.map_fn(
                    one, (image_bytes, expression, regions, jpeg_quality), fn_output_signature=spec
                )
            }

        def segment(image):
            batch = tf.shape(image)[0]
            regions = tf.tile(self.bands[None], [batch, 1, 1, 1])
            return {"labels": tf.cast(tf.argmax(regions, -1), tf.uint8) + 1, "regions": regions}

        def analyze(image):
            means = tf.gather(tf.reduce_mean(image, [1, 2]), [i % 3 for i in range(len(self.labels))], axis=1)
            return {"expression": tf.clip_by_value((means + 1) / 2, self.low, 1)}

        def labels(expression):
            return {"labels": tf.tile(tf.constant([self.labels]), [tf.shape(expression)[0], 1])}

        return {
            "serving_default": self.edit,
            "serving_uint8": uint8,
            "locate": locate,
            "edit_bytes": edit_bytes,
            "segment": segment,
            "analyze": analyze,
            "labels": labels,
        }


def write_export(
    root: Path,
    version: int = 1,
    strength: float = 0.5,
    size: int = 32,
    layers: int = 0,
    older: bool = False,
    space: ExpressionSpace = SPACE,
) -> Path:
    """Write EXPORT/<version>, whole or not at all, and return it; an `older` one lacks what was added since."""
    model = FakeModel(size, strength, layers, space)
    functions = {}
    for name, signature in model_signatures(description(size, space)).items():
        specs = tensor_specs(signature)
        if older:
            specs = {key: spec for key, spec in specs.items() if key not in ADDED_INPUTS}
        if not older or name not in ADDED:
            function = tf.function(model.endpoints()[name], autograph=False)
            functions[name] = function.get_concrete_function(**specs)
    aside = Path(root) / f".{version}.part"
    shutil.rmtree(aside, ignore_errors=True)
    tf.saved_model.save(model, str(aside), signatures=functions)
    write_warmup(aside, size)
    write_manifest(aside, description(size, space), {"strength": strength})
    check_export(aside)
    return aside.rename(Path(root) / str(version))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("export", type=Path)
    parser.add_argument("--version", type=int, nargs="+", default=[1])
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--strength", type=float, nargs="+", default=[0.5], help="of each version")
    parser.add_argument("--layers", type=int, default=0)
    arguments = parser.parse_args()
    for number, strength in zip(arguments.version, arguments.strength, strict=True):
        write_export(arguments.export, number, strength, arguments.size, arguments.layers)
