"""How close edits of large drawn faces come to the same faces drawn with the expression, with and without wiping detail out.

python benchmarks/upscaling.py EXPORT --picture docs/images/web-upscaling.png
"""

import argparse
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from seghgan_tf import expressions
from seghgan_tf.editing import newest_version
from seghgan_tf.export import wiped
from tfrecords_tools.drawn_faces import draw_faces, sample_faces

FACES, SIDE, SEED = 24, 384, 101


def main() -> None:
    """Print mean PSNR (dB) over faces, for the change that is right at the model's size and for the model's own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("export", type=Path)
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    model = tf.saved_model.load(str(newest_version(arguments.export)))
    emotions = [name for name in expressions.EMOTION_AUS if name != "neutral"]
    units = [expressions.EMOTION_AUS[emotions[i % len(emotions)]] for i in range(FACES)]
    asked = np.asarray([[one.get(label, 0.0) / 5 for label in expressions.AUS] for one in units], np.float32)
    faces = sample_faces(FACES, SEED)
    before, right = (draw_faces(faces, aus, SIDE)[0].astype(np.float32) for aus in (np.zeros_like(asked), asked))
    run = model.signatures["serving_default"]
    size = run.structured_input_signature[1]["image"].shape[1]
    small = tf.image.resize(before, (size, size), antialias=True)
    whole = tf.one_hot(tf.zeros(FACES, tf.int32), 4)
    edited = run(image=small / 127.5 - 1.0, expression=tf.constant(asked), regions=whole)["edited"]
    changes = {
        "right": tf.image.resize(right, (size, size), antialias=True) - small,
        "model": (edited - (small / 127.5 - 1.0)) * 127.5,
    }

    def grown(values: tf.Tensor, method: str = "bilinear") -> tf.Tensor:
        return tf.image.resize(values, (SIDE, SIDE), method)

    print(f"photo unchanged: {psnr(before, right):.2f} dB")
    for name, change in changes.items():
        gone = wiped(small, change)
        ways = {
            "bilinear": before + grown(change),
            "bicubic": before + grown(change, "bicubic"),
            "wiped": before * (1.0 - grown(gone)) + grown(change + gone * small),
        }
        print(f"{name} change:", ", ".join(f"{way} {psnr(made, right):.2f} dB" for way, made in ways.items()))
    if arguments.picture:
        chosen = (2, 5)
        rows = [np.concatenate([part[i] for part in (before, ways["bilinear"], ways["wiped"])], 1) for i in chosen]
        picture = np.clip(np.concatenate(rows), 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(arguments.picture, optimize=True)


def psnr(made: tf.Tensor, right: np.ndarray) -> float:
    """Return the mean over pictures of the peak signal-to-noise ratio."""
    return float(tf.reduce_mean(tf.image.psnr(tf.clip_by_value(made, 0.0, 255.0), right, 255.0)))


if __name__ == "__main__":
    main()
